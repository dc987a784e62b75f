"""Drafts: an account as it was last known here, on which a request's rules are tried before a store agrees."""

from typing import Protocol

from feint.ledger import Account


class Draft(Account):
    """An account that remembers each change and each look, so that a store can repeat them in one atomic step."""


class Drafts(Protocol):
    """The ledger of a gateway: drafts out, decisions in."""

    def draft(self, client: str) -> Draft:
        """The account of `client` as it was last known here."""
        ...

    async def commit(self, draft: Draft) -> bool:
        """Repeat the draft's changes where the ledger is kept, all or none: True when each came out as in the draft.

        False when something was otherwise there; nothing is changed then, and the next draft knows it. Raises
        `StoreLost`.
        """
        ...
