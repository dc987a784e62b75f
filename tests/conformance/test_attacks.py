"""The contracts of the attacks room, over everything that it exports."""

import pickle

import pytest
import torch
from tests.problems import Linear

from feint import attacks
from feint.attacks import Attack, Averaged, HardLabels, KnockoffNets, Lens, Through
from feint.data import Split
from feint.defenses.access import Budget
from feint.errors import BadInput, OverBudget, Refused
from feint.networks import Network
from feint.oracle import Meter
from feint.service import Defense, Service
from feint.training import Training
from feint.victims import answers

NETWORK = Network("mlp", (1, 2, 2), 3)
FLOOR = 0.8  # fidelity on the toy


def pool(n: int = 300) -> Split:
    images = torch.randint(0, 256, (n, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Split.of(images.numpy(), torch.zeros(n, dtype=torch.int64).numpy(), name="noise")


TRAINING = Training(epochs=40, batch_size=32)
CASES: dict[str, Attack] = {  # one line of test for a new method
    "KnockoffNets": KnockoffNets(pool(), NETWORK, TRAINING),
    "Through": KnockoffNets(pool(), NETWORK, TRAINING).through(HardLabels(), Averaged(repeats=2)),
}
LENSES: dict[str, Lens] = {"HardLabels": HardLabels(), "Averaged": Averaged(repeats=3)}


def exported(kind: type) -> set[type]:
    found = {getattr(attacks, name) for name in attacks.__all__}
    return {it for it in found if issubclass(it, kind) and it is not kind}


def test_every_method_has_a_case():
    assert exported(Attack) == {type(case) for case in CASES.values()}
    assert exported(Lens) == {type(case) for case in LENSES.values()}


@pytest.mark.parametrize("name", CASES)
def test_it_steals_the_toy_within_its_budget(name):
    victim = Linear()
    service = Service(victim)
    oracle = service.oracle(client="thief", budget=240)
    surrogate = CASES[name].steal(oracle)
    assert oracle.asked == service.ledger["thief"].queries <= 240
    test = pool(400)
    assert (answers(surrogate, test).argmax(-1) == answers(victim, test).argmax(-1)).float().mean() > FLOOR


@pytest.mark.parametrize("name", CASES)
def test_same_seed_same_weights(name):
    first, again, other = (
        CASES[name].steal(Service(Linear()).oracle(client="a", budget=60), seed=seed).state_dict() for seed in (5, 5, 6)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", CASES)
def test_refused_at_k_it_learns_from_k(name):
    service = Service(Linear(), Defense(access=[Budget(37)]))
    oracle = service.oracle(client="thief", budget=200)
    surrogate = CASES[name].steal(oracle)
    assert oracle.asked == service.ledger["thief"].queries == 37
    cost = 2 if name == "Through" else 1
    alone = CASES[name].steal(Service(Linear()).oracle(client="thief", budget=37 // cost * cost))
    if name == "KnockoffNets":  # with the same budget from the start it draws the same inputs
        assert all(
            torch.equal(a, b) for a, b in zip(surrogate.state_dict().values(), alone.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize("name", CASES)
def test_refused_at_once_the_refusal_is_raised(name):
    service = Service(Linear(), Defense(access=[Budget(0)]))
    with pytest.raises(Refused, match="queries"):
        CASES[name].steal(service.oracle(client="thief", budget=200))


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
    assert clear.asked == service.ledger["a"].queries == 16 * lens.cost
    assert torch.equal(clear.transcript.p, p)
    assert torch.equal(clear.transcript.x, x)
    assert (p.sum(-1) - 1).abs().max() < 1e-5
    with pytest.raises(OverBudget):
        clear.ask(pool().inputs(slice(16, 80)))
    assert len(clear.transcript) == 50 // lens.cost


def test_averaging_sees_through_noise_that_is_drawn_anew():
    def noisy(x):
        p = Linear()(x).softmax(-1)
        p = (p + 0.2 * torch.rand_like(p)).clamp_min(0)
        return (p / p.sum(-1, keepdim=True)).detach()

    torch.manual_seed(0)
    x, clean = pool().inputs(slice(0, 20)), Linear()(pool().inputs(slice(0, 20))).softmax(-1)
    once = Meter(noisy, budget=2000).ask(x)
    often = Averaged(repeats=50)(Meter(noisy, budget=2000)).ask(x)
    assert (often.argmax(-1) == clean.argmax(-1)).all()
    assert (often - often.mean(-1, keepdim=True)).sub(once - once.mean(-1, keepdim=True)).abs().max() > 0.02
    noise = [(a - Averaged(repeats=50)(Meter(noisy, budget=2000)).ask(x)).abs().mean() for a in (once, often)]
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


def test_attacks_hold_recipes_only():
    assert isinstance(CASES["Through"], Through)
    assert eval(repr(HardLabels())) == HardLabels()
