"""Stores of a gateway's ledger: in this process, in a SQLite file, or in Redis or Valkey for many replicas."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from feint._optional import require
from feint.errors import BadRecipe, UnknownName
from feint.gateway.drafts import Store
from feint.gateway.stores.memory import MemoryStore


def open_store(url: str, model: str = "") -> Store:
    """Open the ledger of a model.

    Args:
        url: "memory:", "sqlite:PATH", "redis://HOST:PORT/NUMBER" or "rediss://…".
        model: The model's name.

    Raises:
        UnknownName: If the URL is of another kind.
        BadRecipe: If it lacks a path.
        MissingData: If an extra is not installed.
        StoreLost: If the storage does not answer.
    """
    return _kind(url).open(url, model)


def is_shared(url: str) -> bool:
    """Return whether replicas on several machines can share the ledger at `url`; raise `UnknownName`."""
    return _kind(url).shared


def _kind(url: str) -> "StoreKind":
    scheme = url.partition(":")[0]
    if scheme not in KINDS:
        raise UnknownName.among("ledger's store", url.partition("@")[2] or url, (f"{kind}:" for kind in KINDS))
    return KINDS[scheme]


def beside(url: str, folder: Path) -> str:
    """Return the same URL, the path of a file in it beginning at `folder`."""
    scheme, _, path = url.partition(":")
    return f"{scheme}:{folder / path}" if scheme == "sqlite" and path else url


def _memory(url: str, model: str) -> Store:
    return MemoryStore()


def _sqlite(url: str, model: str) -> Store:
    from feint.gateway.stores.sqlite import SqliteStore

    path = url.partition(":")[2]
    if not path:
        raise BadRecipe(f"the store {url!r}", "sqlite:PATH", "name a file")
    return SqliteStore(path, model)


def _redis(url: str, model: str) -> Store:
    require("redis", "redis")
    from feint.gateway.stores.redis import RedisStore

    return RedisStore(url, model)


class StoreKind(NamedTuple):
    """A kind of store: how it is opened, and whether replicas on several machines can share it."""

    open: Callable[[str, str], Store]
    shared: bool


KINDS = {
    "memory": StoreKind(_memory, shared=False),
    "sqlite": StoreKind(_sqlite, shared=False),
    "redis": StoreKind(_redis, shared=True),
    "rediss": StoreKind(_redis, shared=True),
}
