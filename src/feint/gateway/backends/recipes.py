"""Readers of recipes' tables without torch: access rules, start-up notes, and the safest rung."""

from collections.abc import Mapping, Sequence
from typing import Any

from feint.onnx_manifest import ServableRules
from feint.recipes.recipe import parse


def rules(texts: Sequence[str]) -> tuple[Any, ...]:
    """Return the access rules that texts spell; raise `UnknownName` or `BadRecipe`."""
    if not texts:
        return ()
    return tuple(parse(text, ServableRules()) for text in texts)


def safest(recipe: Mapping[str, Any] | None) -> int | None:
    """Return the last rung of a recipe's table that has an output defense, if any has."""
    rungs = recipe.get("rungs", [recipe]) if recipe else []
    return max((i for i, rung in enumerate(rungs) if rung.get("outputs") or rung.get("inputs")), default=None)


def bare(recipe: Mapping[str, Any] | None) -> list[str]:
    """Return a warning where no step defends the answers."""
    return [] if safest(recipe) is not None else ["no output defense: probabilities leave as the model gives them"]


def steps(recipe: Mapping[str, Any], access: Sequence[str], threshold: float = 1.0) -> list[str]:
    """Return the steps of a recipe's table in words, after the rules in `access`."""
    ladder = "rungs" in recipe
    everybodys = [*access, *(_spelled(rule) for rule in recipe.get("access", ()) if ladder)]
    lines = [f"everybody: {', '.join(everybodys)}"] if everybodys else []
    if ladder:
        lines.append(f"evidence: {', '.join(detector['kind'] for detector in recipe['detectors']) or 'none'}")
    rungs = zip(recipe["at"], recipe["rungs"], strict=True) if ladder else [(0.0, recipe)]
    for at, rung in rungs:
        rules = [_spelled(rule) for rule in rung.get("access", ())]
        names = rules + [step["kind"] for room in ("inputs", "outputs") for step in rung.get(room, ())]
        lines.append(f"{f'from evidence {at * threshold:g}' if ladder else 'line'}: {', '.join(names) or 'no defense'}")
    return lines


def _spelled(rule: Mapping[str, Any]) -> str:
    """Return an access rule with its numbers."""
    numbers = [f"{name}={value:g}" for name, value in rule.items() if isinstance(value, int | float)]
    return f"{rule['kind']}({', '.join(numbers)})"
