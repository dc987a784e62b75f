"""What a recipe's table says to whoever has no torch: its rules, what stands where, and which rung is the safest."""

from collections.abc import Mapping, Sequence
from typing import Any

from feint.gateway.models.imprint import ServableRules
from feint.recipes.recipe import parse


def rules(texts: Sequence[str]) -> tuple[Any, ...]:
    """The access rules that texts spell. Raises `UnknownName` or `BadRecipe`."""
    if not texts:
        return ()
    return tuple(parse(text, ServableRules()) for text in texts)


def safest(recipe: Mapping[str, Any] | None) -> int | None:
    """The last rung of a recipe's table that has an output defense, if any has."""
    rungs = recipe.get("rungs", [recipe]) if recipe else []
    return max((i for i, rung in enumerate(rungs) if rung.get("outputs") or rung.get("inputs")), default=None)


def bare(recipe: Mapping[str, Any] | None) -> list[str]:
    """A warning, where nothing defends what leaves."""
    return [] if safest(recipe) is not None else ["no output defense: probabilities leave as the model gives them"]


def steps(recipe: Mapping[str, Any], access: Sequence[str]) -> list[str]:
    """What a recipe's table puts on the line, in words; `access` stands before it."""
    ladder = "rungs" in recipe
    everybodys = [*access, *(_spelled(it) for it in recipe.get("access", ()) if ladder)]
    said = [f"everybody: {', '.join(everybodys)}"] if everybodys else []
    if ladder:
        said.append(f"evidence: {', '.join(it['kind'] for it in recipe['detectors']) or 'none'}")
    rungs = zip(recipe["at"], recipe["rungs"], strict=True) if ladder else [(0.0, recipe)]
    for at, rung in rungs:
        rules = [_spelled(it) for it in rung.get("access", ())]
        names = rules + [step["kind"] for room in ("inputs", "outputs") for step in rung.get(room, ())]
        said.append(f"{f'from evidence {at:g}' if ladder else 'line'}: {', '.join(names) or 'no defense'}")
    return said


def _spelled(rule: Mapping[str, Any]) -> str:
    """An access rule with its numbers."""
    numbers = [f"{name}={value:g}" for name, value in rule.items() if isinstance(value, int | float)]
    return f"{rule['kind']}({', '.join(numbers)})"
