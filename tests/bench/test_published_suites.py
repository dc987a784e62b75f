"""Published tables that a suite makes: every published row is a cell of its suite, with the same recipe.

Recipes are compared without data: what stands for the victim, for its test set, for the attacker's images and for what
a defense learned is left out of the published recipe.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feint import bench
from feint.evaluation import jsonl
from feint.evaluation.results import Cell
from feint.recipes.recipe import to_table
from feint.recipes.registry import parse

RESULTS = Path(__file__).parents[2] / "results"
TABLES = "attacks", "data_free", "defenses", "lenses", "praetorian2026", "springboard"
HANDLES = "Split", "Trained", "Weights"  # data and tensors, by their fingerprints
FITTED = {"Gated": ("threshold", "scale")}  # numbers that a defense learned


def planned(name: str) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yield the cells of a suite with their recipes, made of stand-ins."""
    chosen = bench.load(name)
    for cell in chosen.cells():
        resources, theft = chosen.resources(cell.victim), {}
        if cell.attack:
            attack = chosen.thefts_on(cell.victim, cell.defense, resources)[cell.attack]
            theft = {"attack": to_table(attack), "budget": cell.budget}
            tried = chosen.springboard_on(cell.victim)
            theft |= {"springboard": to_table(tried)} if tried else {}
        yield cell, {"defense": to_table(chosen.recipe(cell.defense)), "seed": cell.seed, **theft}


def plain(table: Any) -> Any:
    """Return a recipe without what stands for data and tensors, or was learned."""
    if isinstance(table, list):
        return [plain(it) for it in table]
    if not isinstance(table, dict):
        return table
    if table.get("kind") == "Network":  # a stand-in has another shape
        return {"kind": "Network", "name": table["name"]}
    hidden = FITTED.get(table.get("kind", ""), ())
    held = {key: value for key, value in table.items() if key not in hidden}
    return {
        key: plain(value)
        for key, value in held.items()
        if not (isinstance(value, dict) and value.get("kind") in HANDLES)
    }


def learned_left_out(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe of a published row in the form of a planned one."""
    return plain({key: value for key, value in recipe.items() if key not in ("victim", "test", "model")})


@pytest.mark.parametrize("table", TABLES)
def test_every_published_row_is_a_cell_of_its_suite(table):
    cells = dict(planned(table))
    published = jsonl.read(RESULTS / f"{table}.jsonl")
    assert published
    for row in published:
        cell = Cell(row["defense"], row["attack"], row["budget"], row["seed"], row["victim"])
        assert learned_left_out(row["recipe"]) == plain(cells[cell]), row["fingerprint"]


def test_every_published_training_is_an_attack_of_its_suite():
    published = json.loads((RESULTS / "cifar10_recipes.json").read_text())["rows"]
    chosen = bench.load("trainings")
    attacks = chosen.attacks_on("cifar10", "none", chosen.resources("cifar10"))
    assert [it.training for it in attacks.values()] == [parse(row["training"]) for row in published]
