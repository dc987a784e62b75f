"""Requests that come one by one wait for no turn of the loop; those that come together share one."""

import asyncio

import numpy as np
import pytest

from feint.gateway import turns
from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.backends.shared_run import SharedRun
from feint.gateway.turns import QUIET, Gathering, TurnQueue, run_to_end


def sizes_of(counts):
    """Return the sizes of the runs of a graph, for so many requests in each turn of the loop."""
    sizes = []

    def graph(x):
        sizes.append(len(x))
        return Outputs([x], [], None)

    async def main():
        run = SharedRun(graph, 0.0)
        for count in counts:
            await asyncio.gather(*(run(np.zeros((1, 1))) for _ in range(count)))
            await asyncio.sleep(0)

    asyncio.run(main())
    return sizes


def test_those_who_come_together_share_a_run():
    assert sizes_of([4, 4]) == [4, 4]


def test_others_are_expected_again_in_the_turn_after_one_in_which_they_came():
    assert sizes_of([1, 4, 4]) == [1, 1, 3, 4]


def test_one_who_was_alone_is_run_without_a_turn_of_the_loop():
    async def main():
        run = SharedRun(lambda x: Outputs([2 * x], [], None), 0.0)
        await run(np.ones((1, 1)))
        await asyncio.sleep(0)
        with pytest.raises(StopIteration) as done:
            run(np.ones((1, 1))).send(None)
        return done.value.value.rungs[0].item()

    assert asyncio.run(main()) == 2.0


def queue_of(scene):
    """Play a scene at a queue, and return the sizes of what it did together."""
    sizes = []

    async def run(entries):
        sizes.append(len(entries))

    async def main():
        await scene(TurnQueue(run))

    asyncio.run(main())
    return sizes


async def one_after_the_other(queue, count, *, apart):
    """Enter as many, so many turns of the loop apart, and wait until all are done."""
    entered = []
    for _ in range(count):
        entered.append(asyncio.ensure_future(queue(None)))
        for _ in range(apart):
            await asyncio.sleep(0)
    await asyncio.gather(*entered)


def test_those_who_come_one_after_the_other_are_done_together(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST", np.inf)
    assert queue_of(lambda queue: one_after_the_other(queue, 8, apart=QUIET - 1)) == [8]


def test_a_turn_is_over_when_nobody_comes_any_more():
    assert queue_of(lambda queue: one_after_the_other(queue, 3, apart=QUIET + 1)) == [1, 1, 1]


def test_no_turn_goes_on_as_long_as_somebody_comes(monkeypatch):
    monkeypatch.setattr(turns, "LONGEST", 0.0)
    assert max(queue_of(lambda queue: one_after_the_other(queue, 8, apart=2))) < 8


def test_one_who_was_alone_is_done_at_once():
    async def scene(queue):
        await queue(None)
        await asyncio.sleep(0)
        with pytest.raises(StopIteration):
            queue(None).send(None)

    assert queue_of(scene) == [1, 1]


class Hangs:
    """A queue's work that takes until a test lets it end."""

    def __init__(self, error=None):
        self.begun, self.go, self.done, self.error = asyncio.Event(), asyncio.Event(), [], error

    async def __call__(self, entries):
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        self.done += entries


def test_whoever_is_cancelled_before_the_turn_begins_is_left_out():
    async def main():
        work = Hangs()
        queue = TurnQueue(work)
        waiting = [asyncio.ensure_future(queue(name)) for name in "ab"]
        await asyncio.sleep(0)
        waiting[0].cancel()
        work.go.set()
        await asyncio.wait(waiting)
        return waiting[0].cancelled(), work.done

    assert asyncio.run(main()) == (True, ["b"])


async def cancelled_while_it_runs(count, *, left=None, error=None):
    """Return the tasks of those who waited when the first of them was cancelled, and what was done for them."""
    work = Hangs(error)
    queue = TurnQueue(work)
    if count == 1:
        queue._turn._together = False  # as after a turn in which nobody else came
    waiting = [asyncio.ensure_future(run_to_end(queue(name), left) if left else queue(name)) for name in "abc"[:count]]
    await work.begun.wait()
    waiting[0].cancel()
    await asyncio.sleep(0.01)
    ended = waiting[0].done()
    work.go.set()
    await asyncio.wait(waiting)
    return waiting, ended, work.done


@pytest.mark.parametrize("count", [1, 2])
def test_whoever_may_leave_waits_for_the_end_of_what_has_begun(count):
    left = []
    waiting, ended, done = asyncio.run(cancelled_while_it_runs(count, left=lambda: left.append(True)))
    assert [task.exception() for task in waiting] == [None] * count
    assert not ended
    assert done == [*"abc"[:count]]
    assert left == [True]


@pytest.mark.parametrize("count", [1, 2])
def test_whoever_left_gets_the_error_of_what_has_begun(count):
    waiting, *_ = asyncio.run(cancelled_while_it_runs(count, left=lambda: None, error=KeyError("x")))
    assert [type(task.exception()) for task in waiting] == [KeyError] * count


def test_whoever_cannot_leave_is_let_go_at_once_and_the_others_go_on():
    waiting, ended, done = asyncio.run(cancelled_while_it_runs(2))
    assert ended
    assert waiting[0].cancelled()
    assert done == ["a", "b"]


def test_a_loop_that_ends_waits_for_nobody():
    work = Hangs()

    async def main():
        waiting = asyncio.ensure_future(run_to_end(TurnQueue(work)("a"), lambda: None))
        await work.begun.wait()
        assert not waiting.done()

    asyncio.run(asyncio.wait_for(main(), 5))
    assert not work.done


class Arrivals:
    """Calls that a gathering expects, and the order in which their messages are sent and they go on."""

    def __init__(self):
        self.gather, self.events, self.tasks = Gathering(), [], {}

    async def begin(self, name):
        message = asyncio.get_running_loop().create_future()

        async def call():
            await self.gather(message)
            self.events.append(f"{name} goes on")

        self.tasks[name] = asyncio.ensure_future(call()), message
        await self.turns(1)

    async def arrive(self, name):
        self.events.append(name)
        self.tasks[name][1].set_result(None)
        await self.turns(QUIET + 3)

    async def turns(self, count):
        for _ in range(count):
            await asyncio.sleep(0)

    async def end(self):
        await asyncio.gather(*(task for task, _ in self.tasks.values()))
        return self.events


def test_what_begins_before_the_last_has_arrived_goes_on_together(monkeypatch):
    async def main():
        calls = Arrivals()
        await calls.begin("a")
        await calls.begin("b")
        await calls.arrive("a")
        await calls.begin("c")
        await calls.arrive("b")
        await calls.arrive("c")
        return calls.events

    monkeypatch.setattr(turns, "FRESH", np.inf)
    *sent, first, second, third = asyncio.run(main())
    assert sent == ["a", "b", "c"]
    assert {first, second, third} == {"a goes on", "b goes on", "c goes on"}


def test_what_begins_just_after_another_has_arrived_is_waited_for(monkeypatch):
    async def main():
        calls = Arrivals()
        await calls.begin("a")
        calls.tasks["a"][1].set_result(None)
        await calls.turns(QUIET - 2)
        await calls.begin("b")
        await calls.turns(QUIET)
        waits = not calls.events
        await calls.arrive("b")
        return waits, sorted(calls.events)

    monkeypatch.setattr(turns, "FRESH", np.inf)
    assert asyncio.run(main()) == (True, ["a goes on", "b", "b goes on"])


def test_what_arrives_alone_waits_for_nothing(monkeypatch):
    async def main():
        calls = Arrivals()
        await calls.begin("a")
        await calls.arrive("a")
        return calls.events

    monkeypatch.setattr(turns, "FRESH", np.inf)
    assert asyncio.run(main()) == ["a", "a goes on"]


@pytest.mark.parametrize("slow_ends", [False, True])
def test_what_is_slow_or_never_arrives_delays_others_while_it_is_fresh(slow_ends, monkeypatch):
    async def main():
        calls = Arrivals()
        await calls.begin("slow")
        await calls.begin("a")
        await calls.arrive("a")
        waited = calls.events == ["a"]
        if slow_ends:
            calls.tasks["slow"][0].cancel()
        await calls.tasks["a"][0]
        await calls.begin("b")
        await calls.arrive("b")
        events = list(calls.events)
        calls.tasks["slow"][0].cancel()
        return waited, events

    monkeypatch.setattr(turns, "FRESH", 0.2)
    assert asyncio.run(main()) == (True, ["a", "a goes on", "b", "b goes on"])


def test_nothing_waits_as_long_as_others_begin(monkeypatch):
    async def main():
        calls = Arrivals()
        await calls.begin("slow")
        await calls.begin("a")
        await calls.arrive("a")
        for i in range(20):
            await calls.begin(i)
            await asyncio.sleep(0.02)
        for task, _ in calls.tasks.values():
            task.cancel()
        return calls.events

    monkeypatch.setattr(turns, "FRESH", 0.1)
    monkeypatch.setattr(turns, "LONGEST", 0.0)
    assert asyncio.run(main()) == ["a", "a goes on"]
