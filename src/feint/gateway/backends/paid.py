"""Models elsewhere whose calls cost something: price and ceiling before the first one, and repeats from memory."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence

import numpy as np

from feint.errors import BadInput, FeintError, StoreLost
from feint.gateway.array_query import Array
from feint.gateway.settings import UpstreamSettings
from feint.paid.answer_cache import AnswerCache, answers_file
from feint.paid.meter import DailyCalls, Meter
from feint.signature import mark

REMEMBERED = 10_000  # answers of a model elsewhere: at 1,000 classes 40 MB

log = logging.getLogger("feint.gateway")

Call = asyncio.Future[dict[bytes, Array]]  # of answers (K,) by mark


def meter_of(at: UpstreamSettings, model: str) -> Meter | None:
    """Return the meter of an upstream's model; None where its settings have neither price nor ceiling."""
    if not at.price_per_1000 and at.max_calls_per_day is None:
        return None
    most = at.max_calls_per_day
    daily = DailyCalls(answers_file(model, repr((at.upstream, model))), most) if most is not None else None
    return Meter(at.price_per_1000, at.currency, daily=daily)


def announced(meter: Meter, where: str) -> list[str]:
    """Return what the calls to a model elsewhere cost and their ceiling, logged before the first one.

    Raises:
        BadInput: They cost something, and there is no ceiling.
    """
    if meter.price_per_1000 and not meter.ceiling:
        raise BadInput(
            f"{where}, which costs {meter.price(1000)} for 1,000 calls", "a ceiling on the calls",
            "set max_calls_per_day = N, or --max-calls-per-day N; in Python model.meter.most = N",
        )  # fmt: skip
    note = f"each new input is a call: {meter.ceiling or f'{meter.price(1000)}, without a ceiling'}"
    log.warning("%s: %s", where, note)
    return [note]


def share(meter: Meter, ledger: str, model: str) -> None:
    """Let the ceiling of a day hold for all gateways whose ledger is the same server of Redis or Valkey."""
    if meter.daily is None or not ledger.startswith(("redis://", "rediss://")):
        return
    from feint.gateway.stores.redis_calls import RedisCalls

    shared = RedisCalls(ledger, model, meter.daily.most)
    with contextlib.suppress(StoreLost):  # whoever starts without its ledger counts from the first request on
        shared.add(meter.calls)  # the trial
    meter.daily = shared


class RememberedSource:
    """Source that is asked about each input once, while its answer is among the last `REMEMBERED` ones.

    Requests for an input that is being asked about wait for that call. A call goes on where its client has gone: the
    answer is paid for, and the next one who asks gets it.

    Args:
        source: Function of inputs (N, …) to probabilities (N, K), each of which is a call.
    """

    def __init__(self, source: Callable[[Array], Awaitable[Array]]) -> None:
        self._source, self._cache = source, AnswerCache(None)
        self._calls: dict[bytes, Call] = {}  # under way, by mark

    async def __call__(self, x: Array) -> Array:
        """Return the probabilities (N, K) of inputs (N, …). Errors are those of the source."""
        if not len(x):
            return await self._source(x)
        marks = mark(x)
        answers = self._remembered(marks)
        while new := {m: row for row, m in enumerate(marks) if m not in answers}:  # again where another's call failed
            joined = {self._calls[m] for m in new if m in self._calls}
            if begun := {m: row for m, row in new.items() if m not in self._calls}:
                answers |= await asyncio.shield(self._begin(x[[*begun.values()]], [*begun]))
            for call in joined:
                with contextlib.suppress(FeintError):  # it may be another input of that request that cannot be answered
                    answers |= await asyncio.shield(call)
        return np.stack([answers[m] for m in marks])

    def forget(self) -> None:
        """Forget all answers, also those under way: the model may be another one now."""
        self._cache, self._calls = AnswerCache(None), {}

    def _remembered(self, marks: Sequence[bytes]) -> dict[bytes, Array]:
        """Return the known answers by mark."""
        unknown = {marks[row] for row in self._cache.missing(marks)}
        known = [*{*marks} - unknown]
        return dict(zip(known, self._cache.get(known), strict=True)) if known else {}

    def _begin(self, x: Array, marks: Sequence[bytes]) -> Call:
        call = asyncio.ensure_future(self._ask(x, marks, self._cache, self._calls))
        self._calls |= dict.fromkeys(marks, call)
        return call

    async def _ask(
        self, x: Array, marks: Sequence[bytes], cache: AnswerCache, calls: dict[bytes, Call]
    ) -> dict[bytes, Array]:
        """Return the answers by mark, kept in the cache of when they were asked: `forget` begins another one."""
        try:
            p = await self._source(x)
        finally:
            for m in marks:
                del calls[m]
        cache.add(marks, p)
        cache.forget(REMEMBERED)
        return dict(zip(marks, p, strict=True))
