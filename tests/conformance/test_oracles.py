"""The contracts of oracles: the wall counts, keeps and stops."""

import types

import pytest
import torch
from tests.support.problems import Linear
from tests.support.variance import assert_close
from torch import nn

from feint.attacks import Averaged, HardLabels
from feint.defenses.access import Budget, RateLimit
from feint.errors import BadInput, OverBudget, ProofRequired, RateLimited
from feint.hashcash import Puzzle, digest, flaw
from feint.oracle import CountingOracle
from feint.service import Defense, Service
from feint.transcript import Transcript

X = torch.rand(600, 4, generator=torch.Generator().manual_seed(0))


def oracle(budget=600, defense=None):
    service = Service(Linear(), defense)
    return service, service.oracle(client="mallory", budget=budget)


def test_one_input_is_one_query_however_they_are_batched():
    service, held = oracle()
    p = torch.cat([held.ask(X[:1]), held.ask(X[1:400]), held.ask(X[400:600])])
    assert held.asked == service.ledger["mallory"].queries == len(held.transcript) == 600
    assert held.left == 0
    assert torch.equal(held.transcript.x, X)
    assert torch.equal(held.transcript.p, p)
    assert_close(p, Service(Linear()).oracle(client="b", budget=600).ask(X))


def test_ctrl_c_keeps_the_answers_that_are_under_way(ctrl_c):
    service = Service(Linear())

    def send(query):
        ctrl_c()
        return service(query)

    held = CountingOracle(send, budget=600)
    with pytest.raises(KeyboardInterrupt):
        held.ask(X)
    assert held.asked == service.ledger["anonymous"].queries == 256
    assert torch.equal(held.transcript.x, X[:256])


@pytest.mark.parametrize("budget", [1, 255, 256, 257, 599])
def test_it_stops_at_its_budget_and_keeps_what_it_got(budget):
    service, held = oracle(budget)
    with pytest.raises(OverBudget, match="raise the budget"):
        held.ask(X)
    assert held.asked == service.ledger["mallory"].queries == budget
    assert torch.equal(held.transcript.x, X[:budget])


@pytest.mark.parametrize("limit", [0, 1, 37, 256, 300])
def test_it_uses_up_what_the_service_grants(limit):
    service, held = oracle(600, Defense(access=[Budget(limit)]))
    p, refusal = held.try_ask(X)
    assert isinstance(refusal, OverBudget)
    assert len(p) == held.asked == service.ledger["mallory"].queries == limit


def test_an_interrupted_attack_goes_on_from_its_transcript(tmp_path):
    _, first = oracle()
    first.ask(X[:300])
    first.transcript.save(tmp_path / "transcript.safetensors")
    past = Transcript.load(tmp_path / "transcript.safetensors")
    service = Service(Linear())
    again = service.oracle(client="mallory", budget=400, past=past)
    p = torch.cat([again.ask(X[:280]), again.ask(X[280:400])])
    assert service.ledger["mallory"].queries == 100  # the others were not asked again
    assert again.asked == 400
    assert torch.equal(p[:300], past.p)
    assert_close(p, Service(Linear()).oracle(client="b", budget=400).ask(X[:400]))


def test_a_transcript_says_who_answered_and_is_taken_for_nobody_elses(tmp_path):
    _, first = oracle()
    first.ask(X[:10])
    first.transcript.source = "a"
    first.transcript.save(tmp_path / "transcript.safetensors")
    assert len(Transcript.load(tmp_path / "transcript.safetensors", "a")) == 10
    with pytest.raises(BadInput, match="answers of a; expected those of b"):
        Transcript.load(tmp_path / "transcript.safetensors", "b")


def test_a_shorter_transcript_replaces_no_longer_one(tmp_path):
    _, first = oracle()
    first.ask(X[:10])
    file = tmp_path / "new" / "transcript.safetensors"
    first.transcript.extend(file, None)
    earlier = Transcript.load(file)
    for count, kept in ((0, 10), (4, 10), (12, 12)):
        again = Service(Linear()).oracle(client="mallory", budget=400, past=earlier)
        again.try_ask(X[:count])
        again.transcript.extend(file, earlier)
        assert len(Transcript.load(file)) == kept


def moved(row: int, by: float) -> torch.Tensor:
    """The inputs of a continued attack, one of which is not quite the recorded one."""
    x = X[:400].clone()
    x[row] = (x[row] + by).clamp(0, 1)
    return x


@pytest.mark.parametrize("is_light", [False, True], ids=["inputs", "answers only"])
def test_a_query_that_last_bits_moved_is_the_recorded_one_and_any_other_is_refused_unasked(is_light):
    _, first = oracle()
    if is_light:
        first.keep_answers_only()
    first.ask(X[:300])
    service = Service(Linear())
    again = service.oracle(client="mallory", budget=400, past=first.transcript)
    assert torch.equal(again.ask(moved(250, 1e-6))[:300], first.transcript.p)
    assert service.ledger["mallory"].queries == 100
    if not is_light:  # what was answered is what is learned from
        assert torch.equal(again.transcript.x[:300], X[:300])
    for other in (moved(250, 0.05), X[1:]):
        service = Service(Linear())
        with pytest.raises(BadInput, match="not the recorded one"):
            service.oracle(client="mallory", budget=400, past=first.transcript).ask(other)
        assert service.ledger["mallory"].queries == 0


def test_a_rate_is_waited_for_and_a_proof_is_worked_for():
    class Price:
        def admit(self, query, account):
            puzzle = Puzzle(6, digest(query.client.encode()), digest(query.x.numpy().tobytes()), int(query.time) + 60)
            if wrong := flaw(query.stamp, puzzle, now=query.time):
                raise ProofRequired(wrong, "work", "solve the puzzle", puzzle=puzzle)

    service, held = oracle(100, Defense(access=[Price(), RateLimit(10.0, burst=20)]))
    assert_close(held.ask(X[:100]), oracle(100)[1].ask(X[:100]))
    assert service.ledger["mallory"].queries == 100
    assert held.waited == pytest.approx(8, abs=0.5)  # 20 at once, 80 more at ten a second
    assert held.refusal is None


def test_oracle_stops_waiting_at_its_patience():
    service = Service(Linear(), Defense(access=[RateLimit(1.0, burst=5)]))
    impatient = CountingOracle(lambda query: service(query), budget=100, patience=7.5)
    p, refusal = impatient.try_ask(X[:100])
    assert isinstance(refusal, RateLimited)
    assert 10 <= len(p) <= 12
    assert impatient.waited <= 7.5


def test_answers_alone_are_enough_to_continue(tmp_path):
    _, first = oracle()
    first.ask(X[:100])
    first.keep_answers_only()
    first.ask(X[100:300])
    with pytest.raises(BadInput, match="answers only"):
        _ = first.transcript.x
    first.transcript.save(tmp_path / "t.safetensors")
    assert (tmp_path / "t.safetensors").stat().st_size < 300 * (8 + 12) + 500
    service = Service(Linear())
    again = service.oracle(client="mallory", budget=400, past=Transcript.load(tmp_path / "t.safetensors"))
    assert_close(again.ask(X[:400]), Service(Linear()).oracle(client="b", budget=400).ask(X[:400]))
    assert service.ledger["mallory"].queries == 100


def test_a_budget_below_one_is_refused():
    with pytest.raises(BadInput, match="at least 1"):
        CountingOracle(lambda x: x, budget=0)


def test_an_empty_question_gets_an_empty_answer():
    _, held = oracle()
    assert held.ask(X[:0]).shape == (0, 3)
    assert held.asked == 0


@pytest.mark.parametrize(
    "look", [lambda held: held, HardLabels(), Averaged(repeats=2)], ids=["bare", "hard", "averaged"]
)
def test_nothing_that_an_oracle_shows_leads_to_the_victim(look):
    """Walk over every attribute, container and item within reach: no module and no service is among them."""
    _, held = oracle()
    held = look(held)
    held.ask(X[:3])
    visited, queue = set(), [held]
    while queue:
        thing = queue.pop()
        if id(thing) in visited or isinstance(thing, (types.FunctionType, type, str, torch.Tensor)):
            continue
        visited.add(id(thing))
        assert not isinstance(thing, (nn.Module, Service, Defense))
        queue += list(getattr(thing, "__dict__", {}).values())
        queue += (
            list(thing.values()) if isinstance(thing, dict) else list(thing) if isinstance(thing, (list, tuple)) else []
        )
    assert len(visited) > 3
