"""The ledger: all that a service remembers of its clients, and the only thing that changes while it serves.

An account is a set of named totals that only ever grow: queries answered, budget charged, evidence gathered.
Adding is the one operation, and it is atomic, so that a store shared by many replicas can offer the same.
"""

import math
import threading
from collections import defaultdict

from feint.query import Answer, Query


class Account:
    """What is remembered of one client, in memory."""

    def __init__(self, client: str) -> None:
        self.client = client
        self._totals: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def total(self, name: str) -> float:
        """The total called `name`; 0 when nothing was ever added to it."""
        return self._totals.get(name, 0.0)

    def add(self, name: str, amount: float, *, limit: float = math.inf) -> bool:
        """Add `amount` to the total `name` unless that would bring it above `limit`; say whether it was added."""
        with self._lock:
            if self._totals[name] + amount > limit:
                return False
            self._totals[name] += amount
            return True

    def write(self, query: Query, answer: Answer) -> Answer:
        """Enter an answered query, and hand the answer on."""
        self.add("queries", len(query))
        return answer

    @property
    def queries(self) -> int:
        """Queries answered so far: 1 query = 1 input."""
        return int(self.total("queries"))


class Ledger:
    """One account for every client, opened when the client first asks."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._lock = threading.Lock()

    def __getitem__(self, client: str) -> Account:
        with self._lock:
            return self._accounts.setdefault(client, Account(client))
