"""Accounts of a ledger, for its operator: read and reset while gateways run."""

import contextlib
from collections.abc import AsyncIterator

import numpy as np

from feint.errors import BadInput, UnknownName
from feint.gateway.settings import Settings
from feint.gateway.stores import open_store
from feint.gateway.transaction import AccountName, ChangeSet, Snapshot, Store, snapshot_of


def check_stored(settings: Settings) -> None:
    """Raise `BadInput` for a ledger in memory, which no other process can read."""
    if settings.ledger.store.startswith("memory:"):
        raise BadInput("a ledger in memory", "one that is stored", 'set store = "sqlite:ledger.db"')


@contextlib.asynccontextmanager
async def stored(settings: Settings, model: str) -> AsyncIterator[Store]:
    """Open the ledger of a model until the block ends; errors as in `check_stored`."""
    check_stored(settings)
    store = open_store(settings.ledger.store, model)
    try:
        yield store
    finally:
        await store.close()


async def read(settings: Settings, model: str, name: AccountName, *, reset: bool = False) -> Snapshot:
    """Return an account of a model's ledger, without its tokens. A ledger in memory raises `BadInput`.

    Args:
        settings: Settings of the gateway.
        model: Name of the model.
        name: Name of the account.
        reset: Whether its totals and rows are deleted. Tokens that were used once stay so.

    Returns:
        The account, as it was before.

    Raises:
        UnknownName: If there is no such account.
    """
    async with stored(settings, model) as store:
        account = await snapshot_of(store, name)
        while reset and account.version and not (await store.commit({name: _cleared(account)})).committed:
            account = await snapshot_of(store, name)
    if not account.version:
        raise UnknownName(f"the {name.kind} {name.name!r} of {model}", "one who has asked", "see /ui")
    return account


def _cleared(account: Snapshot) -> ChangeSet:
    dropped = {name: (True, np.empty((0, 0), np.float32)) for name in account.rows}
    return ChangeSet(account.version, rows=dropped, after=account.writer)
