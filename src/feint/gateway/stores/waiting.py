"""Results of commits that a store makes together, one for each commit."""

import asyncio
from collections.abc import Iterable

from feint.gateway.changes import Outcome

Answer = Outcome | Exception  # the result of a commit


def tell(waiting: Iterable[asyncio.Future[Outcome]], answers: Iterable[Answer]) -> None:
    """Set the result of every future that is not done; a client may have hung up meanwhile."""
    for future, answer in zip(waiting, answers, strict=True):
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
