"""Ctrl-C while something is under way that costs money: it is put off until that is stored."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class _PutOff:
    """Handler of SIGINT that notes the first one, and hands on the second, or any one `at_once`."""

    def __init__(self, before: Callable[[int, FrameType | None], Any]) -> None:
        self.before, self.at_once, self.noted = before, False, False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.at_once or self.noted:
            self.before(number, frame)
        self.noted = True


@contextmanager
def finishing() -> Iterator[None]:
    """Put off Ctrl-C until the block ends. A second one acts at once, as every one does in another thread."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or isinstance(before, _PutOff) or threading.current_thread() != threading.main_thread():
        yield
        return
    handler = _PutOff(before)
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if handler.noted:
            before(signal.SIGINT, None)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C act at once in a block within `finishing` that costs nothing: a wait, or the work on a puzzle."""
    handler = signal.getsignal(signal.SIGINT)
    if not isinstance(handler, _PutOff) or threading.current_thread() != threading.main_thread():
        yield
        return
    if handler.noted:
        handler.before(signal.SIGINT, None)
    handler.at_once = True
    try:
        yield
    finally:
        handler.at_once = False
