"""Contracts of all exported attacks and lenses."""

import pickle
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import pytest
import torch
from tests import examples
from tests.examples import NETWORK, SHORT, TRAINING, pool, toy_on, victim_of
from tests.support.problems import Linear, OnRows
from tests.support.variance import assert_close, assert_weights_close, same_bits

from feint import attacks
from feint.attacks import (
    Attack,
    Averaged,
    Filler,
    HardLabels,
    KnockoffNets,
    LensedAttack,
    LowAndSlow,
    Smoothed,
    Sybil,
    Uniform,
    default_training,
    surrogates,
)
from feint.defenses.access import Budget, RateLimit
from feint.errors import BadInput, OverBudget, Refused, Suspected
from feint.models.networks import Network
from feint.models.training import Training
from feint.oracle import CountingOracle
from feint.progress import NO_PROGRESS
from feint.query import Answer
from feint.service import Defense, Service
from feint.signature import Columns, Domain, Pixels, Text, Tokens
from feint.victims import answers

CASES, LENSES = examples.attack_cases(), examples.cases(examples.LENSES)

FLOOR = {Pixels: 0.8, Columns: 0.8, Text: 0.8, Tokens: 0.4}  # fidelity on the toy: 240 queries show little of 50 tokens

# In so few turns a generator may draw one class only, as DFME's with seed 1; with 0, 2, 3, 4 and 5 it gets .89 to .95.
SEEDS = {"DFME": 4, "DFMSHL": 1, "MAZE": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_attack_steals_the_toy_within_its_budget(name):
    victim = victim_of(name)
    service = Service(victim)
    oracle = service.oracle(client="attacker", budget=240)
    surrogate = CASES[name].steal(oracle, seed=SEEDS.get(name, 0))
    assert oracle.asked == service.ledger["attacker"].queries <= 240
    test = examples.inputs_for(CASES[name])
    assert (answers(surrogate, test).argmax(-1) == answers(victim, test).argmax(-1)).float().mean() > FLOOR[
        type(test.domain)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_same_seed_same_weights(name):
    first, again, other = (
        CASES[name].steal(Service(victim_of(name)).oracle(client="a", budget=60), seed=seed).state_dict()
        for seed in (5, 5, 6)
    )
    assert same_bits(first.values(), again.values())
    assert not same_bits(first.values(), other.values())


@pytest.mark.parametrize("name", CASES)
def test_an_attack_refused_at_k_learns_from_k(name):
    service = Service(victim_of(name), Defense(access=[Budget(37)]))
    oracle = service.oracle(client="attacker", budget=200)
    surrogate = CASES[name].steal(oracle)
    assert oracle.asked == service.ledger["attacker"].queries == 37
    cost = 2 if name.startswith("LensedAttack") else 1
    alone = CASES[name].steal(Service(victim_of(name)).oracle(client="attacker", budget=37 // cost * cost))
    if name == "KnockoffNets":  # with the same budget from the start it draws the same inputs
        assert_weights_close(surrogate.state_dict(), alone.state_dict())


@pytest.mark.parametrize("name", [name for name in CASES if " " not in name and hasattr(CASES[name], "training")])
def test_an_attack_to_which_no_training_is_given_trains_as_suites_do(name, monkeypatch):
    monkeypatch.setitem(surrogates.SHALLOW, "mlp", SHORT)
    monkeypatch.setattr(surrogates, "SHORT", SHORT)  # of texts
    default = default_training(CASES[name].surrogate)
    left_out, given, other = (
        replace(CASES[name], training=training).steal(Service(victim_of(name)).oracle(client="a", budget=60))
        for training in (None, default, Training(epochs=1))
    )
    assert same_bits(left_out.state_dict().values(), given.state_dict().values())
    assert not same_bits(left_out.state_dict().values(), other.state_dict().values())


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_of_the_first_query_is_raised(name):
    service = Service(victim_of(name), Defense(access=[Budget(0)]))
    with pytest.raises(Refused, match="queries"):
        CASES[name].steal(service.oracle(client="attacker", budget=200))


METHODS = {name: method for name, method in (CASES | LENSES).items() if " " not in name}


@pytest.mark.parametrize("kind", examples.DOMAINS)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_does_not_take_a_domain_names_one_that_does(name, kind):
    method, domain = METHODS[name], examples.DOMAINS[kind]
    if isinstance(domain, method.domains):
        method.require_domain(domain)
        return
    with pytest.raises(BadInput, match=f"{domain.noun} for") as refusal:
        method.require_domain(domain)
    instead = re.findall(r"use (\w+)", str(refusal.value))[0]
    assert type(domain) in getattr(attacks, instead).domains


@dataclass(frozen=True)
class Foreign(Attack):
    """An attack from outside the package, on images alone."""

    cite: ClassVar[str] = "example2026foreign"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels,)
    surrogate: Network

    def steal_from(self, oracle, *, seed=0, progress=NO_PROGRESS):
        oracle.ask(torch.from_numpy(self.surrogate.domain.sample(1, seed)))
        return self.surrogate.build()


ON_ROWS = Network("mlp", examples.DOMAINS["Columns"], 3)


@pytest.mark.parametrize(
    "attack", [Foreign(ON_ROWS), Uniform(ON_ROWS).through(Averaged(), Smoothed())], ids=["attack", "lens"]
)
def test_nothing_is_asked_of_another_domain(attack):
    service = Service(OnRows(examples.DOMAINS["Columns"]))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match=r"rows for .*expected images"):
        attack.steal(service.oracle(client="a", budget=50))
    assert service.ledger["a"].queries == 0
    Foreign(NETWORK).steal(Service(Linear()).oracle(client="a", budget=50))


@pytest.mark.parametrize("kind", examples.DOMAINS)
@pytest.mark.parametrize("name", [name for name, lens in LENSES.items() if not hasattr(lens, "rehearsal")])
def test_a_lens_shows_any_domain_that_it_takes(name, kind):
    lens, domain = LENSES[name], examples.DOMAINS[kind]
    if not isinstance(domain, lens.domains):
        return
    if isinstance(lens, Filler):
        lens = replace(lens, ordinary=examples.pool_of(kind))
    x = examples.pool_of(kind).inputs(slice(0, 9))
    clear = lens(Service(toy_on(domain)).oracle(client="a", budget=50))
    assert len(clear.ask(x)) == 9
    assert torch.equal(clear.transcript.x.nan_to_num(), x.nan_to_num())


@pytest.mark.parametrize("name", CASES)
def test_a_recipe_survives_a_pickle(name):
    assert pickle.loads(pickle.dumps(CASES[name])) == CASES[name]


@pytest.mark.parametrize("name", LENSES)
def test_a_lensed_oracle_is_an_oracle(name):
    lens, service = LENSES[name], Service(Linear())
    clear = lens(service.oracle(client="a", budget=50))
    x = pool().inputs(slice(0, 16))
    assert clear.left == 50 // lens.cost
    p = clear.ask(x)
    accounts = [service.ledger[client].queries for client in ("a", "a-1", "a-2")]
    assert clear.asked == sum(accounts) == 16 * lens.cost
    assert examples.LENSES[name.partition(" ")[0]].rereads_all or torch.equal(clear.transcript.p, p)
    assert (clear.transcript.p.sum(-1) - 1).abs().max() < 1e-5
    assert torch.equal(clear.transcript.x, x)
    assert (p.sum(-1) - 1).abs().max() < 1e-5
    with pytest.raises(OverBudget):
        clear.ask(pool().inputs(slice(16, 80)))
    assert len(clear.transcript) == 50 // lens.cost


@pytest.mark.parametrize("name", [name for name, lens in LENSES.items() if lens.cost > 1])
def test_a_budget_below_a_lens_s_cost_is_refused_before_the_first_query(name):
    lens, service = LENSES[name], Service(Linear())
    with pytest.raises(BadInput, match="for each input"):
        CASES["KnockoffNets"].through(lens).steal(service.oracle(client="a", budget=lens.cost - 1))
    assert service.ledger["a"].queries == 0


def test_averaging_sees_through_noise_that_is_drawn_anew():
    def noisy(query):
        p = Linear()(query.x).softmax(-1)
        p = (p + 0.2 * torch.rand_like(p)).clamp_min(0)
        return Answer((p / p.sum(-1, keepdim=True)).detach())

    torch.manual_seed(0)
    x, clean = pool().inputs(slice(0, 20)), Linear()(pool().inputs(slice(0, 20))).softmax(-1)
    once = CountingOracle(noisy, budget=2000).ask(x)
    often = Averaged(repeats=50)(CountingOracle(noisy, budget=2000)).ask(x)
    assert (often.argmax(-1) == clean.argmax(-1)).all()
    assert (often - often.mean(-1, keepdim=True)).sub(once - once.mean(-1, keepdim=True)).abs().max() > 0.02
    noise = [(a - Averaged(repeats=50)(CountingOracle(noisy, budget=2000)).ask(x)).abs().mean() for a in (once, often)]
    assert noise[1] < noise[0] / 3


def test_a_pool_smaller_than_the_budget_is_refused():
    oracle = Service(Linear()).oracle(client="a", budget=301)
    with pytest.raises(BadInput, match="pool of 300"):
        CASES["KnockoffNets"].steal(oracle)
    assert oracle.asked == 0


def test_through_a_lens_that_repeats_the_budget_pays_for_fewer_inputs():
    oracle = Service(Linear()).oracle(client="a", budget=90)
    KnockoffNets(pool(), NETWORK, TRAINING).through(Averaged(repeats=3)).steal(oracle)
    assert oracle.asked == 90


def test_a_pool_of_another_shape_is_refused():
    oracle = Service(Linear()).oracle(client="a", budget=10)
    with pytest.raises(BadInput, match="surrogate takes"):
        KnockoffNets(pool(), Network("mlp", (1, 4, 4), 3)).steal(oracle)
    assert oracle.asked == 0


def test_sybils_share_the_queries_and_outlive_a_budget_for_each():
    x = pool().inputs(slice(0, 100))
    service = Service(Linear(), Defense(access=[Budget(20)]))
    oracle = Sybil(clients=4, burst=3)(service.oracle(client="a", budget=90))
    first = oracle.ask(x[:30])
    assert [service.ledger[f"a{i}"].queries for i in ("", "-1", "-2", "-3")] == [9, 9, 6, 6]
    p, refusal = oracle.try_ask(x[30:])
    assert len(first) + len(p) == oracle.asked == 80
    assert isinstance(refusal, OverBudget)
    assert_close(oracle.transcript.p, Linear()(x[:80]).softmax(-1))


def test_one_accused_account_does_not_end_the_others():
    """Whoever asks for a bright input is refused from then on."""

    class Dark:
        def admit(self, query, account):
            if query.x.max() > 0.5 or account.total("bright"):
                account.add("bright", 1)
                raise Suspected("a bright input", "dark ones", "go away")

    x = torch.full((12, 1, 2, 2), 0.1)
    x[2] = 0.9
    oracle = Sybil(clients=4)(Service(Linear(), Defense(access=[Dark()])).oracle(client="a", budget=12))
    p, refusal = oracle.try_ask(x)
    assert len(p) == 2  # nobody gets an answer to the bright one: every account is lost on it
    assert isinstance(refusal, Suspected)
    oracle = Sybil(clients=4)(Service(Linear(), Defense(access=[Dark()])).oracle(client="a", budget=12))
    oracle.try_ask(x[2:3])
    assert len(oracle.try_ask(x[:2])[0]) == 0


def test_low_and_slow_stays_under_a_rate():
    class Times:
        times: ClassVar[list[float]] = []

        def admit(self, query, account):
            self.times.append(query.time)

    service = Service(Linear(), Defense(access=[RateLimit(2.0, burst=3), Times()]))
    oracle = service.oracle(client="a", budget=30)
    LowAndSlow(per_second=2.0, burst=3)(oracle).ask(pool().inputs(slice(0, 10)))
    assert oracle.refusal is None
    assert [round(b - a, 1) for a, b in pairwise(Times.times)] == [1.5, 1.5, 0.5]
    assert oracle.waited == pytest.approx(3.5)


def test_attacks_hold_recipes_only():
    assert isinstance(CASES["LensedAttack"], LensedAttack)
    assert eval(repr(HardLabels())) == HardLabels()
