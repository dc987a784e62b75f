"""Checks that a gateway can decide: each model's rules and its ledger, at the start and while it runs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from feint.errors import BadInput, FeintError, Refused, StoreLost, StoreRolledBack
from feint.gateway.accounts import stored
from feint.gateway.app import Authenticator
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.base import LoadedModel
from feint.gateway.changes import AccountName, ChangeSet
from feint.gateway.redaction import address, redacted
from feint.gateway.settings import Settings
from feint.gateway.stores.base import Store
from feint.ledger import Account


@runtime_checkable
class HasSettings(Protocol):
    """Store that depends on settings of a server, which `check` reads as in `settings_warnings`."""

    async def check(self) -> Sequence[str]: ...


@runtime_checkable
class CanLoseParts(Protocol):
    """Store that refuses every commit once it has lost a part, until `accept` takes it as it is."""

    async def accept(self) -> None: ...


@runtime_checkable
class HasKeys(Protocol):
    """Authenticator that lets nobody in while its keys cannot be read; `check` raises `StoreLost` then."""

    def check(self) -> None: ...


ATTEMPTS = 5
TRIAL = "_trial"  # the model in whose ledger is written, and its client: no real one has this name
ACCOUNT = AccountName("client", TRIAL)


async def check_writable(store: Store) -> None:
    """Commit a change to the ledger of the model `TRIAL`; raise `StoreLost` where the store does not take it."""
    version = 0
    for _ in range(ATTEMPTS):  # each replica changes the same account
        outcome = await store.commit({ACCOUNT: ChangeSet(version, now=time.time())})
        if outcome.committed:
            return
        version = outcome.accounts[ACCOUNT].version


async def accept(store: Store) -> None:
    """Take a ledger as it is, whatever it has lost; raise `StoreLost`."""
    if isinstance(store, CanLoseParts):
        await store.accept()


async def accept_ledgers(settings: Settings) -> None:
    """Take the ledgers of all models as they are, and forget what they should hold at the next start.

    `StoreLost` is raised where a store does not answer, and `BadInput` for a ledger in memory.
    """
    with explained(settings.ledger.store):
        for model in (*settings.models, TRIAL):
            async with stored(settings, model) as store:
                await accept(store)
    if (mark := settings.ledger.mark_file) is not None:
        mark.unlink(missing_ok=True)


async def settings_warnings(store: Store) -> Sequence[str]:
    """Return what is wrong with a store's own settings; a store of another package may have no `check`.

    One that may delete accounts raises `BadInput`, one that does not answer `StoreLost`.
    """
    return await store.check() if isinstance(store, HasSettings) else ()


def keys_lost(authenticator: Authenticator) -> bool:
    """Return whether the keys of an authenticator cannot be read."""
    try:
        if isinstance(authenticator, HasKeys):
            authenticator.check()
    except StoreLost:
        return True
    return False


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise a `StoreLost` of the block with the ledger's address and its cause, for the operator."""
    try:
        yield
    except StoreRolledBack:
        raise
    except StoreLost as error:
        got, expected, _ = error.args
        cause = f": {redacted(str(error.__cause__))}" if error.__cause__ is not None else ""
        what = f"{got} at {address(url)}{cause}"
        raise StoreLost(what, expected, "check its address, password and database") from error


async def check_decision(loaded: LoadedModel) -> None:
    """Let a model decide on one query of a new client, and apply the access rules of all its rungs.

    A model behind an upstream was tried when it was connected, and is not asked again.

    Raises:
        BadInput: A rule fails, as one that was never fitted does. A refusal is no failure.
    """
    if loaded.spec is None or loaded.spec.domain is None:
        return
    query, pipeline = ArrayQuery(loaded.spec.domain.sample(1, 0), TRIAL), loaded.pipeline
    for rule in pipeline.rules:
        try:
            rule.admit(query, Account(TRIAL))
        except Refused:
            continue
        except Exception as error:
            raise BadInput(
                f"{rule!r}, which fails ({_why(error)})", "a rule that can decide", "fit it to the served model"
            ) from error
    if loaded.upstream is None:
        try:
            await pipeline.answer(query, await pipeline.compute(query), Account(TRIAL), shadow=True)
        except Refused:
            return
        except Exception as error:
            raise BadInput(
                f"a defense that fails ({_why(error)})", "one that can answer", "fit it to the served model"
            ) from error


def _why(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, FeintError) else type(error).__name__
