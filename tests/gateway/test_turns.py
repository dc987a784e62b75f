"""Requests that come one by one wait for no turn of the loop; those that come together share one."""

import asyncio

import numpy as np
import pytest

from feint.gateway import turns
from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.backends.shared_run import SharedRun
from feint.gateway.turns import QUIET, TurnQueue


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


def test_whoever_is_cancelled_is_let_go_at_once_and_the_others_go_on():
    async def main():
        work = Hangs()
        queue = TurnQueue(work)
        waiting = [asyncio.ensure_future(queue(name)) for name in "ab"]
        await work.begun.wait()
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        ended = waiting[0].cancelled()
        work.go.set()
        await asyncio.wait(waiting)
        return ended, work.done

    assert asyncio.run(main()) == (True, ["a", "b"])
