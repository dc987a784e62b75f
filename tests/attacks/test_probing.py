"""Checks before the first query."""

import pytest
from tests.examples import pool
from tests.support.problems import Linear

from feint import Service
from feint.attacks import DFME, JBDA, KnockoffNetsAdaptive, SeedSamples
from feint.errors import BadRecipe
from feint.models.networks import Network

FOREST = Network("random_forest", pool().domain, 3)


@pytest.mark.parametrize(
    "attack",
    [
        lambda: KnockoffNetsAdaptive(pool(), FOREST),
        lambda: DFME(FOREST),
        lambda: JBDA(pool(), FOREST),
        lambda: SeedSamples(pool(), FOREST),
    ],
    ids=["KnockoffNetsAdaptive", "DFME", "JBDA", "SeedSamples"],
)
def test_a_forest_is_no_surrogate_of_an_attack_that_trains_in_steps(attack):
    oracle = Service(Linear()).oracle(client="a", budget=5000)
    with pytest.raises(BadRecipe, match="a network that is trained in steps"):
        attack().steal(oracle)
    assert not oracle.asked
