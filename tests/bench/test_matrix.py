"""The matrix: a row for every cell, each run once, the same alone and together."""

import json
import math

import pytest

from feint import Defense, Matrix, Training
from feint.attacks import HardLabels, KnockoffNets, Sybil
from feint.defenses.access import Budget
from feint.defenses.outputs import APGPClosedForm
from feint.errors import BadInput, DamagedFile
from feint.evaluation import memory
from feint.evaluation.results import Results
from feint.models.cache import cached_in
from feint.progress import ProgressCallback
from feint.report import sentences
from feint.report.summary import markdown, worst_case


@pytest.fixture(scope="module")
def knockoff(digits, network):
    return KnockoffNets(digits.pool, network, Training(epochs=4))


@pytest.fixture
def matrix(victim, digits, knockoff):
    return Matrix(
        victim,
        digits.test,
        attacks={"knockoff": knockoff, "knockoff, labels": knockoff.through(HardLabels())},
        defenses={"none": Defense(), "closed form": Defense(outputs=[APGPClosedForm(top=1)])},
        budgets=[50, 100],
        seeds=range(2),
    )


def test_every_cell_has_a_row_and_none_is_run_twice(matrix, tmp_path):
    results = matrix.run(folder=tmp_path)
    assert len(results) == len(matrix.cells()) == 2 + 2 * 2 * 2 * 2 == len(list(tmp_path.iterdir()))
    assert all(row.asked == row.budget for row in results)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = matrix.run(folder=tmp_path, map=lambda run, cells: pytest.fail("ran") if list(cells) else [])
    assert list(again) == list(results)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


def test_a_row_counts_the_queries_of_every_client_and_tells_the_memory(victim, digits, knockoff, tmp_path):
    attacks = {"sybils": knockoff.through(Sybil(clients=3))}
    matrix = Matrix(victim, digits.test, attacks=attacks, defenses={"none": Defense()}, budgets=[50], seeds=[0])
    (row,) = [row for row in matrix.run(folder=tmp_path) if row.attack]
    assert row.asked == 50
    assert row.peak_mb is None or 50 < row.peak_mb < 10_000
    assert (row.peak_mb is None) == math.isnan(memory.peak_mb())
    assert row.peak_mb in [it.peak_mb for it in Results.load(tmp_path) if it.attack]


def test_a_row_tells_how_fast_its_surrogate_was_trained(victim, digits, knockoff, tmp_path):
    matrix = Matrix(victim, digits.test, attacks={"a": knockoff}, defenses={"none": Defense()}, budgets=[50], seeds=[0])
    utility, theft = matrix.cells()
    with cached_in(tmp_path):
        trained, loaded = matrix.row(theft), matrix.row(theft)
    assert trained.trained_per_second > 0
    assert loaded.trained_per_second is None
    assert matrix.row(utility).trained_per_second is None
    assert trained.fingerprint == loaded.fingerprint


def test_an_interrupted_matrix_continues(matrix, tmp_path):
    class Stop(ProgressCallback):
        def step(self, what, done, total):
            if what == "cells" and done == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        matrix.run(folder=tmp_path, progress=Stop())
    assert len(list(tmp_path.iterdir())) == 7  # and no lease is left
    ran = []
    results = matrix.run(folder=tmp_path, map=lambda run, cells: (ran.append(cell) or run(cell) for cell in cells))
    assert len(ran) == len(results) - 7
    alone = {row.fingerprint: row.scores for row in matrix.run()}
    assert {row.fingerprint: row.scores["n_test"] for row in results if row.attack}.keys() <= alone.keys()
    assert all(row.scores == alone[row.fingerprint] for row in results if row.attack)


def test_labels_are_worth_the_same_under_every_defense_that_keeps_them(matrix):
    lines = {(it.defense, it.attack, it.budget): it.scores for it in matrix.run().lines()}
    assert lines["none", "knockoff, labels", 100] == lines["closed form", "knockoff, labels", 100]
    assert (
        lines["closed form", "knockoff", 100]["stealer_accuracy"] < lines["none", "knockoff", 100]["stealer_accuracy"]
    )


def test_queries_are_charged_to_the_victims_service(victim, digits, knockoff):
    tight = Matrix(
        victim,
        digits.test,
        attacks={"knockoff": knockoff},
        defenses={"tight": Defense(access=[Budget(30)])},
        budgets=[50],
        seeds=[0],
    )
    theft = next(row for row in tight.run() if row.attack)
    assert theft.budget == 50
    assert theft.asked == 30


def test_a_row_says_where_it_comes_from(matrix, tmp_path):
    matrix.run(folder=tmp_path)
    row = json.loads(next(file for file in sorted(tmp_path.iterdir()) if "knockoff" in file.name).read_text())
    assert {"feint", "torch", "python", "device", "cores", "threads", "revision"} <= row["provenance"].keys()
    assert row["recipe"]["attack"]["kind"] in ("KnockoffNets", "LensedAttack")
    assert row["recipe"]["budget"] == row["budget"]


def test_another_recipe_is_another_cell(matrix, victim, digits, knockoff):
    other = Matrix(
        victim,
        digits.test,
        attacks=matrix.attacks["none"],
        defenses={"closed form": Defense(outputs=[APGPClosedForm(top=2)])},
        budgets=[50],
        seeds=[0],
    )
    assert not {matrix.fingerprint(it) for it in matrix.cells()} & {other.fingerprint(it) for it in other.cells()}


def test_tables_and_words(matrix):
    results = matrix.run()
    assert worst_case(results, "closed form").attack == "knockoff, labels"
    table = results.table(rows="attack", columns="defense", value="stealer_accuracy")
    assert table.splitlines()[0] == "| attack | none | closed form |"
    assert len(markdown(results).splitlines()) == 2 + 8
    said = " ".join(sentences(results))
    assert "100 queries buy a copy" in said
    assert "labels only" in said
    assert sentences(Results()) == []


def test_a_truncated_row_is_named(matrix, tmp_path):
    (tmp_path / "row.json").write_text('{"fingerprint": "a"')
    with pytest.raises(DamagedFile, match=r"row\.json"):
        matrix.run(folder=tmp_path)


def test_a_nameless_attack_is_refused(victim, digits, knockoff):
    with pytest.raises(BadInput, match="name"):
        Matrix(victim, digits.test, attacks={"": knockoff}, defenses={}, budgets=[1])


def test_lenses_are_before_every_defense_and_what_is_against_one_before_that_one(victim, digits, knockoff):
    matrix = Matrix(
        victim,
        digits.test,
        attacks={"knockoff": knockoff},
        lenses={"labels": [HardLabels()]},
        against={"none": {"sybils": knockoff.through(Sybil(clients=3))}},
        defenses={"none": Defense(), "closed form": Defense(outputs=[APGPClosedForm(top=1)])},
        budgets=[50],
        seeds=[0],
    )
    thefts = {(cell.defense, cell.attack) for cell in matrix.cells() if cell.attack}
    everywhere = {"knockoff", "knockoff, labels"}
    assert thefts == {("none", name) for name in [*everywhere, "sybils"]} | {
        ("closed form", name) for name in everywhere
    }
    assert matrix.attacks["closed form"]["knockoff, labels"] == knockoff.through(HardLabels())
