"""Requests that wait for a store: those that come together are committed together, and each is told for itself."""

import asyncio
from collections.abc import Iterable

from feint.gateway.drafts import Other

Answer = Other | Exception | None  # what a commit is told


def tell(waiting: Iterable[asyncio.Future[Other | None]], answers: Iterable[Answer]) -> None:
    """Tell each its answer; who hung up meanwhile is told nothing."""
    for future, answer in zip(waiting, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
