"""Gateway whose steps are timed: `python -m benchmarks.load.timed FILE SETTINGS` serves, then writes its figures.

Only one request may be under way at a time. Each of `STEPS` is timed without the steps that it calls, so that they add
up; a step that waits is not timed meanwhile. Of the requests the quicker half counts: in the others the machine did
something else, too. After `TIMED` requests no step is timed any more, and the functions that each step calls are
counted instead.
"""

import functools
import inspect
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from feint.cli import main
from feint.gateway import app, endpoint, ledger_session, routes, rpc
from feint.gateway.backends import onnx_model, onnx_pipeline, shared_run
from feint.gateway.server.limits import BoundedConnection
from feint.gateway.stores.sqlite import SqliteStore
from feint.gateway.telemetry.observers import Telemetry
from feint.openinference import grpc_codec, json_codec

WARM, TIMED = 200, 1000  # requests
COUNTED = "record and count"  # now and then, for many requests at once
STEPS = {
    "HTTP: read the request": [(BoundedConnection, "data_received")],
    "HTTP: write the response": [(RequestResponseCycle, "send")],
    "route and body": [(routes, "handle"), (rpc, "_call"), (rpc, "_infer")],
    "key": [(app.Gateway, "authenticate")],
    "decode the inputs": [
        (json_codec.RequestCodec, "read"),
        (grpc_codec, "decode_request"),
        (grpc_codec, "read_request"),
    ],
    "way through the line": [(endpoint.ModelEndpoint, "answer")],
    "transaction: open": [(ledger_session.LedgerSession, "begin")],
    "access rules": [(onnx_pipeline.OnnxPipeline, "admit")],
    "way to the graph": [(shared_run.SharedRun, "each")],
    "run of the graph": [(onnx_model.OnnxModel, "run")],
    "evidence": [(onnx_pipeline.OnnxPipeline, "_observed")],
    "rung and its answer": [(onnx_pipeline.OnnxPipeline, "answer")],
    "check of the answer": [(endpoint, "check_probabilities")],
    "transaction: stage": [(ledger_session.LedgerSession, "stage")],
    "transaction: send": [(ledger_session.LedgerSession, "send")],
    "transaction: SQLite": [(SqliteStore, "_transaction")],
    "encode the answer": [(json_codec.RequestCodec, "write"), (grpc_codec, "write_response")],
    COUNTED: [(Telemetry, "__call__"), (Telemetry, "_count")],
}
BEGIN = {"HTTP: read the request", "route and body"}


class Timers:
    """Timers of the steps of one request after the other."""

    def __init__(self) -> None:
        self._step, self._since = "", time.perf_counter()
        self._seconds, self._requests = defaultdict[str, float](float), list[Mapping[str, float]]()
        self.calls, self.counted = Counter[str](), 0

    def enter(self, step: str) -> str:
        """Begin a step, and return the one that it interrupts."""
        if step in BEGIN and not self._step:
            self._next()
        return self.switch(step)

    def switch(self, step: str) -> str:
        """Go on with a step; return the one before."""
        now, before = time.perf_counter(), self._step
        self._seconds[before] += now - self._since
        self._step, self._since = step, now
        return before

    def _next(self) -> None:
        """End the request before; the steps that begin one are entered several times on its way."""
        if self._seconds.get("encode the answer"):
            self._requests.append(dict(self._seconds))
            self._seconds.clear()
            if len(self._requests) == WARM + TIMED:
                sys.setprofile(self._count)
            self.counted += len(self._requests) > WARM + TIMED

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call") and self._step and frame.f_globals is not globals():
            self.calls[self._step] += 1

    def figures(self) -> dict[str, Any]:
        """Return the mean microseconds and calls of each step."""
        timed = self._requests[WARM : WARM + TIMED]
        quick = sorted(timed, key=lambda seconds: sum(seconds.values()) - seconds[""] - seconds.get(COUNTED, 0.0))
        quick = quick[: max(1, len(quick) // 2)]
        us = {step: 1e6 * sum(seconds.get(step, 0.0) for seconds in quick) / len(quick) for step in STEPS}
        calls = {step: self.calls[step] / max(1, self.counted) for step in STEPS}
        return {"requests": len(timed), "us": us, "calls": calls}


def install(timers: Timers) -> None:
    """Time all `STEPS` from now on."""
    for step, places in STEPS.items():
        for place, name in places:
            setattr(place, name, timed(timers, step, getattr(place, name)))


def timed(timers: Timers, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, or a coroutine function, as a step that is timed."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run(*arguments: Any, **options: Any) -> Any:
            return await _Timed(timers, step, function(*arguments, **options))

    else:

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            before = timers.enter(step)
            try:
                return function(*arguments, **options)
            finally:
                timers.switch(before)

    return run


class _Timed:
    """Coroutine that is timed while it runs, and not while it waits."""

    def __init__(self, timers: Timers, step: str, coroutine: Any) -> None:
        self._timers, self._step, self._coroutine = timers, step, coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            before = self._timers.enter(self._step)
            try:
                waited = step(value)
            except StopIteration as done:
                return done.value
            finally:
                self._timers.switch(before)
            try:
                step, value = self._coroutine.send, (yield waited)
            except BaseException as error:  # of whoever ends the wait: the coroutine's to handle
                step, value = self._coroutine.throw, error


if __name__ == "__main__":
    file, settings = sys.argv[1:]
    timers = Timers()
    install(timers)
    sys.argv = ["feint", "serve", settings]
    try:
        main()
    finally:
        sys.setprofile(None)
        Path(file).write_text(json.dumps(timers.figures()))
