"""Groups of linked accounts: their evidence is one, in this process and over replicas of a gateway."""

import asyncio

import numpy as np
import pytest
import torch
from tests.support.redis_servers import redis_server
from torch import nn

from feint import Defense, Service, export
from feint.defense import Ladder
from feint.defenses.access import Refuse, SequentialTest
from feint.errors import Refused
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.registry import load_onnx
from feint.gateway.backends.torch_backend import of_service
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.settings import OnnxSettings
from feint.gateway.stores import open_store
from feint.ledger import Ledger
from feint.oracle import account
from feint.query import Query
from feint.recipes.store import Weights
from feint.signature import Pixels

ATTACKERS = [account("mallory", n) for n in range(20)]
LINKED = dict.fromkeys(ATTACKERS, "mallory's card")


@pytest.fixture(scope="module")
def ladder(victim, digits):
    return Ladder([SequentialTest().fit(victim, digits.test)], [Defense(), Defense(access=[Refuse()])])


@pytest.fixture(scope="module")
def noise():
    return torch.from_numpy(np.random.default_rng(0).random((200, 1, 1, 8, 8), np.float32))


def answered(service: Service, client: str, x: torch.Tensor) -> bool:
    try:
        service(Query(x, client))
    except Refused:
        return False
    return True


def answers(service, noise) -> int:
    """How many of 200 queries out of place are answered that 20 accounts take turns to ask."""
    return sum(answered(service, ATTACKERS[n % 20], x) for n, x in enumerate(noise))


def test_linked_accounts_get_the_answers_of_one(victim, ladder, noise):
    alone = sum(answered(Service(victim, ladder, ledger=ledger), "mallory", x) for ledger in [Ledger()] for x in noise)
    assert answers(Service(victim, ladder, ledger=Ledger(LINKED)), noise) == alone
    assert answers(Service(victim, ladder), noise) == 20 * alone


def test_who_belongs_to_no_group_is_not_touched_by_one(victim, ladder, noise, digits):
    service = Service(victim, ladder, ledger=Ledger(LINKED))
    answers(service, noise)
    assert not answered(service, ATTACKERS[0], digits.test.inputs(slice(0, 1)))
    assert answered(service, "mallory's card", digits.test.inputs(slice(0, 1)))  # a client of a group's name
    assert service.ledger["mallory's card"].total("evidence") < 1


def test_a_client_stays_accused_where_it_leaves_a_group():
    account = Ledger(LINKED)["mallory"]
    account.group.add("evidence", 2.0)
    assert account.accuse(0.0) == 2.0
    account.group = account
    assert account.accuse(0.0) == 2.0


class Quantile(nn.Module):
    """A victim whose first logit is normal for uniform inputs."""

    def forward(self, x):
        return torch.stack([torch.special.ndtri(x[:, 0]), torch.zeros(len(x))], -1)


class FirstLogit:
    of_probabilities = False

    def __call__(self, x, z):
        return z[:, 0].contiguous()


@pytest.mark.slow
def test_groups_of_a_hundred_honest_clients_are_accused_at_most_as_often_as_one_client():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1000, generator=generator).sort().values
    test = SequentialTest(
        score=FirstLogit(), alpha=0.05, benign=Weights.of({"inputs": scores, "classes": torch.tensor(2)})
    )
    clients = [f"{n}" for n in range(100)]
    service = Service(Quantile(), Ladder([test], [Defense(), Defense()]))
    accused = 0
    for _ in range(20):
        service.ledger = Ledger(dict.fromkeys(clients, "university"))
        for client in clients:
            service(Query(torch.rand(20, 9, generator=generator), client))
        accused += service.ledger[clients[-1]].total("rung")
    assert accused <= 4  # of 20, where each is with probability 0.05 at most: more than 4 in 0.3 % of runs


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path}/ledger.db"
    else:
        with redis_server(tmp_path) as running:
            yield running.url


@pytest.fixture(scope="module")
def graph(victim, ladder, tmp_path_factory):
    return export.onnx(Service(victim, ladder), tmp_path_factory.mktemp("graph") / "digits.onnx", gateway=True).path


@pytest.mark.parametrize("kind", ["onnx", "torch"])
@pytest.mark.parametrize("group", ["", "card"])
def test_two_replicas_with_one_store_accuse_a_group_as_one(url, kind, group, victim, ladder, graph, noise):
    async def scene():
        if kind == "onnx":
            loaded = await load_onnx(OnnxSettings(path=graph), "digits")
        else:
            loaded = of_service(Service(victim, ladder), "digits", domain=Pixels((1, 8, 8)))
        replicas = [
            ModelEndpoint(loaded.spec, loaded.pipeline, LedgerSession(open_store(url, "digits"))) for _ in range(2)
        ]
        answered = 0
        for n, x in enumerate(noise[:40].numpy()):
            try:
                await replicas[n // 5 % 2].answer(ArrayQuery(x, f"client {n % 5}", group=group))
                answered += 1
            except Refused:
                pass
        for replica in replicas:
            await replica.session.store.close()
        loaded.close()
        return answered

    assert asyncio.run(scene()) == (3 if group else 15)
