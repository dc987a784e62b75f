"""Tables of a suite's TOML file, as dataclasses whose fields are the keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from feint.errors import BadRecipe
from feint.evaluation.decisions import check_threshold
from feint.models.training import Training

Table = Mapping[str, Any]


@dataclass(frozen=True)
class AttackEntry:
    """An attack, `[attacks.NAME]`.

    Attributes:
        recipe: The recipe, with its `kind`.
        only: Defenses that it is run on; by default all.
        alone: Of these, the defenses that it is run on without a lens too; by default all.
    """

    recipe: Table
    only: tuple[str, ...] | None = None
    alone: tuple[str, ...] | None = None


@dataclass(frozen=True)
class VictimEntry:
    """A victim, `[victims.NAME]`: a network on a data set, trained here or with published weights.

    Attributes:
        data: Name of the data set.
        network: Name of the network.
        training: Training of the victim.
        weights: An .npz file, in the working directory or under FEINT_DATA, in place of a training.
        learns_from: Part of the data set that it is trained on, and whose members are inferred.
        pool: Images that the attacker queries, like "cifar100/train"; by default the data set's pool. Images of
            another size are scaled to the victim's.
        surrogate: Network of the surrogate; by default the victim's.
        surrogate_training: Training of the surrogate; by default the suite's `training`.
        budgets: Budgets in place of the suite's.
        attacks: Attacks on this victim alone, in place of the suite's attacks of the same name.
        springboard: Fields of `Springboard`, which turn downstream attacks on for this victim.
        threshold: The owner's threshold: the probability from which on an input counts as positive.
        ownership: Fields of `ClaimTrial`, which turn claims against the copies of this victim on.
    """

    data: str
    network: str
    training: Training | None = None
    weights: str | None = None
    learns_from: str = "train"
    pool: str | None = None
    surrogate: str | None = None
    surrogate_training: Training | None = None
    budgets: tuple[int, ...] | None = None
    attacks: Mapping[str, AttackEntry] = field(default_factory=dict)
    springboard: Table | None = None
    threshold: float | None = None
    ownership: Table | None = None

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.training is not None and self.weights is not None:
            raise BadRecipe("a victim with training and weights", "one of them", "leave one out")
        _check_budgets("a victim", self.budgets)


@dataclass(frozen=True)
class DefenseEntry:
    """A defense, `[defenses.NAME]`: recipes for the parts of a line, or one `recipe` of a Defense or a Ladder.

    Attributes:
        boundary: Recipes that retrain the victim; the other parts then defend the retrained one.
        access: Access rules.
        inputs: Input defenses.
        outputs: Output defenses.
        recipe: A whole Defense or Ladder, in place of access, inputs and outputs.
        learns_from: Part of the victim's data set that defenses are fitted on.
        outliers: Part of another data set, for defenses that are fitted with outliers.
        victims: Victims that it defends; by default all.
        seeds: Most seeds of the attacks on it, where one row is enough; by default all of the suite.
        budgets: Budgets in place of the suite's and the victim's.
    """

    boundary: tuple[Table, ...] = ()
    access: tuple[Table, ...] = ()
    inputs: tuple[Table, ...] = ()
    outputs: tuple[Table, ...] = ()
    recipe: Table | None = None
    learns_from: str = "train"
    outliers: str | None = None
    victims: tuple[str, ...] | None = None
    seeds: int | None = None
    budgets: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 1:
            raise BadRecipe(f"a defense with {self.seeds} seeds", "1 or more", "change it")
        _check_budgets("a defense", self.budgets)
        if self.recipe is not None and (self.access or self.inputs or self.outputs):
            raise BadRecipe("a whole recipe and recipes beside it", "one or the other", "put them into the recipe")


@dataclass(frozen=True)
class LensEntry:
    """A lens, `[lenses.NAME]`.

    Attributes:
        steps: Recipes of lenses, the first nearest to the attack.
        only: Defenses that it is put before; by default all that it is compatible with.
        attacks: Attacks that it is combined with; by default all.
        leaked: Whether the attacker holds the owner's secrets, the fitted defense and the model behind it. Such a lens
            is an upper bound.
    """

    steps: tuple[Table, ...]
    only: tuple[str, ...] | None = None
    attacks: tuple[str, ...] | None = None
    leaked: bool = False


@dataclass(frozen=True)
class ExpectedEntry:
    """A published value, `[[expected]]`.

    Attributes:
        victim: Name of the victim.
        defense: Name of the defense.
        score: Name of the score.
        value: The value, in the unit that rows use.
        source: Key of the bibliography.
        attack: Name of the attack; empty for utility.
        budget: Queries of the attack.
    """

    victim: str
    defense: str
    score: str
    value: float
    source: str
    attack: str = ""
    budget: int = 0


@dataclass(frozen=True)
class SuiteTables:
    """The tables of a whole suite.

    Attributes:
        title: Title of the suite.
        budgets: Queries of the attacks.
        victims: Victims by name.
        defenses: Defenses by name.
        attacks: Attacks by name.
        seeds: Number of seeds.
        training: Training of surrogates, which fills the open fields of attacks and lenses; by default that of the
            surrogate's network (`feint.attacks.default_training`).
        lenses: Lenses by name.
        expected: Published values to compare with.
        springboard: Whether downstream attacks are run with every surrogate (`feint.evaluation.transfer`).
    """

    title: str
    budgets: tuple[int, ...]
    victims: Mapping[str, VictimEntry]
    defenses: Mapping[str, DefenseEntry]
    attacks: Mapping[str, AttackEntry] = field(default_factory=dict)
    seeds: int = 3
    training: Training | None = None
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


def _check_budgets(owner: str, budgets: tuple[int, ...] | None) -> None:
    if budgets is not None and (not budgets or min(budgets) < 1):
        raise BadRecipe(f"{owner} with budgets {list(budgets)}", "one or more, of 1 or more", "change them")
