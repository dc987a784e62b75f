"""A suite: which victims, defenses, attacks and lenses meet, with which budgets and seeds."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from feint.attacks import Attack, Lens
from feint.attacks.lenses.known_parameters import Elementwise
from feint.bench import matrix
from feint.bench.schema import SuiteTables, Table
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses import parsing
from feint.defenses.boundary import Boundary
from feint.errors import BadRecipe
from feint.evaluation.results import Cell
from feint.evaluation.transfer import Springboard
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.recipes import registry
from feint.recipes.recipe import build, from_table
from feint.recipes.store import Weights
from feint.service import SuspectedDefense
from feint.victims import Trained


@dataclass(frozen=True)
class Owned:
    """What the thief of a victim owns: it fills the gaps of attacks and lenses."""

    pool: Split
    surrogate: Network
    training: Training


@dataclass(frozen=True)
class Leak:
    """Secrets of an owner, for lenses that are upper bounds: the fitted defense, and the model behind it."""

    defense: Defense | Ladder
    model: Classifier


@dataclass(frozen=True)
class Suite(SuiteTables):
    """A suite, by the names of its tables. Nothing is read, trained or fitted before `prepare.matrices`."""

    def on(self, victim: str) -> list[str]:
        """The defenses that the victim is given."""
        return [name for name, it in self.defenses.items() if it.victims is None or victim in it.victims]

    def owned(self, victim: str) -> Owned:
        """A stand-in for what the thief will own: enough to build recipes, without reading data."""
        entry = self.victims[victim]
        network = Network(entry.surrogate or entry.network, (3, 32, 32), 10)
        return Owned(Split(entry.data, "pool", ""), network, self.training_on(victim))

    def training_on(self, victim: str) -> Training:
        """Return how surrogates of this victim are trained."""
        return self.victims[victim].surrogate_training or self.training

    def budgets_on(self, victim: str) -> tuple[int, ...]:
        """Return the budgets of the attacks on this victim."""
        return self.victims[victim].budgets or self.budgets

    def springboard_on(self, victim: str, members: Split | None = None) -> Springboard | None:
        """Return what surrogates of this victim are tried for, if they are. Raises `BadRecipe`."""
        fields = self.victims[victim].springboard
        if fields is None:
            return Springboard(members) if self.springboard else None
        if "members" in fields:
            raise BadRecipe(f"victims.{victim}.springboard with members", "its other fields", "leave them out")
        where = f"victims.{victim}.springboard"
        return build(where, {"members": members, **fields}, {where: Springboard})

    def recipe(self, defense: str) -> Defense | Ladder:
        """What stands on the line, before anything in it has learned. Raises `UnknownName` or `BadRecipe`."""
        entry = self.defenses[defense]
        for it in self.boundary(defense):
            _kind(it, Boundary, f"defenses.{defense}.boundary")
        if entry.recipe is not None:
            return _kind(
                from_table(entry.recipe, registry.vocabulary()), (Defense, Ladder), f"defenses.{defense}.recipe"
            )
        rooms = {room: [from_table(it, registry.vocabulary()) for it in getattr(entry, room)] for room in parsing.ROOMS}
        for room, steps in rooms.items():
            for step in steps:
                _kind(step, parsing.ROOMS[room], f"defenses.{defense}.{room}")
        return Defense(**rooms)

    def boundary(self, defense: str) -> list[Any]:
        """The recipes that make a new victim."""
        return [from_table(it, registry.vocabulary()) for it in self.defenses[defense].boundary]

    def attacks_on(self, victim: str, defense: str, owned: Owned) -> dict[str, Attack]:
        """The attacks that a defense of a victim meets, without a lens."""
        entries = {**self.attacks, **self.victims[victim].attacks}
        entries = {name: it for name, it in entries.items() if it.only is None or defense in it.only}
        built = {name: from_table(it.recipe, registry.vocabulary(), **vars(owned)) for name, it in entries.items()}
        return {name: _kind(it, Attack, f"attacks.{name}") for name, it in built.items()}

    def lenses_on(self, defense: str, owned: Owned, leak: Leak | None = None) -> dict[str, tuple[Lens, ...]]:
        """The lenses that a defense is looked at through; without a `leak` those that need it hold a stand-in."""
        hindered = self.hindrances(defense)
        return {
            name: self._lens(name, defense, owned, leak)
            for name, entry in self.lenses.items()
            if name not in hindered and (entry.only is None or defense in entry.only)
        }

    def hindrances(self, defense: str) -> dict[str, str]:
        """Why lenses cannot be put before a defense, for those that cannot."""
        owned = self.owned(next(iter(self.victims)))
        found = {name: self._hindrance(name, defense, owned) for name in self.lenses}
        return {name: why for name, why in found.items() if why}

    def combined(self) -> dict[str, tuple[str, ...]]:
        """The attacks that look through a lens, for the lenses that are not for all."""
        return {name: it.attacks for name, it in self.lenses.items() if it.attacks is not None}

    def cells(self, only: str = "") -> list[Cell]:
        """All cells, those of the first victim first; with an expression, those that it finds (`Matrix`)."""
        return [cell for victim in self.victims for cell in self._cells(victim, only)]

    def _cells(self, victim: str, only: str) -> list[Cell]:
        owned = self.owned(victim)
        names = {
            defense: list(
                matrix.through(self.attacks_on(victim, defense, owned), self.lenses_on(defense, owned), self.combined())
            )
            for defense in self.on(victim)
        }
        return matrix.cells(victim, names, self.budgets_on(victim), range(self.seeds), only=only)

    def with_seeds(self, seeds: int) -> "Suite":
        """The same suite with another number of seeds."""
        return replace(self, seeds=seeds)

    def _lens(self, name: str, defense: str, owned: Owned, leak: Leak | None = None) -> tuple[Lens, ...]:
        given = vars(owned) | self._known(name, defense, owned, leak)
        steps = [from_table(it, registry.vocabulary(), **given) for it in self.lenses[name].steps]
        return tuple(_kind(it, Lens, f"lenses.{name}.steps") for it in steps)

    def _known(self, name: str, defense: str, owned: Owned, leak: Leak | None = None) -> dict[str, Any]:
        """What an attacker who looks through this lens knows of a defense, by the fields that it fills."""
        if not self.lenses[name].leaked:
            return _known_of(self.recipe(defense))
        if leak is None:
            return _known_of(self.recipe(defense), leaked=True) | {"victim": Trained(owned.surrogate, Weights(""))}
        return _known_of(leak.defense, leaked=True) | {"victim": Trained.of(leak.model)}

    def _hindrance(self, name: str, defense: str, owned: Owned) -> str:
        recipe = self.recipe(defense)
        for reason in _missing(self.lenses[name].steps, self._known(name, defense, owned)):
            return reason
        suspected = recipe if isinstance(recipe, Defense) else Defense()  # which rung of a ladder answers is not known
        reasons = (lens.incompatible(suspected) for lens in self._lens(name, defense, owned))
        return next(filter(None, reasons), "")


def _known_of(recipe: Defense | Ladder, *, leaked: bool = False) -> dict[str, Any]:
    """What is known of a defense, by the fields that it fills: the method and its numbers, or all with `leaked`."""
    if isinstance(recipe, Ladder) or not (recipe.inputs or recipe.outputs):
        return {}
    known: dict[str, Any] = {"rehearsal": SuspectedDefense(replace(recipe, access=()), leaked)}
    if not recipe.inputs and len(recipe.outputs) == 1 and isinstance(recipe.outputs[0], Elementwise):
        known["defense"] = recipe.outputs[0]
    return known


def _missing(steps: tuple[Table, ...], known: Mapping[str, Any]) -> Iterator[str]:
    """Why the defense does not fill the fields that these lenses need and leave open."""
    for step in steps:
        needs: Mapping[str, str] = getattr(registry.vocabulary().get(str(step.get("kind"))), "needs", {})
        yield from (reason for field, reason in needs.items() if field not in step and field not in known)


def _kind(recipe: Any, kind: Any, where: str) -> Any:
    if not isinstance(recipe, kind):
        names = " or ".join(it.__name__ for it in (kind if isinstance(kind, tuple) else (kind,)))
        article = re.sub(r"^(?=[AEIOU])", "an ", names) if names[0] in "AEIOU" else f"a {names}"
        raise BadRecipe(f"{where} with {recipe!r}", article, "move it where it belongs")
    return recipe
