"""Where a gateway's ledger is kept: in this process, in a SQLite file, or in Redis or Valkey for many replicas."""

from collections.abc import Callable
from pathlib import Path

from feint._optional import require
from feint.errors import BadRecipe, UnknownName
from feint.gateway.drafts import Store
from feint.gateway.stores.memory import MemoryStore


def open_store(url: str, model: str = "") -> Store:
    """The ledger of a model at "memory:", "sqlite:PATH", "redis://HOST:PORT/NUMBER" or "rediss://…".

    Raises `UnknownName` for another kind of URL, `BadRecipe` for one without a path, `MissingData` where an extra is
    not installed, and what the store raises when it is opened.
    """
    scheme = url.partition(":")[0]
    if scheme not in KINDS:
        raise UnknownName.among("ledger's store", url.partition("@")[2] or url, (f"{kind}:" for kind in KINDS))
    return KINDS[scheme](url, model)


def beside(url: str, folder: Path) -> str:
    """The same store, the path of a file in it beginning at `folder`."""
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


KINDS: dict[str, Callable[[str, str], Store]] = {
    "memory": _memory, "sqlite": _sqlite, "redis": _redis, "rediss": _redis,
}  # fmt: skip
