"""Changes of accounts that are undone where the block that made them fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from feint.errors import Refused

_UNDO: ContextVar[list[Callable[[], None]] | None] = ContextVar("feint_undo", default=None)


@contextmanager
def undone_on_failure() -> Iterator[None]:
    """Undo the block's changes of accounts where it fails: what fails on this side is not the client's to pay.

    Changes that other threads made meanwhile stay. So do all where the caller gives the block up, as by Ctrl-C:
    otherwise computation would cost nothing.

    Raises:
        Refused: The block's own; its changes stay.
    """
    steps: list[Callable[[], None]] = []
    token = _UNDO.set(steps)
    try:
        yield
    except Refused:
        raise
    except Exception:
        for undo in reversed(steps):
            undo()
        raise
    finally:
        _UNDO.reset(token)


def undo_by(step: Callable[[], None]) -> None:
    """Have `step` called if the present `undone_on_failure` fails."""
    steps = _UNDO.get()
    if steps is not None:
        steps.append(step)


def is_undoable() -> bool:
    """Return whether this is within `undone_on_failure`."""
    return _UNDO.get() is not None
