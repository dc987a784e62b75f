"""The line: one way to an answer, and no undefended one when a step fails."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.support.problems import Fixed, Linear
from torch import nn

from feint.defenses.access import Budget
from feint.defenses.outputs import APGP, APGPClosedForm
from feint.errors import BadInput, BadRecipe, NotFitted, OverBudget
from feint.models.networks import Network
from feint.query import Query
from feint.service import Defense, Ladder, Service
from feint.victims import FromProbabilities, predict

X = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Note:
    """A step that notes in `seen` that it was passed, and changes nothing."""

    name: str
    calls: list

    def admit(self, query, account):
        self.calls.append(self.name)

    def __call__(self, first, second):
        self.calls.append(self.name)
        return first


@dataclass(frozen=True)
class Fails:
    """A step that fails."""

    def admit(self, query, account):
        raise RuntimeError("broken")

    def __call__(self, first, second):
        raise RuntimeError("broken")


def test_a_query_passes_access_inputs_model_outputs_in_order():
    calls = []
    service = Service(
        Linear(),
        Defense(
            access=[Note("access", calls)], inputs=[Note("inputs", calls)], outputs=[Note("1", calls), Note("2", calls)]
        ),
    )
    service.model.register_forward_hook(lambda *_: calls.append("model"))
    answer = service(Query(X, "alice"))
    assert calls == ["access", "inputs", "model", "1", "2"]
    assert torch.equal(answer.p, Linear()(X).softmax(-1))
    assert service.ledger["alice"].queries == len(X)


@pytest.mark.parametrize("room", ["access", "inputs", "outputs"])
def test_where_a_step_fails_there_is_no_answer(room):
    service = Service(Linear(), Defense(**{room: [Fails()]}))
    with pytest.raises(RuntimeError, match="broken"):
        service(Query(X))
    assert service.ledger["anonymous"].queries == 0


def test_where_the_ledger_fails_there_is_no_answer():
    class Lost:
        client = "alice"

        def write(self, query, answer):
            raise ConnectionError("store lost")

    service = Service(Linear(), ledger={"alice": Lost()})
    with pytest.raises(ConnectionError):
        service(Query(X, "alice"))


def test_an_attackers_no_grad_does_not_switch_a_defense_off():
    enabled = []
    service = Service(Linear(), Defense(inputs=[lambda x, model: enabled.append(torch.is_grad_enabled()) or x]))
    with torch.no_grad():
        answer = service(Query(X))
    assert enabled == [True]
    assert not answer.p.requires_grad


def test_an_unfitted_defense_answers_nothing():
    with pytest.raises(NotFitted, match="feint fit"):
        Service(Linear(), Defense(outputs=[APGP()]))(Query(X))


def test_a_defense_fitted_for_other_classes_answers_nothing():
    other = APGP(steps=1).fit_answers(torch.eye(5))
    with pytest.raises(BadInput, match="the 5 that"):
        Service(Linear(), Defense(outputs=[other]))(Query(X))


@pytest.mark.parametrize(
    "x",
    [
        torch.full((2, 4), 1.5),
        torch.full((2, 4), -0.1),
        torch.full((2, 4), torch.nan),
        torch.ones(4),
        torch.ones(2, 4).int(),
        torch.ones(2, 4).half(),
    ],
    ids=["above", "below", "NaN", "one input", "int32", "float16"],
)
def test_a_query_is_a_batch_of_inputs_of_a_domain(x):
    with pytest.raises(BadInput):
        Query(x)


@pytest.mark.parametrize("at", [math.nan, math.inf, -math.inf, -1.0])
def test_a_query_has_a_time_that_rules_can_count_with(at):
    """At NaN a rate limit and a budget per hour admitted everything."""
    with pytest.raises(BadInput, match="a query at the time"):
        Query(torch.ones(1, 4), time=at)


def test_a_service_refuses_inputs_of_another_domain_than_the_model_s():
    service = Service(Network("mlp", (1, 2, 2), 3).build())
    assert service(Query(torch.rand(2, 1, 2, 2))).p.shape == (2, 3)
    for x in (torch.rand(2, 1, 3, 3), torch.ones(2, 4, dtype=torch.float64), torch.ones(2, 4, dtype=torch.int64)):
        with pytest.raises(BadInput, match="float32"):
            service(Query(x))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Fixed([0.2, 0.3, 0.5]), "FromProbabilities"),
        (Fixed([0.1, float("nan")]), "finite"),
        (nn.Flatten(0), "shape"),
    ],
    ids=["probabilities", "NaN", "shape"],
)
def test_a_model_that_returns_no_logits_is_refused(model, says):
    with pytest.raises(BadInput, match=says):
        predict(model, X)


def test_probabilities_can_be_wrapped():
    p = predict(FromProbabilities(Fixed([0.2, 0.3, 0.5])), X)
    assert torch.allclose(p, torch.tensor([0.2, 0.3, 0.5]).expand(8, -1))


def test_a_budget_is_each_clients_own_and_charged_before_the_answer():
    service = Service(Linear(), Defense(access=[Budget(10)]))
    service(Query(X, "alice"))
    with pytest.raises(OverBudget, match="at most 2 more of 10"):
        service(Query(X[:3], "alice"))
    service(Query(X[:2], "alice"))
    service(Query(X, "bob"))
    assert service.ledger["alice"].queries == 10
    assert service.ledger["bob"].queries == 8


def test_asking_does_not_change_anothers_answer():
    service = Service(Linear(), Defense(access=[Budget(99)], outputs=[APGPClosedForm()]))
    before = service(Query(X, "alice")).p
    service(Query(1 - X, "bob"))
    assert torch.equal(service(Query(X, "alice")).p, before)


def test_a_service_evaluates_and_leaves_its_model_as_it_was():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Service(model)(Query(X))
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


@dataclass(frozen=True)
class Counts:
    """A detector: each query is so much evidence."""

    worth: float = 0.1

    def observe(self, query, z, account):
        account.add("seen", len(query) * self.worth)
        return account.total("seen")


def uniform(p, x):
    return torch.full_like(p, 1 / p.shape[-1])


GENTLE, HARSH, SHUT = Defense(), Defense(outputs=[uniform]), Defense(access=[Budget(0)])


def test_a_client_climbs_the_ladder_and_never_comes_down():
    service = Service(Linear(), Ladder([Counts()], [GENTLE, HARSH, SHUT], at=[0, 1, 2]))
    clean = service(Query(X, "alice")).p
    assert torch.equal(clean, Linear()(X).softmax(-1))
    assert (service(Query(X, "alice")).p == 1 / 3).all()
    with pytest.raises(OverBudget):
        service(Query(X, "alice"))
    assert service.ledger["alice"].total("rung") == 2
    assert torch.equal(service(Query(X, "bob")).p, clean)


def test_large_batch_is_answered_by_the_rung_that_its_evidence_reaches():
    service = Service(Linear(), Ladder([Counts(0.2)], [GENTLE, HARSH]))
    assert (service(Query(X, "alice")).p == 1 / 3).all()


def test_evidence_that_falls_again_was_still_reached():
    class Falls:
        def observe(self, query, z, account):
            account.add("n", 1)
            return 2.0 - account.total("n")

    service = Service(Linear(), Ladder([Falls()], [GENTLE, HARSH]))
    for _ in range(3):
        assert (service(Query(X)).p == 1 / 3).all()


def test_in_shadow_all_is_recorded_and_nothing_done():
    service = Service(Linear(), Ladder([Counts(9)], [GENTLE, SHUT], shadow=True))
    assert torch.equal(service(Query(X, "alice")).p, Linear()(X).softmax(-1))
    assert service.ledger["alice"].total("rung") == 1


def test_what_a_rule_for_everyone_refuses_leaves_no_evidence():
    service = Service(Linear(), Ladder([Counts()], [GENTLE, SHUT], access=[Budget(4)]))
    with pytest.raises(OverBudget):
        service(Query(X, "alice"))
    assert service.ledger["alice"].total("evidence") == 0


@pytest.mark.parametrize("at", [(0,), (0.5, 1), (0, 2, 1), (0, 0)])
def test_a_ladder_rises_from_zero(at):
    with pytest.raises(BadRecipe, match="rising"):
        Ladder([], [GENTLE] * (3 if len(at) == 1 else len(at)), at=at)


def test_the_model_computes_a_batch_once_however_many_look():
    calls = []
    service = Service(Linear(), Ladder([Counts()], [Defense(outputs=[LooksAgain()])], at=[0]))
    service.model.register_forward_hook(lambda *_: calls.append(1))
    query = Query(X)
    service(query)
    assert len(calls) == 1
    query.x.mul_(0.5)  # the same tensor with other values is another batch
    assert torch.equal(service(query).p, Linear()(X).softmax(-1))


class LooksAgain:
    """An output defense that looks at the model through the place that the service gives it."""

    def bind(self, model, ledger):
        def perturb(p, x):
            with torch.no_grad():
                assert torch.equal(model(x).softmax(-1), p)
            return p

        return perturb


@dataclass(frozen=True)
class Touches:
    """A step that changes every kind of thing in an account; a rule, a detector and a store of answers."""

    def admit(self, query, account):
        touch(account)

    def observe(self, query, z, account):
        touch(account)
        return 0.0


def touch(account):
    for at in (account, account.shared):
        at.add("added", 1.0, floor=5.0)
        at.add_all({"all": 1.0, "added": 1.0})
        at.add_each({"each": 1.0}, floor=2.0)
        at.change(["changed", "each"], "array", lambda totals, array: (2 * totals + 1, np.append(array, np.float32(1))))
        at.take(["each"])
        at.once(f"token {at.total('added')}", expires=1e12, now=0.0)
        at.drop("old")
        at.rows("old").append(torch.ones(2, 3), most=9)
        at.rows("new").append(torch.ones(2, 3), most=9)


def held(account):
    rows = {name: rows.tensor.tolist() for name, rows in account._rows.items() if len(rows)}
    return {name: total for name, total in account._totals.items() if total}, rows, account._used


class FailsOnce(nn.Module):
    """A model that fails at the second query."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = Linear(), 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("broken")
        return self.linear(x)


@pytest.mark.parametrize("shadow", [False, True])
def test_what_fails_in_the_model_leaves_the_accounts_as_they_were(shadow):
    service = Service(FailsOnce(), Ladder([Touches()], [GENTLE, HARSH], access=[Touches()], shadow=shadow))
    service(Query(X[:2], "alice"))
    accounts = service.ledger["alice"], service.ledger.shared
    before = [repr(held(account)) for account in accounts]
    with pytest.raises(RuntimeError, match="broken"):
        service(Query(X[2:4], "alice"))
    assert [repr(held(account)) for account in accounts] == before
    service(Query(X[2:4], "alice"))
    assert [repr(held(account)) for account in accounts] != before


def test_what_an_output_defense_fails_at_is_no_evidence():
    service = Service(Linear(), Ladder([Counts()], [Defense(outputs=[Fails()]), HARSH]))
    with pytest.raises(RuntimeError, match="broken"):
        service(Query(X[:4], "alice"))
    assert held(service.ledger["alice"]) == ({}, {}, {})


def test_inputs_outside_the_model_s_domain_are_not_charged():
    service = Service(Network("mlp", (1, 2, 2), 3).build(), Defense(access=[Budget(3)]))
    with pytest.raises(BadInput):
        service(Query(torch.rand(3, 1, 3, 3), "alice"))
    assert service.ledger["alice"].total("budget") == 0


def test_inputs_outside_the_model_s_domain_are_seen_before_any_rule():
    service = Service(Network("mlp", (1, 2, 2), 3).build(), Defense(access=[Budget(0)]))
    with pytest.raises(BadInput):
        service(Query(torch.rand(3, 1, 3, 3), "alice"))


def test_a_refusal_keeps_its_charges_and_its_evidence():
    service = Service(Linear(), Ladder([Counts(9)], [GENTLE, SHUT], access=[Budget(99)]))
    with pytest.raises(OverBudget):
        service(Query(X, "alice"))
    account = service.ledger["alice"]
    assert (account.total("budget"), account.total("rung")) == (8, 1)
