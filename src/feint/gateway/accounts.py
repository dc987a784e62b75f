"""Accounts of a ledger, for its operator: read and reset while gateways run."""

import numpy as np

from feint.errors import BadInput, UnknownName
from feint.gateway.settings import Settings
from feint.gateway.stores import open_store
from feint.gateway.transaction import AccountName, ChangeSet, Snapshot, Store

NEVER = -1  # no account has this version, so that a commit changes nothing and returns the account


async def read(settings: Settings, model: str, name: AccountName, *, reset: bool = False) -> Snapshot:
    """Return an account of a model's ledger, without its tokens.

    Args:
        settings: Settings of the gateway.
        model: Name of the model.
        name: Name of the account.
        reset: Whether its totals and rows are deleted. Tokens that were used once stay so.

    Returns:
        The account, as it was before.

    Raises:
        BadInput: If the ledger is in memory.
        UnknownName: If there is no such account.
    """
    if settings.ledger.store.startswith("memory:"):
        raise BadInput("a ledger in memory", "one that is stored", 'set store = "sqlite:ledger.db"')
    store = open_store(settings.ledger.store, model)
    try:
        account = await _whole(store, name)
        while reset and account.version and not (await store.commit({name: _cleared(account)})).committed:
            account = await _whole(store, name)
    finally:
        await store.close()
    if not account.version:
        raise UnknownName(f"the {name.kind} {name.name!r} of {model}", "one who has asked", "see /ui")
    return account


async def _whole(store: Store, name: AccountName) -> Snapshot:
    return (await store.commit({name: ChangeSet(NEVER)})).accounts[name]


def _cleared(account: Snapshot) -> ChangeSet:
    return ChangeSet(account.version, rows={name: (True, np.empty((0, 0), np.float32)) for name in account.rows})
