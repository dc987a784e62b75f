"""Suites that claim ownership of the copies."""

import pytest

from feint import bench
from feint.attacks import KnockoffNets
from feint.bench import executor, prepare
from feint.bench.cache import is_cacheable
from feint.defense import Defense
from feint.defenses.outputs import Marked
from feint.errors import BadRecipe
from feint.i18n import LANGUAGES, Catalog
from feint.models.cache import cached_in
from feint.oracle import CountingOracle
from feint.ownership import GatedCopy, Pruned, Removed
from feint.ownership.removals import StrangeInputGate, final_layer
from feint.report.section import Section
from feint.report.tables import ownership
from feint.service import Service

SUITE = """
title = "Claims"
budgets = [120]
seeds = 1
training = { epochs = 5, least_steps = 60, batch_size = 32, learning_rate = 0.05 }

[victims.digits]
data = "digits"
network = "mlp"
training = { epochs = 3 }
ownership = { controls = 3, rehearsals = 0, least = 1, training = { kind = "Training", epochs = 2 } }

[defenses.none]

[defenses.marked]
outputs = [{ kind = "Marked", key = "k", rate = 0.2 }]

[defenses."trained mark"]
boundary = [{ kind = "MarginWatermark", count = 20, training = { kind = "Training", epochs = 1 } }]

[defenses."class mark"]
boundary = [{ kind = "ClassFeatureWatermark", count = 20, training = { kind = "Training", epochs = 1 } }]
outliers = "digits/pool"

[attacks.KnockoffNets]
kind = "KnockoffNets"

[attacks.gate]
kind = "Removed"
attack = { kind = "KnockoffNets" }
removal = { kind = "GatedCopy" }
only = ["none"]

[lenses."10 accounts"]
steps = [{ kind = "Sybil" }]
only = ["marked"]
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory, _cache):
    """The rows of the suite, by defense and attack, and the folder of its work."""
    folder = tmp_path_factory.mktemp("suite")
    (folder / "suite.toml").write_text(SUITE)
    with cached_in(folder / "trainings"):
        matrices = prepare.matrices(bench.load(folder / "suite.toml"), folder / "work")
        results = executor.run(matrices, folder=folder / "rows")
    assert [row.error for row in results.failed] == []
    return {(row.defense, row.attack): row for row in results}, results, folder


def test_every_theft_has_a_claim_by_each_mark_of_its_model(rows):
    by_model = {"claimed", "claim_log_e", "claim_asked", "claim_bound"}
    own = {"claimed_same_mistakes", "claimed_triggers"}
    served = {"claimed_marked_answers", "claim_named"}
    expected = {
        ("none", "KnockoffNets"): by_model | own,
        ("none", "gate"): by_model | own,
        ("marked", "KnockoffNets"): by_model | own | served,
        ("marked", "KnockoffNets, 10 accounts"): by_model | own | served,
        ("trained mark", "KnockoffNets"): by_model | {"claimed_trained_mark"},
        ("class mark", "KnockoffNets"): by_model | {"claimed_trained_mark"},
    }
    for cell, names in expected.items():
        assert {name for name in rows[0][cell].scores if name.startswith("claim")} == names, cell


def test_a_claim_asks_no_more_than_a_thousand_questions_and_bounds_its_controls(rows):
    scores = rows[0]["none", "KnockoffNets"].scores
    assert 0 < scores["claim_asked"] <= 1000
    assert 0.6 < scores["claim_bound"] <= 1  # three controls


def test_a_removal_is_of_the_very_theft_that_stands_beside_it(rows):
    by_name, _, _ = rows
    theft, removal = (by_name["none", attack].recipe["attack"] for attack in ("KnockoffNets", "gate"))
    assert removal["attack"] == theft
    assert theft["training"]["least_steps"] == 60


@pytest.mark.parametrize("victim", bench.load("ownership").victims)
def test_every_removal_of_the_shipped_suite_begins_with_its_theft_and_keeps_its_own_training(victim):
    suite = bench.load("ownership")
    attacks = suite.attacks_on(victim, "none", suite.resources(victim))
    removals = {name: attack for name, attack in attacks.items() if isinstance(attack, Removed)}
    assert len(removals) == 10
    assert {attack.attack for attack in removals.values()} == {attacks["KnockoffNets"]}
    assert removals["new last layer"].removal.training.learning_rate == 0.01


def test_a_gate_costs_accuracy(rows):
    before, after = (rows[0]["none", name].scores["stealer_accuracy"] for name in ("KnockoffNets", "gate"))
    assert after < before


def test_the_claims_are_a_part_of_what_a_row_depends_on(rows):
    recipe = rows[0]["none", "KnockoffNets"].recipe
    assert recipe["ownership"]["controls"] == 3


def test_a_second_run_has_the_same_rows_and_trains_no_control_again(rows):
    _, results, folder = rows
    controls = sorted((folder / "work/controls").rglob("recipe.toml"))
    assert len(controls) == 3
    before = [file.stat().st_mtime_ns for file in controls]
    with cached_in(folder / "trainings"):
        again = prepare.matrices(bench.load(folder / "suite.toml"), folder / "work")
    assert {matrix.fingerprint(cell) for matrix in again for cell in matrix.cells()} == {
        row.fingerprint for row in results
    }
    assert [file.stat().st_mtime_ns for file in controls] == before


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_report_has_a_table_of_claims(rows, language):
    table = ownership(Section("digits", rows[1]), Catalog(language, room="feint.report"))
    assert len(table.rows) == 6
    assert len(table.heads) == len(table.rows[0])


def test_a_wrong_field_of_the_claims_is_refused(tmp_path):
    (tmp_path / "s.toml").write_text(SUITE.replace("controls = 3", "controlls = 3"))
    with pytest.raises(BadRecipe, match="did you mean 'controls'"):
        bench.load(tmp_path / "s.toml")
    (tmp_path / "s.toml").write_text(SUITE.replace("controls = 3", "controls = 1"))
    with pytest.raises(BadRecipe, match="controls ≥ 2"):
        bench.load(tmp_path / "s.toml")


def test_answers_that_are_recorded_are_not_cached(victim):
    assert not is_cacheable(Service(victim, Defense(outputs=[Marked("k")])))


def test_a_removal_changes_the_copy_of_its_attack(victim, digits, network):
    attack = KnockoffNets(digits.pool, network)

    def stolen(attack):
        return attack.steal(CountingOracle(Service(victim), budget=60, client="mallory"))

    plain, pruned = stolen(attack), stolen(Removed(attack, Pruned(0.5)))
    zeros = [(final_layer(model).weight == 0).float().mean() for model in (plain, pruned)]
    assert zeros[0] < 0.1 < zeros[1]
    assert isinstance(stolen(Removed(attack, GatedCopy())), StrangeInputGate)
