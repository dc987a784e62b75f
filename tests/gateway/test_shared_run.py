"""Requests of one turn of the loop share a run of the graph, and nothing else."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gateways import ANYBODY, DOMAIN, SHAPE
from tests.support.graph_files import defended, undefended, whole

from feint.errors import Failed, FeintError, OverBudget
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.backends.shared_run import SharedRun, rows_independent
from feint.gateway.server.bootstrap import load
from feint.gateway.settings import OnnxSettings, Settings

POISON, UNREADABLE = 13.0, 17.0  # values that a graph fails at


class Doubling:
    """Graph that doubles each row; a batch with a poisoned row fails as a whole."""

    def __init__(self) -> None:
        self.sizes, self.threads = [], []

    def __call__(self, x):
        self.sizes.append(len(x))
        self.threads.append(threading.get_ident())
        if (x == POISON).any():
            raise Failed("poison", "an answer", "try again")
        if (x == UNREADABLE).any():
            raise MemoryError
        return Outputs([2 * x, 3 * x], [x[:, 0]], None)


def all_at_once(run, batches):
    async def main():
        return await asyncio.gather(*(run(x) for x in batches), return_exceptions=True)

    return asyncio.run(main())


def rows(*values):
    return np.array(values, float).reshape(-1, 1)


BATCHES = st.lists(
    st.lists(st.sampled_from([1.0, 2.0, 3.0, 5.0, POISON, UNREADABLE]), max_size=4), min_size=1, max_size=8
)


@given(BATCHES)
@settings(deadline=None)
def test_each_gets_its_own_rows_or_its_own_error_whoever_is_beside_it(batches):
    batches = [rows(*batch) for batch in batches]
    for x, outputs in zip(batches, all_at_once(SharedRun(Doubling(), 0.0), batches), strict=True):
        if POISON in x:
            assert type(outputs) is Failed
        elif UNREADABLE in x:
            assert type(outputs) is MemoryError
        else:
            assert np.array_equal(outputs.rungs[0], 2 * x)
            assert np.array_equal(outputs.rungs[1], 3 * x)
            assert np.array_equal(outputs.scores[0], x[:, 0])


def test_requests_of_one_turn_are_one_run():
    graph = Doubling()
    all_at_once(SharedRun(graph, 0.0), [rows(1), rows(2, 3), rows(5)])
    assert graph.sizes == [4]


def test_a_request_alone_is_run_in_the_next_turn():
    async def main():
        graph, turns = Doubling(), 0
        call = asyncio.ensure_future(SharedRun(graph, 0.0)(rows(1)))
        while not call.done():
            await asyncio.sleep(0)
            turns += 1
        return turns

    assert asyncio.run(main()) <= 3


def test_no_run_holds_the_loop_for_longer_than_it_may():
    graph = Doubling()
    all_at_once(SharedRun(graph, 0.001, quick=0.0025), [rows(1), rows(1), rows(1), rows(1, 1), rows(1)])
    assert graph.sizes == [2, 1, 2, 1]


def test_what_takes_long_is_run_alone_in_a_thread():
    graph = Doubling()
    all_at_once(SharedRun(graph, 0.001, quick=0.0015), [rows(1, 1), rows(2), rows(3)])
    here = threading.get_ident()
    assert sorted((size, thread == here) for size, thread in zip(graph.sizes, graph.threads, strict=True)) == [
        (1, True), (1, True), (2, False),
    ]  # fmt: skip


def test_who_has_gone_is_not_run_for_and_the_others_are_answered():
    async def main():
        graph = Doubling()
        run = SharedRun(graph, 0.0)
        gone, stays = (asyncio.ensure_future(run(rows(value))) for value in (POISON, 2))
        await asyncio.sleep(0)
        gone.cancel()
        return (await stays).rungs[0], graph.sizes

    outputs, sizes = asyncio.run(main())
    assert (outputs.item(), sizes) == (4, [1])


def test_outputs_of_unknown_owners_reach_nobody():
    def loses_a_row(x):
        return Outputs([2 * x[:-1]], [], None)

    for outputs in all_at_once(SharedRun(loses_a_row, 0.0), [rows(1), rows(2)]):
        assert len(outputs.rungs[0]) == 0  # each was run alone, and an answer of too few rows is refused later


def quantized(x):
    """A scale over the whole batch, as dynamic quantization takes it."""
    scale = x.max() / 255
    return Outputs([np.round(x.reshape(len(x), -1) / scale) * scale], [], None)


def test_a_graph_whose_rows_depend_on_each_other_is_recognised():
    assert not rows_independent(quantized, DOMAIN)
    assert rows_independent(lambda x: Outputs([x.reshape(len(x), -1)], [], None), DOMAIN)


def test_such_a_graph_is_run_for_each_request_alone():
    graph = Doubling()
    all_at_once(SharedRun(graph, 0.0, independent=False), [rows(1), rows(2)])
    assert graph.sizes == [1, 1]


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """Two models, of which the second has a budget of two inputs a client."""
    graph = whole(tmp_path_factory.mktemp("graphs") / "toy.onnx")
    return {"a": OnnxSettings(path=graph), "b": OnnxSettings(path=graph, access=("Budget(2)",))}


REQUESTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["ann", "bob", "cyd"]), st.integers(0, 3), st.booleans()),
    min_size=1,
    max_size=10,
)


@given(REQUESTS)
@settings(deadline=None, max_examples=30)
def test_at_once_clients_of_two_models_are_answered_and_charged_as_one_after_the_other(two_models, requests):
    async def main():
        state = await load(Settings(two_models, **ANYBODY))
        queries = []
        for number, (model, client, n, wrong) in enumerate(requests):
            x = np.random.default_rng(number).random((n, *SHAPE), np.float32)
            queries.append((state.gateway.endpoints[model], ArrayQuery(x[..., :1] if wrong else x, client)))
        answers = await asyncio.gather(
            *(state.gateway.answer(endpoint, query) for endpoint, query in queries), return_exceptions=True
        )
        await state.close()
        return [(query, answer) for (_, query), answer in zip(queries, answers, strict=True)]

    answered = {"ann": 0, "bob": 0, "cyd": 0}
    for (model, client, n, wrong), (query, answer) in zip(requests, asyncio.run(main()), strict=True):
        if isinstance(answer, FeintError):
            assert wrong or (model == "b" and isinstance(answer, OverBudget))
        else:
            assert not wrong
            assert np.allclose(answer, defended(undefended(query.x)), atol=1e-6)
            answered[client] += n if model == "b" else 0
    assert max(answered.values()) <= 2


def test_a_request_that_comes_with_others_is_given_to_what_is_computed_for_all():
    def together(outputs, requests):
        return [out._replace(near=np.array([request])) for out, request in zip(outputs, requests, strict=True)]

    async def main():
        run = SharedRun(Doubling(), 0.0, together=together)
        return await asyncio.gather(*(run(rows(1), request) for request in range(3)))

    assert [outputs.near.item() for outputs in asyncio.run(main())] == [0, 1, 2]


def test_a_failure_of_what_is_computed_for_all_leaves_each_to_itself():
    def together(outputs, requests):
        raise ValueError

    batches = [rows(1), rows(2)]
    answers = all_at_once(SharedRun(Doubling(), 0.0, together=together), batches)
    assert [outputs.rungs[0].item() for outputs in answers] == [2, 4]
