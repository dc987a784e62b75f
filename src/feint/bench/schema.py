"""The tables of a suite: frozen dataclasses whose fields are the keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feint.errors import BadRecipe
from feint.models.training import Training

Table = Mapping[str, Any]


@dataclass(frozen=True)
class AttackEntry:
    """`[attacks.NAME]`: a recipe with its `kind`, and `only` the defenses that it is run on, by default all."""

    recipe: Table
    only: tuple[str, ...] | None = None


@dataclass(frozen=True)
class VictimEntry:
    """`[victims.NAME]`: a network on a data set, trained here or with published `weights`.

    `weights` is an .npz file, here or under FEINT_DATA. `pool` is what the attacker asks about, like "cifar100/train":
    by default the data set's own; images of another size are scaled to the victim's. `surrogate` is the attacker's
    network, by default the victim's, and `surrogate_training` how it is trained, by default the suite's `training`.
    `budgets` stand in place of the suite's. `attacks` are run on this victim alone, in place of the suite's of the same
    name. `springboard` has fields of `Springboard`, and turns it on for this victim.
    """

    data: str
    network: str
    training: Training | None = None
    weights: str | None = None
    pool: str | None = None
    surrogate: str | None = None
    surrogate_training: Training | None = None
    budgets: tuple[int, ...] | None = None
    attacks: Mapping[str, AttackEntry] = field(default_factory=dict)
    springboard: Table | None = None

    def __post_init__(self) -> None:
        if self.training is not None and self.weights is not None:
            raise BadRecipe("a victim with training and weights", "one of them", "leave one out")
        if self.budgets is not None and (not self.budgets or min(self.budgets) < 1):
            raise BadRecipe(f"a victim with budgets {list(self.budgets)}", "one or more, of 1 or more", "change them")


@dataclass(frozen=True)
class DefenseEntry:
    """`[defenses.NAME]`: recipes in their places on the line, or one whole `recipe`, a Defense or a Ladder.

    `boundary` makes a new victim, which the others stand before. What learns does so on the part `learns_from` of the
    victim's data set, and on `outliers`, a part of another, where it needs them. `victims` are those that it is for.
    """

    boundary: tuple[Table, ...] = ()
    access: tuple[Table, ...] = ()
    inputs: tuple[Table, ...] = ()
    outputs: tuple[Table, ...] = ()
    recipe: Table | None = None
    learns_from: str = "train"
    outliers: str | None = None
    victims: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.recipe is not None and (self.access or self.inputs or self.outputs):
            raise BadRecipe("a whole recipe and recipes beside it", "one or the other", "put them into the recipe")


@dataclass(frozen=True)
class LensEntry:
    """`[lenses.NAME]`: recipes of lenses, the first nearest to the attack.

    `only` are the defenses that it looks at, by default all that it can be put before, and `attacks` those that look
    through it, by default all. With `leaked` the attacker holds what only the owner has, the fitted defense and the
    model behind it: for upper bounds.
    """

    steps: tuple[Table, ...]
    only: tuple[str, ...] | None = None
    attacks: tuple[str, ...] | None = None
    leaked: bool = False


@dataclass(frozen=True)
class ExpectedEntry:
    """`[[expected]]`: a number that somebody else published; `source` is a key of the bibliography."""

    victim: str
    defense: str
    score: str
    value: float
    source: str
    attack: str = ""
    budget: int = 0


@dataclass(frozen=True)
class SuiteTables:
    """A whole suite. `training` is the surrogate's, and fills the gaps of attacks and lenses. With `springboard`, every
    surrogate is also looked at for what a theft enables (`feint.evaluation.transfer`)."""

    title: str
    budgets: tuple[int, ...]
    victims: Mapping[str, VictimEntry]
    defenses: Mapping[str, DefenseEntry]
    attacks: Mapping[str, AttackEntry] = field(default_factory=dict)
    seeds: int = 3
    training: Training = Training()
    lenses: Mapping[str, LensEntry] = field(default_factory=dict)
    expected: tuple[ExpectedEntry, ...] = ()
    springboard: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.springboard, bool):
            raise BadRecipe(f"springboard = {self.springboard!r}", "true or false", "change it")
        if self.seeds < 1 or not self.budgets or min(self.budgets) < 1 or not self.victims or not self.defenses:
            raise BadRecipe(
                f"{self.seeds} seeds, budgets {list(self.budgets)}, {len(self.victims)} victims and "
                f"{len(self.defenses)} defenses",
                "at least one of each, a budget of 1 or more",
                "add what is missing",
            )
