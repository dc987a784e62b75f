"""Requests that come one by one wait for no turn of the loop; those that come together share one."""

import asyncio

import numpy as np
import pytest

from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.backends.shared_run import SharedRun


def sizes_of(turns):
    """Return the sizes of the runs of a graph, for so many requests in each turn of the loop."""
    sizes = []

    def graph(x):
        sizes.append(len(x))
        return Outputs([x], [], None)

    async def main():
        run = SharedRun(graph, 0.0)
        for count in turns:
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
