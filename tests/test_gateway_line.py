"""One line: a ladder decides alike as a service here, as an exported graph, and as torch behind the gateway."""

import asyncio

import numpy as np
import pytest
import torch

from feint import Defense, Service, export
from feint.defense import Ladder
from feint.defenses.access import Budget, RateLimit, Refuse, SequentialTest
from feint.defenses.outputs import ReverseSigmoid
from feint.errors import Refused
from feint.gateway.asked import Asked
from feint.gateway.desk import Desk
from feint.gateway.drafts import Drafts
from feint.gateway.models.by_torch import of_service
from feint.gateway.models.places import in_process
from feint.gateway.settings import Graph
from feint.gateway.stores.memory import MemoryStore
from feint.query import Query

CLIENTS = "honest", "thief", "greedy"


@pytest.fixture(scope="module")
def service(victim, digits):
    rungs = [Defense(), Defense(outputs=[ReverseSigmoid()]), Defense(access=[Refuse()])]
    rules = [Budget(60), RateLimit(20.0, burst=15)]
    return Service(victim, Ladder([SequentialTest().fit(victim, digits.test)], rungs, at=(0.0, 0.5, 1.0), access=rules))


def script(digits):
    """(client, second, inputs): an honest client, a thief who asks about noise, and one who asks too much at once."""
    generator, images = np.random.default_rng(0), digits.test.inputs(slice(0, 200)).numpy()
    noise = generator.random((200, 1, 8, 8), np.float32)
    for n in range(90):
        client = CLIENTS[n % 3]
        rows = generator.integers(1, 4) if client != "greedy" else 9
        yield client, n / 10, (noise if client == "thief" else images)[2 * n : 2 * n + rows]


async def through(desk, digits):
    """What became of the script, and each client's evidence and queries in the ledger."""
    told = []
    for client, second, x in script(digits):
        try:
            told.append(await desk.answer(Asked(x, client, time=second)))
        except Refused as error:
            told.append(type(error).__name__)
    drafts = [desk.drafts.draft(client) for client in CLIENTS]
    return told, [(draft.total("evidence"), draft.total("queries")) for draft in drafts]


def here(service, digits):
    """The same in a service of this process."""
    service, told = Service(service.model, service.defense), []
    for client, second, x in script(digits):
        try:
            told.append(service(Query(torch.from_numpy(x), client, time=second)).p.numpy())
        except Refused as error:
            told.append(type(error).__name__)
    accounts = [service.ledger[client] for client in CLIENTS]
    return told, [(account.total("evidence"), account.total("queries")) for account in accounts]


@pytest.mark.slow
@pytest.mark.parametrize("place", ["graph", "torch"])
def test_a_ladder_decides_alike_wherever_it_stands(service, place, digits, tmp_path):
    async def run():
        if place == "graph":
            written = export.onnx(service, tmp_path / "ladder.onnx", gateway=True)
            at = await in_process(Graph(path=written.path), "digits")
        else:
            at = of_service(service, "digits")
        try:
            return await through(Desk(at.about, at.line, Drafts(MemoryStore())), digits)
        finally:
            at.close()

    expected, accounts = here(service, digits)
    told, drafts = asyncio.run(run())
    assert [it if isinstance(it, str) else len(it) for it in told] == [
        it if isinstance(it, str) else len(it) for it in expected
    ]
    for q, p in zip(told, expected, strict=True):
        if not isinstance(p, str):
            np.testing.assert_allclose(q, p, atol=1e-5)
            assert (q.argmax(-1) == p.argmax(-1)).all()
    np.testing.assert_allclose(drafts, accounts, rtol=1e-3, atol=1e-3)
    refusals = {it for it in told if isinstance(it, str)}
    assert refusals == {"OverBudget", "RateLimited", "Suspected"}  # the script saw all of it
