"""Ledger of client accounts."""

import threading
from collections.abc import Mapping
from types import MappingProxyType

from feint.ledger.account import Account


class Ledger:
    """Accounts by client name. An account is opened at the client's first query.

    Args:
        groups: Group of each client that is linked to others: they have one payer, one network or one owner.

    Attributes:
        shared: Account that all clients have in common.
    """

    def __init__(self, groups: Mapping[str, str] = MappingProxyType({})) -> None:
        self.shared = Account("")
        self._links = groups
        self._accounts: dict[str, Account] = {}
        self._groups: dict[str, Account] = {}
        self._lock = threading.Lock()

    def __getitem__(self, client: str) -> Account:
        with self._lock:
            if client not in self._accounts:
                self._accounts[client] = Account(client, self.shared, self._group_of(client))
            return self._accounts[client]

    def _group_of(self, client: str) -> Account | None:
        name = self._links.get(client, "")
        return self._groups.setdefault(name, Account(name, self.shared)) if name else None

    @property
    def clients(self) -> list[str]:
        """Names of the clients that have an account."""
        with self._lock:
            return [*self._accounts]

    @property
    def queries(self) -> int:
        """Number of queries answered so far, to all clients together."""
        with self._lock:
            return sum(account.queries for account in self._accounts.values())
