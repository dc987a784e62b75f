"""Accounts of a ledger, for its operator: read, reset and erased while gateways run."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from feint.errors import BadInput, UnknownName
from feint.gateway.auth.keyfile import Keys
from feint.gateway.changes import AccountName, ChangeSet, Snapshot
from feint.gateway.settings import Settings
from feint.gateway.stores import open_reader, open_store
from feint.gateway.stores.base import LedgerReader, Store, snapshot_of
from feint.gateway.telemetry.audit_chain import read_key
from feint.gateway.telemetry.audit_log import AuditLog
from feint.ledger import TOKEN_TIME

Opened = TypeVar("Opened", Store, LedgerReader)


def check_stored(settings: Settings) -> None:
    """Raise `BadInput` for a ledger in memory, which no other process can read."""
    if settings.ledger.store.startswith("memory:"):
        raise BadInput("a ledger in memory", "one that is stored", 'set store = "sqlite:ledger.db"')


def stored(settings: Settings, model: str) -> AbstractAsyncContextManager[Store]:
    """Open the ledger of a model until the block ends; errors as in `check_stored`."""
    return _opened(open_store, settings, model)


def to_read(settings: Settings, model: str) -> AbstractAsyncContextManager[LedgerReader]:
    """Open the ledger of a model until the block ends, which need not take writes; errors as in `check_stored`."""
    return _opened(open_reader, settings, model)


@asynccontextmanager
async def _opened(opener: Callable[[str, str], Opened], settings: Settings, model: str) -> AsyncIterator[Opened]:
    check_stored(settings)
    ledger = opener(settings.ledger.store, model)
    try:
        yield ledger
    finally:
        await ledger.close()


async def read(settings: Settings, model: str, name: AccountName) -> Snapshot:
    """Return an account of a model's ledger, without its tokens. A ledger in memory raises `BadInput`.

    Args:
        settings: Settings of the gateway.
        model: Name of the model.
        name: Name of the account.

    Returns:
        The account. `UnknownName` is raised if there is none.
    """
    async with to_read(settings, model) as reader:
        return _known(await reader.account(name), model, name)


async def reset(settings: Settings, model: str, name: AccountName) -> Snapshot:
    """Delete totals and rows of an account; tokens that were used once stay so. Arguments and errors are as in `read`.

    Returns:
        The account, as it was before.
    """
    async with stored(settings, model) as store:
        account = _known(await snapshot_of(store, name), model, name)
        while not (await store.commit({name: _cleared(account)})).committed:
            account = await snapshot_of(store, name)
    return account


def _known(account: Snapshot, model: str, name: AccountName) -> Snapshot:
    if not account.version:
        raise UnknownName(
            f"the {name.kind} {name.name!r} of {model}", "a client who has asked", "look the names up at /ui"
        )
    return account


@dataclass(frozen=True)
class Erased:
    """What was erased of a client or a group: the models with an account of it, and its keys."""

    models: list[str]
    keys: int = 0
    group: str = ""


async def erase(settings: Settings, name: AccountName) -> Erased:
    """Delete all that is stored of a client or a group: its accounts of every model, and a client's keys and link.

    The account of a group is deleted with its last client. A ledger in memory raises `BadInput`.

    Args:
        settings: Settings of the gateway.
        name: Name of the account.

    Returns:
        What there was; nothing where it was erased before.
    """
    models = [model for model in settings.models if await _erased(settings, model, name)]
    file = settings.keys.file
    if name.kind != "client" or file is None or not file.exists():
        return Erased(models)
    keys = Keys(file)
    listed = keys.all()
    group = next((key.group for key in listed if key.client == name.name), "")
    last = bool(group) and all(key.client == name.name for key in listed if key.group == group)
    deleted = keys.erase(name.name)
    if last:
        await erase(settings, AccountName("group", group))
    return Erased(models, deleted, group if last else "")


async def _erased(settings: Settings, model: str, name: AccountName) -> bool:
    async with stored(settings, model) as store:
        return await store.erase(name)


def enter(settings: Settings, action: str, by: str, **changed: str) -> None:
    """Enter an operator's change of the ledger into the audit log, if there is one; raise `NotWritten`."""
    if settings.operator.audit_log is not None:
        key = read_key(settings.operator.audit_key_env, settings.operator.audit_key_file)
        with AuditLog(settings.operator.audit_log, key) as log:
            log.enter(action, **changed, by=by, durable=True)


def _cleared(account: Snapshot) -> ChangeSet:
    dropped = {name: (True, np.empty((0, 0), np.float32)) for name in account.rows}
    totals = {TOKEN_TIME: account.totals[TOKEN_TIME]} if TOKEN_TIME in account.totals else {}
    return ChangeSet(account.version, totals, rows=dropped, after=account.writer)
