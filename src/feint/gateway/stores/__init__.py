"""Stores of the ledger: memory, SQLite, or Redis and Valkey.

Redis and Valkey are for many replicas.
"""

from importlib import import_module, metadata
from pathlib import Path

from feint._optional import require
from feint.errors import UnknownName
from feint.gateway.stores.base import HasReader, LedgerReader, Store, StoreReader

STORES = {  # scheme of a URL: module, class and the extra that it takes
    "memory": ("memory", "MemoryStore", ""),
    "sqlite": ("sqlite", "SqliteStore", ""),
    "redis": ("redis", "RedisStore", "redis"),
    "rediss": ("redis", "RedisStore", "redis"),
}
GROUP = "feint.stores"  # entry points of other packages, by scheme


def store_class(url: str) -> type[Store]:
    """Return the class of the store at a URL. Raises `UnknownName`, or `MissingData` without its extra."""
    scheme = url.partition(":")[0]
    if scheme in STORES:
        module, name, extra = STORES[scheme]
        if extra:
            require(extra, extra)
        return getattr(import_module(f"{__name__}.{module}"), name)
    others = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    if scheme not in others:
        raise UnknownName.among("ledger's store", f"{scheme[:20]}:", (f"{known}:" for known in [*STORES, *others]))
    return others[scheme].load()


def open_store(url: str, model: str = "") -> Store:
    """Return the ledger of a model at "memory:", "sqlite:PATH", "redis://HOST:PORT/NUMBER" or "rediss://…".

    `UnknownName` is raised for a scheme that no installed package has in the group `feint.stores`, `BadRecipe` for a
    URL without a path, `MissingData` for an extra that is not installed, and `StoreLost` if the storage fails.
    """
    return store_class(url).open(url, model)


def open_reader(url: str, model: str = "") -> LedgerReader:
    """Return a reader of the ledger of a model, which need not take writes; errors are those of `open_store`."""
    kind = store_class(url)
    return kind.open_reader(url, model) if isinstance(kind, HasReader) else StoreReader(kind.open(url, model))


def beside(url: str, folder: Path) -> str:
    """Return the URL with the path of a file in it relative to `folder`."""
    scheme, _, path = url.partition(":")
    return f"{scheme}:{folder / path}" if scheme == "sqlite" and path else url
