"""Traits of the defense and the attack in a row's recipe."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from feint.defenses import outputs, scores
from feint.errors import FeintError
from feint.evaluation.results import Row
from feint.recipes.recipe import PLUGINS, exported_recipes, from_table, joined, tables
from feint.recipes.registry import vocabulary

Table = Mapping[str, Any]
METHODS = joined(exported_recipes(outputs, scores), PLUGINS)  # the parts of an output defense that are recipes


def undefended(row: Row) -> bool:
    """Return whether the victim answers as it was trained, without any defense."""
    return "model" not in row.recipe and not any(
        map(row.recipe["defense"].get, ("access", "inputs", "outputs", "rungs"))
    )


def rungs(row: Row) -> list[Table]:
    """Return the defenses that may apply to an answer: one, or every rung of a ladder."""
    defense = row.recipe["defense"]
    return defense["rungs"] if defense["kind"] == "Ladder" else [defense]


def keeps_label(row: Row, utility: Mapping[str, float]) -> bool:
    """Return whether the defense perturbs the answers and keeps their label, as its class declares or as measured."""
    if not any(rung["inputs"] or rung["outputs"] for rung in rungs(row)) and "model" not in row.recipe:
        return False
    declared = all(not rung["inputs"] and all(map(_preserves, rung["outputs"])) for rung in rungs(row))
    return (declared and "model" not in row.recipe) or utility.get("label_kept") == 1


def returns_labels_only(row: Row) -> bool:
    """Return whether the defense returns labels, so that every attacker reads these alone."""
    return all(any(trait(step, "labels_only") for step in rung["outputs"]) for rung in rungs(row))


def draws(row: Row) -> bool:
    """Return whether any part of the defense randomises the answers."""
    return any(trait(table, "randomised") for table in tables(row.recipe["defense"]))


def noisy(row: Row) -> bool:
    """Return whether the answers that the attacker read hold noise, which a good surrogate does not reproduce."""
    return draws(row) or averages_copies(row)


def averages_copies(row: Row) -> bool:
    """Return whether a lens of the attack queries altered copies of each input."""
    return any(trait(lens, "randomised") for lens in lenses(row))


def lenses(row: Row) -> tuple[Table, ...]:
    """Return the tables of the attack's lenses."""
    return tuple(row.recipe["attack"].get("lenses", ()))


def trait(step: Table, name: str, *, default: bool = False) -> bool:
    """Return the trait `name` that the class of a method declares; the `default` where the class is not known here."""
    return getattr(vocabulary().get(step.get("kind", "")), name, default)


def naive(row: Row) -> bool:
    """Return whether the attacker takes the answers as they are: no lens, and an attack that does not reread them."""
    return not lenses(row) and trait(row.recipe["attack"], "is_naive", default=True)


def labels_only(row: Row) -> bool:
    """Return whether the attacker reads the label of each answer and nothing else."""
    readers = [lens for lens in lenses(row) if trait(lens, "rereads", default=True)]
    return bool(readers) and all(trait(lens, "labels_only") for lens in readers)


def upper_bound(row: Row) -> bool:
    """Return whether a lens holds secrets that no real attacker has. Unknown lenses are taken to hold none."""
    return any(trait(lens, "upper_bound") for lens in lenses(row))


def without_lenses(row: Row) -> str:
    """Return the attack without its lenses, as JSON."""
    attack = row.recipe["attack"]
    return json.dumps(attack.get("attack", attack), sort_keys=True)


def without_training(row: Row) -> str:
    """Return the attack and its lenses without their trainings, as JSON.

    S4L's loss stays, since it is a method, and so does the network that a training starts from: attackers have it or
    have not.
    """

    def without(item: Any) -> Any:
        if isinstance(item, dict) and item.get("kind") == "Training":
            return [item.get("rotation"), without(item.get("start"))]
        if isinstance(item, dict):
            return {key: without(value) for key, value in item.items()}
        return [without(value) for value in item] if isinstance(item, list) else item

    return json.dumps(without(row.recipe["attack"]), sort_keys=True)


def holds_test_data(row: Row) -> bool:
    """Return whether the attack holds a split that is the test set, or a share of the same part of a data set."""
    test = row.recipe["test"]
    return any(
        split["fingerprint"] == test["fingerprint"] or (_part(split) == _part(test) and split["name"] != "memory")
        for split in tables(row.recipe["attack"])
        if split.get("kind") == "Split"
    )


def _part(split: Table) -> tuple[str, str]:
    return split["name"], split["part"].partition(":")[0]


def _preserves(step: Table) -> str:
    return _preserved_by(json.dumps(step, sort_keys=True))


@functools.cache
def _preserved_by(text: str) -> str:
    """Return the `preserves` of the method in a table; empty for a method that is not known here."""

    def method(table: Table) -> dict[str, Any]:
        values = {key: method(value) if isinstance(value, dict) else value for key, value in table.items()}
        return {key: value for key, value in values.items() if not isinstance(value, dict) or value["kind"] in METHODS}

    try:
        return from_table(method(json.loads(text)), METHODS).preserves
    except FeintError:
        return ""
