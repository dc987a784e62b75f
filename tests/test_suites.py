"""The suites: each is a recipe that can be read today."""

from pathlib import Path

import pytest

from feint.attacks import Attack
from feint.recipe import from_table, to_table
from feint.words import found, words

SUITES = sorted((Path(__file__).parents[1] / "suites").glob("*.toml"))


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_a_suite_is_an_attack_and_says_what_it_needs(file):
    attack = found(str(file))
    assert isinstance(attack, Attack)
    assert from_table(to_table(attack), words()) == attack
    assert "It needs" in file.read_text()


def test_there_are_suites():
    assert {"dfme_cifar10", "dfmshl_cifar10", "maze_cifar10"} <= {file.stem for file in SUITES}
