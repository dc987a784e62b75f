"""The arithmetic of the scenes of `make load`: what they say of a gateway is no better than their sums."""

import asyncio
import itertools
import json
import sys

import numpy as np
import pytest
from benchmarks.load import cost, front, load, timed
from benchmarks.load.clients import ClientLog, ExpectedAnswers
from benchmarks.load.faults import balance
from benchmarks.load.processes import Server, free_port
from benchmarks.record import record
from tests.support.waiting import eventually

BUSY = """
import os, socket, sys, time
it, parent = socket.create_server(("127.0.0.1", int(sys.argv[1]))), os.getpid()
if os.fork() == 0:
    it.close()
while time.process_time() < 0.4:
    pass
while parent in (os.getpid(), os.getppid()):  # the child ends with it
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_processor_time_is_that_of_the_process_and_its_children_however_long_it_waits(tmp_path):
    port = free_port()
    with Server([sys.executable, "-c", BUSY, str(port)], port, log=tmp_path / "log") as it:
        eventually(lambda: it.processor_seconds >= 0.75)
        assert it.processor_seconds == pytest.approx(0.8, abs=0.1)  # two processes of 0.4 s
        assert 2 < it.memory < 100
        it.kill()


def test_a_request_costs_the_processor_time_of_all_divided_by_their_number():
    seen = load.Load(requests=2000, failed=3, seconds=4.0, p50_ms=1.0, p99_ms=2.0)
    told = load.row(seen, processor_seconds=0.5)
    assert told["rate"] == 500.0
    assert told["cpu_ms"] == 0.25


def row(server, clients, cpu, rate):
    return {"server": server, "protocol": "JSON", "clients": clients, "cpu_ms": cpu, "rate": rate}


def test_of_the_rounds_the_cheapest_counts_and_it_is_compared_with_as_many_clients():
    rounds = [row("bare", 1, 0.2, 100.0), row("bare", 1, 0.1, 80.0), row("bare", 8, 0.5, 10.0), row("us", 1, 0.3, 40.0)]
    told = {(it["server"], it["clients"]): it for it in cost.compared(cost.cheapest([*rounds, row("us", 8, 0.6, 5.0)]))}
    assert told["us", 1]["added_ms"] == pytest.approx(0.2)
    assert told["us", 1]["throughput"] == pytest.approx(0.5)
    assert told["us", 8]["added_ms"] == pytest.approx(0.1)
    assert told["bare", 1]["added_ms"] == 0


def test_in_front_of_a_server_the_best_rounds_are_compared():
    def seen(server, rate, p50, p99):
        return {"server": server, "clients": 1, "rate": rate, "p50_ms": p50, "p99_ms": p99}

    found = [seen(front.DIRECT, 90.0, 9.0, 9.0), seen(front.DIRECT, 100.0, 1.0, 3.0), seen("us", 80.0, 1.5, 5.0)]
    told = front.compared(found)[1]
    assert told["throughput"] == 0.8
    assert told["added_p50_ms"] == 0.5
    assert told["added_p99_ms"] == 2.0


def test_answers_that_were_not_charged_are_lost_and_no_other_client_makes_up_for_them():
    logs = [ClientLog("a", answered=10, times=[1.0, 7.5]), ClientLog("b", answered=5, in_flight=2, times=[2.0, 8.0])]
    told = balance(logs, {"a": 9, "b": 6}, again=7.0)
    assert {key: told[key] for key in ("answered", "charged", "lost", "extra", "in_flight")} == {
        "answered": 15, "charged": 15, "lost": 1, "extra": 1, "in_flight": 2,
    }  # fmt: skip
    assert told["recovery_s"] == 0.5
    assert balance(logs, {"a": 10, "b": 5}, again=9.0)["recovery_s"] == float("inf")


def test_only_the_answer_of_a_rung_may_leave():
    p = np.array([0.2, 0.8])
    right = ExpectedAnswers([b""], [[p, p[::-1]]])
    assert right.defended(0, [0.2, 0.8])
    assert right.defended(0, [0.8, 0.2])
    assert not right.defended(0, [0.3, 0.7])
    assert not right.defended(0, [0.2, 0.8, 0.0])


@pytest.mark.parametrize("body", [load.Body.binary, load.Body.json])
def test_a_request_is_whole_with_any_four_levels(body):
    """As the gateway reads it."""
    from feint.openinference.json_codec import RequestCodec
    from feint.openinference.model_spec import ModelSpec
    from feint.signature import Pixels

    x = np.stack([np.full((2, 3), level, np.float32) for level in (0.25, 0.5)])
    it = body(x, "x", "p")
    sent = it.head + it.between.join(it.levels[k] for k in (0, 51, 255, 102)) + it.tails[1]
    assert len({len(level) for level in it.levels}) == 1
    codec = RequestCodec(ModelSpec("m", Pixels((2, 3)), "p", 2), max_batch=1024, max_body=2**26)
    request = codec.read(sent, it.headers.get("Inference-Header-Content-Length", ""))
    np.testing.assert_allclose(request.x.ravel(), [0, 0.2, 1, 0.4, 0.5, 0.5], atol=1e-6)


def test_a_step_is_timed_without_the_steps_that_it_calls(monkeypatch):
    timers, clock = timed.Timers(), itertools.count()
    monkeypatch.setattr(timed.time, "thread_time", lambda: float(next(clock)))
    inner = timed.timed(timers, "inner", lambda: 7)
    outer = timed.timed(timers, "outer", lambda: inner() + inner())
    assert outer() == 14
    assert (timers._seconds["outer"], timers._seconds["inner"]) == (3.0, 2.0)  # one between any two switches


def test_a_step_that_waits_is_not_timed_meanwhile_and_ends_as_it_would():
    timers, waits = timed.Timers(), []

    async def step():
        await asyncio.sleep(0)
        raise KeyError

    async def main():
        asyncio.get_running_loop().call_soon(lambda: waits.append(timers._step))
        with pytest.raises(KeyError):
            await timed.timed(timers, "step", step)()

    asyncio.run(main())
    assert waits == [""]
    assert timers._step == ""
    assert timers._seconds["step"] > 0


def test_every_step_of_the_profile_is_a_function_of_the_gateway():
    assert all(callable(getattr(place, name)) for places in timed.STEPS.values() for place, name in places)


def test_a_record_replaces_its_own_entry_and_no_other(tmp_path):
    file = tmp_path / "load.json"
    for name, rate in (("cost", 1.0), ("front", 2.0), ("cost", 3.0)):
        record(file, name, f"measure {name}", [{"rate": rate}], packages={"numbers": "numpy"})
    entries = json.loads(file.read_text())
    assert entries["cost"]["rows"] == [{"rate": 3.0}]
    assert entries["front"]["rows"] == [{"rate": 2.0}]
    assert entries["cost"]["command"] == "measure cost"
    assert entries["cost"]["provenance"]["numbers"] == np.__version__
