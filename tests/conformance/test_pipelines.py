"""The contract of pipelines: to the same clients all give the same answers, refusals and evidence."""

import asyncio
import inspect
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.examples import DOMAINS

from feint import Defense, Service, export
from feint.data import Split
from feint.defense import Ladder
from feint.defenses.access import (
    ADD,
    Budget,
    Campaign,
    Combined,
    MeanDiscrepancy,
    PrivacyCost,
    ProofOfWork,
    RateLimit,
    Refuse,
    SequentialTest,
)
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.outputs import Marked, ReverseSigmoid
from feint.defenses.scores import Energy
from feint.defenses.served_mark import ROWS
from feint.errors import ProofRequired, Refused
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends.registry import load_onnx
from feint.gateway.backends.torch_backend import of_service
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.server import trial
from feint.gateway.settings import OnnxSettings
from feint.gateway.stores.memory import MemoryStore
from feint.hashcash import solve
from feint.ledger import Ledger
from feint.models.networks import Network
from feint.pipeline import Pipeline
from feint.query import Query

CLIENTS = "honest", "attacker", "greedy", "replayer"
TOTALS = "evidence", "rung", "queries"
KEY = "the owner's secret"
MARGIN = 1e-3  # between a query's score and any calibration score: no last bit decides which is greater


@pytest.fixture(scope="module")
def ladder(victim, digits):
    test = SequentialTest().fit(victim, digits.test)
    rungs = [Defense(), Defense(outputs=[ReverseSigmoid()]), Defense(access=[Refuse()])]
    return Ladder([test], rungs, at=(0.0, 0.5, 1.0), access=[Budget(60), RateLimit(10.0, burst=15)])


@pytest.fixture(scope="module")
def services(victim, digits, ladder):
    cost = PrivacyCost(teachers=2).fit(victim, digits.test)
    rules = [ProofOfWork(cost=cost, least=1e-4), Budget(60)]
    learned = SequentialTest(LearnedScore(hidden=8))
    noise = Split.of(np.random.default_rng(1).integers(256, size=(600, 1, 8, 8), dtype=np.uint8), np.zeros(600, int))
    means = MeanDiscrepancy(25), MeanDiscrepancy(25, score=Energy())
    members = [SequentialTest(), learned, SequentialTest(Mahalanobis()), ADD(4, dimensions=3), *means]
    combined = Combined(members).fit(victim, digits.test, outliers=noise)
    campaign = Campaign(newcomers=3, run_length=20.0, probation=0.3).fit(victim, digits.test)
    marked = [
        Defense(outputs=[Marked(KEY, rate=0.5, margin=0.9)]),
        Defense(outputs=[ReverseSigmoid(), Marked(KEY, rate=0.4)]), Defense(access=[Refuse()]),
    ]  # fmt: skip
    return {
        "marked": Service(victim, Defense(outputs=[Marked(KEY, rate=0.3, most=5)])),
        "marked ladder": Service(victim, replace(ladder, rungs=marked, campaign=campaign)),
        "ladder": Service(victim, ladder),
        "campaign": Service(victim, replace(ladder, campaign=campaign)),
        "combined": Service(victim, replace(ladder, detectors=[combined])),
        "plain": Service(victim, Defense(access=rules, outputs=[ReverseSigmoid()])),
        "none": Service(victim),
    }


@pytest.fixture(scope="module")
def graphs(services, tmp_path_factory):
    """Each service as an ONNX file."""
    folder = tmp_path_factory.mktemp("graphs")
    return {
        name: export.onnx(service, folder / f"{name}.onnx", gateway=True).path for name, service in services.items()
    }


REFUSALS = {
    "marked": set(),
    "marked ladder": {"OverBudget", "RateLimited", "Suspected"},
    "ladder": {"OverBudget", "RateLimited", "Suspected"},
    "campaign": {"OverBudget", "RateLimited", "Suspected"},
    "combined": {"OverBudget", "RateLimited", "Suspected"},
    "plain": {"OverBudget", "ProofRequired"},
    "none": set(),
}


@pytest.fixture(scope="module")
def script(victim, digits, ladder):
    """(client, second, inputs): one asks about digits, one about noise, one too much at once, one the same again.

    And many accounts ask about digits and noise, each once.
    """
    (test,) = ladder.detectors
    generator = np.random.default_rng(0)
    images = clear_of_ties(test, victim, digits.train.inputs(slice(0, 400)))
    noise = clear_of_ties(test, victim, torch.from_numpy(generator.random((400, 1, 8, 8), np.float32)))
    assert min(len(images), len(noise)) > 250
    queries = []
    for n in range(120):
        client = CLIENTS[n % 4]
        pool, start = noise if client == "attacker" else images, 2 * n if client != "replayer" else 0
        rows = 9 if client == "greedy" else int(generator.integers(1, 4))
        queries.append((client, n / 10, pool[start : start + rows]))
        if n % 3 == 0:
            queries.append((f"sybil {n}", n / 10, np.concatenate([images[n : n + 1], noise[n : n + 2]])))
    return queries


def clear_of_ties(test, victim, x):
    """The inputs whose score is the same on any machine, as far as the test looks at it."""
    with torch.no_grad():
        scores = test.score(x, victim(x))
    calibration = test.learned["inputs"]
    return x[(scores[:, None] - calibration).abs().amin(1) > MARGIN].numpy()


async def outcome(ask, query_type, client, second, x):
    """The answer of a client that solves the puzzle it gets, or the refusal; the replayer has one stamp for all."""
    try:
        return await ask(query_type(x, client, time=second))
    except ProofRequired as demand:
        stamp = solve(demand.puzzle, salt="0")
        late = second + 4000 if client == "replayer" and int(second) % 2 else second
        try:
            return await ask(query_type(x, client, stamp, late))
        except Refused as error:
            return type(error).__name__, str(error)
    except Refused as error:
        return type(error).__name__, str(error)


def tensor_query(x, client, stamp="", time=0.0):
    return Query(torch.from_numpy(x), client, stamp, time)


async def value(result):
    return await result if inspect.isawaitable(result) else result


def by_steps(pipeline: Pipeline, ledger):
    """Runs the three steps of any pipeline."""

    async def ask(query):
        account = ledger[query.client]
        pipeline.admit(query, account)
        answer = await value(pipeline.answer(query, await value(pipeline.compute(query)), account))
        account.add("queries", len(query))
        return answer.p.numpy() if isinstance(pipeline, Service) else answer

    return ask


@asynccontextmanager
async def served(name, service, graph):
    """A pipeline of the gateway over the service or its graph, and the model as its clients see it."""
    key = graph.with_name("mark.key")
    key.write_text(f"{KEY}\n")
    settings = OnnxSettings(path=graph, mark_key_file=key)
    at = await load_onnx(settings, "digits") if name == "onnx" else of_service(service, "digits")
    try:
        yield at
    finally:
        at.close()


async def reference(service, script):
    """The outcomes and the accounts of the service as it is called."""
    service = Service(service.model, service.defense)

    async def ask(query):
        return service(query).p.numpy()

    return [await outcome(ask, tensor_query, *step) for step in script], totals(service.ledger.__getitem__)


def totals(account):
    """The totals of accounts, and their marked answers."""
    return {
        client: [*(account(client).total(name) for name in TOTALS), account(client).rows(ROWS).array.tolist()]
        for client in CLIENTS
    }


def refusals(outcomes):
    return [outcome for outcome in outcomes if isinstance(outcome, tuple)]


async def run(name, service, script, graph):
    """The outcomes and the accounts of a pipeline."""
    kind, _, how = name.partition(" ")
    if kind == "service":
        ledger = Ledger()
        ask = by_steps(Service(service.model, service.defense), ledger)
        return [await outcome(ask, tensor_query, *step) for step in script], totals(ledger.__getitem__)
    async with served(kind, service, graph) as at:
        if how == "endpoint":
            endpoint = ModelEndpoint(at.spec, at.pipeline, LedgerSession(MemoryStore()))
            outcomes = [await outcome(endpoint.answer, ArrayQuery, *step) for step in script]
            return outcomes, totals(endpoint.session.begin)
        ledger = Ledger()
        ask = by_steps(at.pipeline, ledger)
        return [await outcome(ask, ArrayQuery, *step) for step in script], totals(ledger.__getitem__)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["service", "onnx", "torch", "onnx endpoint", "torch endpoint"])
@pytest.mark.parametrize("defense", ["marked", "marked ladder", "ladder", "campaign", "combined", "plain", "none"])
def test_same_answers_refusals_and_evidence(name, defense, services, graphs, script):
    expected, accounts = asyncio.run(reference(services[defense], script))
    outcomes, ledger = asyncio.run(run(name, services[defense], script, graphs[defense]))
    assert refusals(outcomes) == refusals(expected)
    for q, p in zip(outcomes, expected, strict=True):
        assert isinstance(q, tuple) == isinstance(p, tuple)
        if not isinstance(p, tuple):
            np.testing.assert_allclose(q, p, atol=1e-5)
            np.testing.assert_array_equal(q.argmax(-1), p.argmax(-1))
    assert ledger == accounts
    assert {name for name, _ in refusals(outcomes)} == REFUSALS[defense]


@pytest.mark.slow
def test_script_reaches_every_rung(services, script):
    _, accounts = asyncio.run(reference(services["ladder"], script))
    assert accounts["attacker"][TOTALS.index("rung")] == 2
    assert accounts["honest"][TOTALS.index("rung")] == 0
    assert accounts["honest"][TOTALS.index("queries")] > 20


@pytest.mark.slow
def test_script_answers_inputs_of_one_batch_by_different_rungs(services, script):
    service = Service(victim := services["campaign"].model, services["campaign"].defense)
    apart = set()
    for client, second, x in script:
        if client.startswith("sybil"):
            query = tensor_query(x, client, time=second)
            moved = (service(query).p - Service(victim)(query).p).abs().sum(-1) > 1e-6
            apart.add(tuple(moved.unique().tolist()))
    assert (False, True) in apart


def test_pipeline_without_a_step_is_none():
    class Lacking(Pipeline[Query]):
        def admit(self, query, account):
            pass

        def compute(self, query):
            pass

    with pytest.raises(TypeError, match="answer"):
        Lacking()


NETWORKS = {"Pixels": "linear", "Columns": "mlp", "Tokens": "textcnn", "Text": "textcnn"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOMAINS)
@pytest.mark.parametrize("name", ["onnx", "torch"])
def test_every_domain_is_served_alike(name, kind, tmp_path):
    """Through the codecs, by JSON, binary data and gRPC."""
    domain = DOMAINS[kind]
    service = Service(Network(NETWORKS[kind], domain, 3).build(0).eval(), Defense(outputs=[ReverseSigmoid()]))
    graph = export.onnx(service, tmp_path / "graph.onnx", gateway=True).path
    x = domain.sample(200, 2)
    expected = service(Query(torch.from_numpy(x))).p.numpy()

    async def answers():
        async with served(name, service, graph) as at:
            assert at.spec.domain == (domain.published() if name == "onnx" else domain)
            return (await trial.send(at, x)).p

    p = asyncio.run(answers())
    np.testing.assert_allclose(p, expected, atol=1e-5)
    np.testing.assert_array_equal(p.argmax(-1), expected.argmax(-1))
