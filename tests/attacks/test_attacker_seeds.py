"""An attacker with the victim's network and seed begins with other weights than the victim did."""

from itertools import pairwise

import pytest
import torch

from feint.attacks import KnockoffNets
from feint.attacks.seeds import attacker_seed
from feint.models.training import Training, train
from feint.oracle import CountingOracle
from feint.service import Service

STANDS_STILL = Training(epochs=1, learning_rate=1e-12, momentum=0, weight_decay=0)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_surrogate_shares_no_initial_weight_with_a_victim_of_the_same_seed(network, digits, seed):
    victim = train(network, digits.train, training=STANDS_STILL, seed=seed)
    attack = KnockoffNets(digits.pool, network, training=STANDS_STILL)
    copy = attack.steal(CountingOracle(Service(victim), budget=20), seed=seed)
    for of_victim, of_copy in zip(victim.parameters(), copy.parameters(), strict=True):
        if of_victim.ndim > 1:
            assert (of_victim - of_copy).abs().median() > 1e-3


def test_seeds_of_attackers_differ_from_each_other_and_from_those_given():
    seeds = [attacker_seed(seed) for seed in range(1000)]
    assert len({*seeds, *range(1000)}) == 2000
    assert all(abs(a - b) > 1 for a, b in pairwise(seeds))
    assert torch.Generator().manual_seed(max(seeds)).initial_seed() == max(seeds)
