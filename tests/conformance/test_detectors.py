"""Contracts of detectors, over everything that the access room exports."""

import functools
import math

import pytest
import torch
from tests import examples
from tests.examples import WINDOW
from tests.support.problems import Linear

from feint.data import Split
from feint.errors import BadInput, NotFitted
from feint.fitting import Fittable
from feint.ledger import Account, Ledger
from feint.query import Query

CASES = examples.cases(examples.DETECTORS)
LEARN = [name for name, case in CASES.items() if isinstance(case, Fittable)]

VICTIM = Linear(64, 10)


def images(n: int, seed: int) -> torch.Tensor:
    """Honest queries (n, 1, 8, 8): bright and dark blocks of 4×4 pixels with noise."""
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.rand(n, 1, 2, 2, generator=generator).repeat_interleave(4, -1).repeat_interleave(4, -2)
    return (0.5 * blocks + 0.5 * torch.rand(n, 1, 8, 8, generator=generator)).mul(255).round().div(255)


def split(n: int, seed: int) -> Split:
    x = images(n, seed)
    with torch.no_grad():
        labels = VICTIM(x).argmax(-1)
    return Split.of((x * 255).round().byte().numpy(), labels.numpy(), name="blocks")


def copies(n: int, seed: int) -> torch.Tensor:
    """An attacker's queries: honest ones, and steps of one size from them, as Jacobian augmentation makes them."""
    seeds = images(math.ceil(n / 2), seed)
    signs = torch.rand(seeds.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    return torch.cat([seeds, (seeds + torch.where(signs, 0.02, -0.02)).clamp(0, 1)])[:n]


def dark(n: int, seed: int) -> torch.Tensor:
    """An attacker's queries: images so dark that the model sees nothing in them."""
    return 0.02 * torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


@functools.cache
def ready(name: str):
    """The case, fitted if it learns."""
    return CASES[name].fit(VICTIM, split(1200, 1)) if name in LEARN else CASES[name]


def observe(name: str, x: torch.Tensor, account: Account) -> float:
    return ready(name).observe(Query(x, account.client), VICTIM(x).detach(), account)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_evidence_is_a_finite_number_also_for_no_query(name):
    account = Account("a")
    for n in (0, 1, 7):
        evidence = observe(name, images(n, n), account)
        assert isinstance(evidence, float)
        assert math.isfinite(evidence)


@pytest.mark.parametrize("name", CASES)
def test_the_queries_of_one_client_never_change_anothers_evidence(name):
    ledger, alone = Ledger(), Account("honest")
    for part in range(4):
        observe(name, copies(60, part), ledger["attacker"])
        x = images(60, 50 + part)
        assert observe(name, x, ledger["honest"]) == observe(name, x, alone)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("ask", [images, copies])
def test_a_batch_equals_its_rows_one_by_one(name, ask):
    x, batch, rows = ask(420, 3), Account("a"), Account("a")  # beyond the end of a window
    together = observe(name, x, batch)
    for row in x:
        one_by_one = observe(name, row[None], rows)
    assert together == pytest.approx(one_by_one, rel=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_memory_is_bounded(name):
    account, held = Account("a"), []
    for seed in range(20):
        observe(name, images(100, seed), account)
        held.append(sum(rows.tensor.numel() for rows in account._rows.values()))
    assert max(held) <= WINDOW * (64 + 6)  # numbers: inputs of 64 values, and a few beside each
    assert 8 * len(account._totals) <= 2048  # bytes
    assert len(account._rows) < 100


@pytest.mark.parametrize("name", CASES)
def test_attackers_are_accused_and_honest_clients_are_not(name):
    queries = {"copies": copies, "dark": dark}[examples.DETECTORS[name].accused](300, 4)
    assert observe(name, queries, Account("attacker")) >= 1
    for seed in range(100, 105):
        assert observe(name, images(400, seed), Account("honest")) < 1


@pytest.mark.parametrize("name", LEARN)
def test_an_unfitted_detector_is_refused_with_a_remedy(name):
    with pytest.raises(NotFitted, match="fit"):
        CASES[name].observe(Query(images(3, 0)), VICTIM(images(3, 0)), Account("a"))


@pytest.mark.parametrize("name", LEARN)
def test_a_detector_of_another_class_count_or_shape_never_answers(name):
    x = images(3, 0)
    with pytest.raises(BadInput, match="expected"):
        ready(name).observe(Query(x[..., :4]), VICTIM(x)[:, :7], Account("a"))


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARN)
def test_same_seed_same_recipe_and_the_global_random_state_is_left_alone(name):
    state = torch.random.get_rng_state()
    assert CASES[name].fit(VICTIM, split(1200, 1)) == ready(name)
    assert torch.equal(torch.random.get_rng_state(), state)
