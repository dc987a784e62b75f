"""A suite of victims, defenses, attacks and lenses, with budgets and seeds."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from feint.attacks import Attack, Lens, default_training
from feint.attacks.lenses.known_parameters import Elementwise
from feint.attacks.lenses.near_copies import HasExpectation
from feint.bench.cells import cells, through
from feint.bench.schema import AttackEntry, SuiteTables, Table
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses import parsing
from feint.defenses.boundary import Boundary
from feint.errors import BadRecipe
from feint.evaluation.results import Cell
from feint.evaluation.transfer import Springboard
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.ownership.survival import ClaimTrial
from feint.recipes import registry
from feint.recipes.recipe import build, from_table
from feint.recipes.store import Weights
from feint.service import SuspectedDefense
from feint.signature import Pixels
from feint.victims import Trained


@dataclass(frozen=True)
class AttackerResources:
    """The resources of a victim's attacker, which fill the open fields of attacks and lenses.

    Attributes:
        pool: Images that the attacker queries.
        surrogate: Network of the surrogate.
        training: Training of the surrogate.
    """

    pool: Split
    surrogate: Network
    training: Training


@dataclass(frozen=True)
class Leak:
    """Secrets of an owner, for lenses that are upper bounds.

    Attributes:
        defense: The fitted defense.
        model: The model behind it.
    """

    defense: Defense | Ladder
    model: Classifier


@dataclass(frozen=True)
class Suite(SuiteTables):
    """A suite. Nothing is read, trained or fitted before `prepare.matrices`."""

    def on(self, victim: str) -> list[str]:
        """Return the defenses of a victim."""
        return [name for name, entry in self.defenses.items() if entry.victims is None or victim in entry.victims]

    def resources(self, victim: str) -> AttackerResources:
        """Return a stand-in for the attacker's resources: enough to build recipes, without reading data."""
        entry = self.victims[victim]
        network = Network(entry.surrogate or entry.network, Pixels((3, 32, 32)), 10)
        return AttackerResources(Split(entry.data, "pool", ""), network, self.training_on(victim, network))

    def training_on(self, victim: str, surrogate: Network) -> Training:
        """Return the training of this victim's surrogates, whose network is `surrogate`."""
        return self.victims[victim].surrogate_training or self.training or default_training(surrogate)

    def most_seeds(self) -> dict[str, int]:
        """Return the number of seeds on each defense that is run with fewer than the others."""
        return {name: entry.seeds for name, entry in self.defenses.items() if entry.seeds is not None}

    def defense_budgets(self) -> dict[str, tuple[int, ...]]:
        """Return the budgets on each defense that has others than its victim."""
        return {name: entry.budgets for name, entry in self.defenses.items() if entry.budgets is not None}

    def budgets_on(self, victim: str) -> tuple[int, ...]:
        """Return the budgets of the attacks on this victim, for defenses that have none of their own."""
        return self.victims[victim].budgets or self.budgets

    def springboard_on(self, victim: str, members: Split | None = None) -> Springboard | None:
        """Return the downstream attacks with this victim's surrogates, if there are any.

        Args:
            victim: Name of the victim.
            members: The victim's training inputs, for membership inference.

        Returns:
            The downstream attacks; None where the suite has none for this victim.

        Raises:
            BadRecipe: A field is wrong.
        """
        fields = self.victims[victim].springboard
        if fields is None:
            return Springboard(members) if self.springboard else None
        if "members" in fields:
            raise BadRecipe(f"victims.{victim}.springboard with members", "its other fields", "leave them out")
        where = f"victims.{victim}.springboard"
        return build(where, {"members": members, **fields}, {where: Springboard})

    def ownership_on(self, victim: str) -> ClaimTrial | None:
        """Return the recipe of the claims against this victim's copies, or None; a wrong field raises `BadRecipe`."""
        fields = self.victims[victim].ownership
        return None if fields is None else from_table({"kind": "ClaimTrial", **fields}, registry.vocabulary())

    def recipe(self, defense: str) -> Defense | Ladder:
        """Build the recipe of a defense, before any part of it is fitted. Raises `UnknownName` or `BadRecipe`."""
        entry = self.defenses[defense]
        for boundary in self.boundary(defense):
            _checked(boundary, Boundary, f"defenses.{defense}.boundary")
        if entry.recipe is not None:
            return _checked(
                from_table(entry.recipe, registry.vocabulary()), (Defense, Ladder), f"defenses.{defense}.recipe"
            )
        parts = {
            part: [from_table(table, registry.vocabulary()) for table in getattr(entry, part)] for part in parsing.ROOMS
        }
        for part, steps in parts.items():
            for step in steps:
                _checked(step, parsing.ROOMS[part], f"defenses.{defense}.{part}")
        return Defense(**parts)

    def boundary(self, defense: str) -> list[Any]:
        """Build the recipes that retrain the victim."""
        return [from_table(table, registry.vocabulary()) for table in self.defenses[defense].boundary]

    def attacks_on(self, victim: str, defense: str, resources: AttackerResources) -> dict[str, Attack]:
        """Build the attacks on a defense of a victim, without lenses."""
        tables = {
            name: entry.recipe
            for name, entry in self._attacks(victim).items()
            if entry.only is None or defense in entry.only
        }
        words, fields = registry.vocabulary(), vars(resources)
        built = {name: from_table(table, words, whole=(Attack,), **fields) for name, table in tables.items()}
        return {name: _checked(attack, Attack, f"attacks.{name}") for name, attack in built.items()}

    def thefts_on(
        self, victim: str, defense: str, resources: AttackerResources, leak: Leak | None = None
    ) -> dict[str, Attack]:
        """Build all that is run on a defense of a victim: its attacks without lenses, and through its lenses.

        Args:
            victim: Name of the victim.
            defense: Name of the defense.
            resources: The attacker's resources.
            leak: Secrets of the owner; without them, lenses that need one get a stand-in.

        Returns:
            The attacks by their names in rows.
        """
        attacks = self.attacks_on(victim, defense, resources)
        combined = {name: entry.attacks for name, entry in self.lenses.items() if entry.attacks is not None}
        thefts = through(attacks, self.lenses_on(defense, resources, leak), combined)
        alone = {name: entry.alone for name, entry in self._attacks(victim).items() if entry.alone is not None}
        return {name: attack for name, attack in thefts.items() if defense in alone.get(name, [defense])}

    def lenses_on(
        self, defense: str, resources: AttackerResources, leak: Leak | None = None
    ) -> dict[str, tuple[Lens, ...]]:
        """Build the lenses on a defense. Without a `leak`, lenses that need one get a stand-in."""
        incompatible = self.incompatible_lenses(defense)
        return {
            name: self._lens(name, defense, resources, leak)
            for name, entry in self.lenses.items()
            if name not in incompatible and (entry.only is None or defense in entry.only)
        }

    def incompatible_lenses(self, defense: str) -> dict[str, str]:
        """Return the lenses that cannot be put before a defense, with the reasons."""
        resources = self.resources(next(iter(self.victims)))
        reasons = {name: self._incompatible(name, defense, resources) for name in self.lenses}
        return {name: reason for name, reason in reasons.items() if reason}

    def cells(self, only: str = "") -> list[Cell]:
        """List all cells, those of the first victim first; with a regular expression, those that match (`Matrix`)."""
        return [cell for victim in self.victims for cell in self._cells(victim, only)]

    def _attacks(self, victim: str) -> dict[str, AttackEntry]:
        return {**self.attacks, **self.victims[victim].attacks}

    def _cells(self, victim: str, only: str) -> list[Cell]:
        resources = self.resources(victim)
        names = {defense: list(self.thefts_on(victim, defense, resources)) for defense in self.on(victim)}
        return cells(
            victim,
            names,
            self.budgets_on(victim),
            range(self.seeds),
            only=only,
            most_seeds=self.most_seeds(),
            defense_budgets=self.defense_budgets(),
        )

    def with_seeds(self, seeds: int) -> "Suite":
        """Return the same suite with another number of seeds."""
        return replace(self, seeds=seeds)

    def _lens(
        self, name: str, defense: str, resources: AttackerResources, leak: Leak | None = None
    ) -> tuple[Lens, ...]:
        fields = vars(resources) | self._knowledge(name, defense, resources, leak)
        steps = [from_table(table, registry.vocabulary(), **fields) for table in self.lenses[name].steps]
        return tuple(_checked(step, Lens, f"lenses.{name}.steps") for step in steps)

    def _knowledge(
        self, name: str, defense: str, resources: AttackerResources, leak: Leak | None = None
    ) -> dict[str, Any]:
        """Return the fields of a lens that knowledge about a defense fills."""
        if not self.lenses[name].leaked:
            return _knowledge_of(self.recipe(defense))
        if leak is None:
            stand_in = Trained(resources.surrogate, Weights(""))
            return _knowledge_of(self.recipe(defense), leaked=True) | {"victim": stand_in}
        return _knowledge_of(leak.defense, leaked=True) | {"victim": Trained.of(leak.model)}

    def _incompatible(self, name: str, defense: str, resources: AttackerResources) -> str:
        recipe = self.recipe(defense)
        for reason in _missing(self.lenses[name].steps, self._knowledge(name, defense, resources)):
            return reason
        suspected = recipe if isinstance(recipe, Defense) else Defense()  # which rung of a ladder answers is not known
        reasons = (lens.incompatible(suspected) for lens in self._lens(name, defense, resources))
        return next(filter(None, reasons), "")


def _knowledge_of(recipe: Defense | Ladder, *, leaked: bool = False) -> dict[str, Any]:
    """Return the fields that knowledge about a defense fills: its method and numbers, or everything with `leaked`."""
    if isinstance(recipe, Ladder) or not (recipe.inputs or recipe.outputs):
        return {}
    known: dict[str, Any] = {"rehearsal": SuspectedDefense(replace(recipe, access=()), leaked)}
    alone = recipe.outputs[0] if not recipe.inputs and len(recipe.outputs) == 1 else None
    known |= {"defense": alone} if isinstance(alone, Elementwise) else {}
    known |= {"noise": alone} if isinstance(alone, HasExpectation) else {}
    return known


def _missing(steps: tuple[Table, ...], known: Mapping[str, Any]) -> Iterator[str]:
    """Yield the reasons why fields that these lenses need are neither set nor filled by knowledge."""
    for step in steps:
        needs: Mapping[str, str] = getattr(registry.vocabulary().get(str(step.get("kind"))), "needs", {})
        yield from (reason for field, reason in needs.items() if field not in step and field not in known)


def _checked(recipe: Any, kind: Any, where: str) -> Any:
    if not isinstance(recipe, kind):
        names = " or ".join(cls.__name__ for cls in (kind if isinstance(kind, tuple) else (kind,)))
        article = re.sub(r"^(?=[AEIOU])", "an ", names) if names[0] in "AEIOU" else f"a {names}"
        raise BadRecipe(f"{where} with {recipe!r}", article, "move it where it belongs")
    return recipe
