"""Innocents and rehearsals begin with other weights than any victim."""

import pytest

from feint.models import stored
from feint.models.networks import Network
from feint.models.seeds import named_seed
from feint.models.training import train
from feint.ownership import plan_controls
from feint.ownership.controls import train_controls
from feint.ownership.rehearsal import rehearse

ROLES = "control", "rehearsal"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_no_innocent_has_a_seed_that_a_victim_may_have(network, role, seed):
    assert min(plan.seed for plan in plan_controls(60, network, role=role, seed=seed)) > 10_000


def test_all_innocents_and_rehearsals_have_seeds_of_their_own(network):
    plans = [plan for role in ROLES for seed in range(3) for plan in plan_controls(60, network, role=role, seed=seed)]
    assert len({plan.seed for plan in plans}) == len(plans)


def test_a_name_and_a_seed_give_one_seed_of_32_bits():
    assert named_seed("control 1", 0) == named_seed("control 1", 0)
    assert len({named_seed(name, seed) for name in ("a", "b") for seed in range(1000)}) == 2000
    assert max(named_seed("a", seed) for seed in range(1000)) < 2**32


def test_networks_that_are_fitted_at_once_are_no_two_alike_and_not_the_victim(digits, tmp_path):
    network = Network("logistic", digits.domain, 10)
    victim = train(network, digits.train)
    made = [model for _, model in train_controls(tmp_path, plan_controls(12, network), digits.train, digits.pool)]
    rehearsal = rehearse(victim, digits.train, digits.pool, 3, network=network)
    alike = [model for model in (*made, *rehearsal.references, *rehearsal.copies, victim) if model.network == network]
    assert len({stored.fingerprint(model) for model in alike}) == len(alike) > 10
