"""What the recipe of a row declares: does the defense keep the label, does it draw, and what does the thief see?"""

import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from feint.defenses import outputs, scores
from feint.errors import FeintError
from feint.evaluation.results import Row
from feint.recipes.recipe import PLUGINS, exported_recipes, from_table, joined
from feint.recipes.registry import vocabulary

Table = Mapping[str, Any]
METHODS = joined(exported_recipes(outputs, scores), PLUGINS)  # parts of an output defense, but for what it has learned


def undefended(row: Row) -> bool:
    """Whether nothing stands between the thief and the victim as it was trained."""
    return "model" not in row.recipe and not any(
        map(row.recipe["defense"].get, ("access", "inputs", "outputs", "rungs"))
    )


def rungs(row: Row) -> list[Table]:
    """The defenses that an answer may meet: one, or every rung of a ladder."""
    defense = row.recipe["defense"]
    return defense["rungs"] if defense["kind"] == "Ladder" else [defense]


def keeps_label(row: Row, utility: Mapping[str, float]) -> bool:
    """Whether the answers of the row's defense are perturbed and their label is not: so declared, or so measured."""
    if not any(rung["inputs"] or rung["outputs"] for rung in rungs(row)) and "model" not in row.recipe:
        return False
    declared = all(not rung["inputs"] and all(map(_preserves, rung["outputs"])) for rung in rungs(row))
    return (declared and "model" not in row.recipe) or utility.get("label_kept") == 1


def tells_labels_alone(row: Row) -> bool:
    """Whether the defense answers with labels, so that every thief sees these alone."""
    return all(any(trait(step, "labels_only") for step in rung["outputs"]) for rung in rungs(row))


def draws(row: Row) -> bool:
    """Whether the defense's answers are randomised, by any part of it."""
    return any(trait(table, "randomised") for table in tables(row.recipe["defense"]))


def noisy(row: Row) -> bool:
    """Whether what the thief read holds noise, which a good surrogate does not reproduce."""
    return draws(row) or averages_copies(row)


def averages_copies(row: Row) -> bool:
    """Whether the attack asks altered copies of each input, through some lens."""
    return any(trait(lens, "randomised") for lens in lenses(row))


def lenses(row: Row) -> tuple[Table, ...]:
    """The lenses that the attack looks through."""
    return tuple(row.recipe["attack"].get("lenses", ()))


def trait(step: Table, name: str, default: bool = False) -> bool:
    """Whether the class of a method declares the trait `name`; the `default` where the class is not known here."""
    return getattr(vocabulary().get(step.get("kind", "")), name, default)


def naive(row: Row) -> bool:
    """Whether the thief believes the answers as they are: no lens, and an attack that makes nothing else of them."""
    return not lenses(row) and trait(row.recipe["attack"], "is_naive", default=True)


def labels_only(row: Row) -> bool:
    """Whether the thief reads the label of each answer and nothing else."""
    reading = [lens for lens in lenses(row) if trait(lens, "rereads", default=True)]
    return bool(reading) and all(trait(lens, "labels_only") for lens in reading)


def upper_bound(row: Row) -> bool:
    """Whether a lens holds what no real attacker has. Lenses that Feint does not know are taken to be honest."""
    return any(trait(lens, "upper_bound") for lens in lenses(row))


def attack_alone(row: Row) -> str:
    """What stands for the attack without its lenses."""
    attack = row.recipe["attack"]
    return json.dumps(attack.get("attack", attack), sort_keys=True)


def but_for_training(row: Row) -> str:
    """What stands for the attack and its lenses whatever its training is, but for S4L's loss, which is a method."""

    def without(item: Any) -> Any:
        if isinstance(item, dict) and item.get("kind") == "Training":
            return item.get("rotation")
        if isinstance(item, dict):
            return {key: without(value) for key, value in item.items()}
        return [without(value) for value in item] if isinstance(item, list) else item

    return json.dumps(without(row.recipe["attack"]), sort_keys=True)


def tables(item: Any) -> Iterator[Table]:
    """All tables within plain values, the outermost first."""
    if isinstance(item, dict):
        yield item
    for value in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        yield from tables(value)


def holds_test_data(row: Row) -> bool:
    """Whether the attack was given a split that is the test set, or a share of the part that it is of."""
    test = row.recipe["test"]
    return any(
        split["fingerprint"] == test["fingerprint"] or (_part(split) == _part(test) and split["name"] != "memory")
        for split in tables(row.recipe["attack"])
        if split.get("kind") == "Split"
    )


def _part(split: Table) -> tuple[str, str]:
    return split["name"], split["part"].partition(":")[0]


def _preserves(step: Table) -> str:
    return _declared(json.dumps(step, sort_keys=True))


@functools.cache
def _declared(text: str) -> str:
    """What the method in this table says that it preserves; nothing where Feint does not know it."""

    def method(table: Table) -> dict[str, Any]:
        values = {key: method(it) if isinstance(it, dict) else it for key, it in table.items()}
        return {key: it for key, it in values.items() if not isinstance(it, dict) or it["kind"] in METHODS}

    try:
        return from_table(method(json.loads(text)), METHODS).preserves
    except FeintError:
        return ""
