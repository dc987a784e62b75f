"""A model behind a URL is attacked as one in this process is."""

import math
import time
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tests import examples
from tests.support import gateways
from tests.support.open_inference import served
from tests.support.problems import Linear
from tests.support.variance import assert_close, assert_weights_close

import feint
from feint.attacks import HardLabels, KnockoffNets, Sybil
from feint.client import RemoteService, connect
from feint.data import Split
from feint.defenses.access import Budget, RateLimit, Refuse
from feint.defenses.outputs import LabelOnly, ReverseSigmoid
from feint.errors import BadInput, OverBudget, ProofRequired, RateLimited, Refused, Suspected, Unreachable
from feint.gateway.app import Limits
from feint.hashcash import Puzzle, digest, flaw
from feint.models.networks import Network
from feint.models.training import Training
from feint.query import Query
from feint.service import Defense, Service
from feint.signature import Pixels
from feint.transcript import Transcript

SHAPE = (1, 2, 2)
IMAGES = torch.randint(0, 256, (300, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
POOL = Split.of(IMAGES.numpy(), torch.zeros(300, dtype=torch.int64).numpy(), name="noise")
X = POOL.inputs()
KNOCKOFF = KnockoffNets(POOL, Network("mlp", SHAPE, 3), Training(epochs=3))


def toy(defense=None, **how):
    return served(Service(Linear(), defense), shape=SHAPE, classes=3, **how)


@pytest.mark.slow
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("attack", [KNOCKOFF, KNOCKOFF.through(HardLabels())], ids=["bare", "through"])
def test_the_same_surrogate_query_for_query(attack, binary):
    defense = Defense(outputs=[ReverseSigmoid()])
    here = Service(Linear(), defense).oracle(client="a", budget=280)
    with toy(defense, binary=binary) as server:
        there = connect(server.url, model="toy", budget=280)
        theirs, ours = (attack.steal(oracle).state_dict() for oracle in (there, here))
        assert server.service.ledger.queries == there.asked == here.asked == 280
    assert torch.equal(there.transcript.x, here.transcript.x)
    assert_close(there.transcript.p, here.transcript.p)
    assert_weights_close(theirs, ours)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, case in examples.attack_cases().items() if case.surrogate.shape == SHAPE]
)
def test_every_attack_asks_and_learns_the_same_there(name):
    recipe, here = examples.attack_cases()[name], Service(examples.victim_of(name)).oracle(client="a", budget=120)
    ours = recipe.steal(here).state_dict()
    with served(Service(examples.victim_of(name)), shape=SHAPE, classes=3) as server:
        there = connect(server.url, model="toy", budget=120)
        theirs = recipe.steal(there).state_dict()
    assert there.asked == here.asked
    assert_close(there.transcript.p, here.transcript.p)
    assert_weights_close(theirs, ours)


@pytest.mark.slow
def test_keys_are_the_accounts():
    with toy(Defense(access=[Budget(20)]), keys={"k0": "ann", "k1": "bob"}) as server:
        oracle = Sybil(clients=2)(connect(server.url, model="toy", budget=50, keys=["k0", "k1"]))
        p, refusal = oracle.try_ask(X[:50])
        assert len(p) == 40
        assert type(refusal) is OverBudget
        assert [server.service.ledger[it].queries for it in ("ann", "bob")] == [20, 20]
        with pytest.raises(BadInput, match="give more keys"):
            Sybil(clients=3)(connect(server.url, model="toy", budget=50, keys=["k0", "k1"])).ask(X[:3])
        with pytest.raises(Refused, match="API key"):
            connect(server.url, model="toy", budget=5).ask(X[:1])


@pytest.mark.slow
def test_a_refusal_means_there_what_it_means_here():
    class Price:
        def admit(self, query, account):
            puzzle = Puzzle(5, digest(query.client.encode()), digest(query.x.numpy().tobytes()), int(query.time) + 60)
            if wrong := flaw(query.stamp, puzzle, now=query.time):
                raise ProofRequired(wrong, "work", "solve the puzzle", puzzle=puzzle)

    with toy(Defense(access=[Price(), RateLimit(30.0, burst=10)])) as server:
        oracle = connect(server.url, model="toy", budget=30)
        assert len(oracle.ask(X[:30])) == 30  # it solves the puzzle, asks for less, and waits
    with toy(Defense(access=[Refuse()])) as server:
        oracle = connect(server.url, model="toy", budget=30)
        assert isinstance(oracle.try_ask(X[:5])[1], Suspected)
        assert oracle.asked == 0


def test_a_server_that_goes_away_leaves_the_transcript_and_the_attack_resumes(tmp_path):
    with toy() as server:
        server.dies_after = 1
        oracle = connect(server.url, model="toy", budget=300)
        with pytest.raises(Unreachable, match="what was answered is kept"):
            KNOCKOFF.steal(oracle)
        assert len(oracle.transcript) == oracle.asked == 256
        oracle.transcript.save(tmp_path / "past")
        server.dies_after = -1
        again = connect(server.url, model="toy", budget=300, past=Transcript.load(tmp_path / "past"))
        stolen = KNOCKOFF.steal(again).state_dict()
        assert server.service.ledger.queries == again.asked == 300
    whole = KNOCKOFF.steal(Service(Linear()).oracle(client="a", budget=300)).state_dict()
    assert_weights_close(stolen, whole)


def test_an_unreachable_url():
    with toy() as server:
        url = server.url
    for wrong in (url, "http://no-such-host.invalid", "nonsense"):
        with pytest.raises(Unreachable, match="check the URL") as caught:
            connect(wrong, model="toy", budget=1)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("instead", "says"),
    [
        (np.zeros((2, 3)), "no probabilities"),
        (np.full((2, 3), math.nan), "no probabilities"),
        (np.array([[5.0, -4.0, 0.0]] * 2), "no probabilities"),
        (np.full((3, 3), 1 / 3), "cannot be read"),
        (np.full((2, 2), 1 / 2), "cannot be read"),
    ],
)
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_garbage_is_no_answer(instead, says, binary):
    with toy(binary=binary) as server:
        server.instead = instead
        oracle = connect(server.url, model="toy", budget=5)
        with pytest.raises(BadInput, match=says):
            oracle.ask(X[:2])
        assert oracle.asked == 0


def test_an_unknown_model_or_output():
    with toy() as server:
        with pytest.raises(BadInput, match="check the model"):
            RemoteService(server.url, model="toi")
        with pytest.raises(BadInput, match="name the output"):
            RemoteService(server.url, model="toy", output="label")
        assert RemoteService(server.url, model="toy", output="p").classes == 3


def test_labels_only_behind_a_url_train_as_labels():
    with toy(Defense(outputs=[LabelOnly()])) as server:
        p = connect(server.url, model="toy", budget=5).ask(X[:5])
    assert torch.equal(p, HardLabels().read(Linear()(X[:5]).softmax(-1)))


def test_connect_is_a_public_name():
    assert feint.connect is connect


def puzzling(bits):
    def admit(asked, account):
        puzzle = Puzzle(bits, digest(b"ann"), digest(asked.x.tobytes()), int(asked.time) + 60)
        if wrong := flaw(asked.stamp, puzzle, now=asked.time):
            raise ProofRequired(wrong, "work", "solve the puzzle", puzzle=puzzle)

    return admit


@contextmanager
def reached(how, line=None, **more):
    """The URL of a gateway over HTTP or gRPC."""
    served = gateways.gateway(line, **more)
    with (gateways.running if how == "http" else gateways.calling)(served) as url:
        yield url if how == "http" else f"grpc://{url}"


@pytest.mark.parametrize("how", ["http", "grpc"])
class TestByEitherWay:
    def test_the_same_answers(self, how):
        with reached(how) as url:
            connection = RemoteService(url, model="toy", keys=["k"])
            assert connection.domain == Pixels(SHAPE)
            assert connection.classes == 3
            oracle = connect(url, model="toy", budget=30, keys=["k"])
            assert_close(oracle.ask(X[:20]), gateways.linear(X[:20].numpy()))
            assert oracle.asked == 20
            with pytest.raises(Refused, match="API key"):
                RemoteService(url, model="toy", keys=["wrong"])
            with pytest.raises(BadInput, match="not served"):
                RemoteService(url, model="toi", keys=["k"])

    def test_puzzles_are_solved_up_to_a_price(self, how):
        with reached(how, gateways.Straight(admit=puzzling(6))) as url:
            assert len(connect(url, model="toy", budget=9, keys=["k"]).ask(X[:9])) == 9
            dear = RemoteService(url, model="toy", keys=["k"], most_bits=5)
            with pytest.raises(ProofRequired, match="at most 5"):
                dear.oracle(budget=9).ask(X[:9])

    def test_waiting_as_told_and_asking_for_less(self, how):
        waits = iter([0.125, None])

        def admit(asked, account):
            if wait := next(waits, None):
                raise RateLimited("2", "1", "wait", wait)

        with reached(how, gateways.Straight(admit=admit), limits=Limits(batch=16)) as url:
            oracle = connect(url, model="toy", budget=40, keys=["k"])
            assert len(oracle.ask(X[:40])) == 40
            assert oracle.waited == 0.125
            assert oracle.asked == 40

    def test_a_budget_that_ends(self, how):
        def admit(asked, account):
            if not account.add("budget", len(asked), limit=21):
                raise OverBudget(f"{len(asked)} queries", "less", "ask for more")

        with reached(how, gateways.Straight(admit=admit)) as url:
            p, refusal = connect(url, model="toy", budget=40, keys=["k"]).try_ask(X[:40])
            assert len(p) == 21
            assert type(refusal) is OverBudget


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_a_client_waits_as_told_whatever_step_the_clock_makes(monkeypatch, step):
    slept, sleep, wall, waits = [], time.sleep, time.time, iter([0.25])

    def admit(asked, account):
        for wait in waits:
            raise RateLimited("2", "1", "wait", wait)

    def stepping(seconds):
        slept.append(seconds)
        sleep(min(seconds, 0.25))
        if seconds:
            monkeypatch.setattr(time, "time", lambda: wall() + step)

    with gateways.running(gateways.gateway(gateways.Straight(admit=admit))) as url:
        oracle, service = (connect(url, model="toy", budget=9, keys=["k"]), RemoteService(url, model="toy", keys=["k"]))
        monkeypatch.setattr("feint.client.remote_service.time.sleep", stepping)
        oracle.ask(X[:4])
        oracle.ask(X[4:8])
        service(Query(X[:1], "client"))
    assert 0 < max(slept) <= 0.25
    assert time.time() != pytest.approx(wall(), abs=3600)  # it was set


def test_no_server_of_grpc():
    with pytest.raises(Unreachable, match="check the URL") as caught:
        connect("grpc://127.0.0.1:1", model="toy", budget=1)
    assert "\n" not in str(caught.value)
