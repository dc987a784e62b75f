"""Where a gateway's ledger is kept: in this process, in a SQLite file, or in Redis or Valkey for many replicas."""

from collections.abc import Callable

from feint.errors import BadRecipe
from feint.gateway.drafts import Store


def _memory(place: str, model: str) -> Store:
    from feint.gateway.stores.memory import MemoryStore

    return MemoryStore()


KINDS: dict[str, Callable[[str, str], Store]] = {"memory": _memory}


def open_store(url: str, model: str) -> Store:
    """The ledger of a `model` at a URL: each model has accounts of its own there. Raises `StoreLost` or `BadRecipe`."""
    kind, _, place = url.partition(":")
    if kind not in KINDS:
        raise BadRecipe(f"the ledger {url!r}", f"one of {', '.join(f'{it}:' for it in KINDS)}", "choose one of these")
    return KINDS[kind](place, model)
