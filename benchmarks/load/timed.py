"""Gateway whose steps are timed: `python -m benchmarks.load.timed FILE SETTINGS` serves, then writes its figures.

Only one request may be under way at a time. Each of `STEPS` is timed by the processor time of its thread, without the
steps that it calls, so that they add up, and without what the timers take. Of the requests the cheaper half counts: in
the others the machine did something else, too. After `TIMED` requests the functions that each step calls are counted.
"""

import functools
import inspect
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from feint.cli import main
from feint.gateway import app, endpoint, ledger_session, routes, rpc
from feint.gateway.backends import onnx_model, onnx_pipeline, shared_run
from feint.gateway.server.limits import BoundedConnection
from feint.gateway.server.rpc_call import StreamedCall
from feint.gateway.server.rpc_connection import RpcConnection
from feint.gateway.stores.sqlite import SqliteStore
from feint.gateway.telemetry.observers import Telemetry
from feint.openinference import grpc_codec, json_codec

WARM, TIMED = 200, 1000  # requests
COUNTED = "record and count"  # now and then, for many requests at once
STEPS = {
    "HTTP: read the request": [(BoundedConnection, "data_received"), (RpcConnection, "data_received")],
    "HTTP: write the response": [(RequestResponseCycle, "send"), (StreamedCall, "_sent")],
    "route and body": [(routes, "handle"), (rpc.Calls, "_answer"), (rpc, "_infer")],
    "key": [(app.Gateway, "authenticate")],
    "decode the inputs": [
        (json_codec.RequestCodec, "read"),
        (grpc_codec, "decode_request"),
        (grpc_codec, "read_request"),
    ],
    "way through the line": [(endpoint.ModelEndpoint, "answer"), (endpoint.ModelEndpoint, "_answer")],
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
        self._step, self._since = "", time.thread_time()
        self._seconds, self._requests = defaultdict[str, float](float), list[Mapping[str, float]]()
        self._calls, self._switches, self._counted = defaultdict[str, int](int), defaultdict[str, int](int), 0

    def enter(self, step: str) -> str:
        """Begin a step, and return the one that it interrupts."""
        if step in BEGIN and not self._step:
            self._next()
        return self.switch(step)

    def switch(self, step: str) -> str:
        """Go on with a step; return the one before."""
        now, before = time.thread_time(), self._step
        self._seconds[before] += now - self._since
        self._step, self._since = step, now
        if self._counted:
            self._switches[before] += 1
            self._switches[step] += 1
        return before

    def _next(self) -> None:
        """End the request before; the steps that begin one are entered several times on its way."""
        if self._seconds.get("encode the answer"):
            self._requests.append(dict(self._seconds))
            self._seconds.clear()
            if len(self._requests) == WARM + TIMED:
                sys.setprofile(self._count)
            self._counted += len(self._requests) > WARM + TIMED

    def _count(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call") and self._step and frame.f_globals is not globals():
            self._calls[self._step] += 1

    def figures(self) -> dict[str, Any]:
        """Return the mean microseconds and calls of each step."""
        timed = self._requests[WARM : WARM + TIMED]
        cheap = sorted(timed, key=lambda seconds: sum(seconds.values()) - seconds[""] - seconds.get(COUNTED, 0.0))
        cheap, counted = cheap[: max(1, len(cheap) // 2)], max(1, self._counted)
        mean = {step: sum(seconds.get(step, 0.0) for seconds in cheap) / len(cheap) for step in STEPS}
        own = seconds_of_a_switch() / 2  # half of it before the clock is read, and half after
        us = {step: 1e6 * max(0.0, mean[step] - own * self._switches[step] / counted) for step in STEPS}
        return {"us": us, "calls": {step: self._calls[step] / counted for step in STEPS}}


def seconds_of_a_switch(times: int = 10_000) -> float:
    """Return the processor time that a switch from step to step takes by itself."""

    def nothing() -> None:
        pass

    spent = []
    for function in (timed(Timers(), "nothing", nothing), nothing):
        began = time.thread_time()
        for _ in range(times):
            function()
        spent.append(time.thread_time() - began)
    return (spent[0] - spent[1]) / times / 2  # to the step and back


def install(timers: Timers) -> None:
    """Time all `STEPS` from now on."""
    for step, places in STEPS.items():
        for place, name in places:
            setattr(place, name, timed(timers, step, getattr(place, name)))


def timed(timers: Timers, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function, or a coroutine function, as a step that is timed."""

    @functools.wraps(function)
    async def wait(*arguments: Any, **options: Any) -> Any:
        return await _Timed(timers, step, function(*arguments, **options))

    @functools.wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        before = timers.enter(step)
        try:
            return function(*arguments, **options)
        finally:
            timers.switch(before)

    return wait if inspect.iscoroutinefunction(function) else run


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
