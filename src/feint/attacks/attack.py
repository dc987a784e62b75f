"""What every attack is, and how it looks through lenses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from feint.attacks.lenses import Lens
from feint.networks import Classifier
from feint.oracle import Oracle
from feint.watch import SILENT, Watch


class Attack(ABC):
    """An attack is a frozen dataclass that defines `steal`."""

    cite: ClassVar[str]
    believes: ClassVar[bool] = True  # whether it learns from the answers as they are: the naive thief

    @abstractmethod
    def steal(self, oracle: Oracle, *, seed: int = 0, watch: Watch = SILENT) -> Classifier:
        """A surrogate learned from what the oracle answers within its budget. Same seed, same weights.

        A refused attack learns from what it got; the refusal is raised where that is nothing.
        """

    def through(self, *lenses: Lens) -> "Through":
        """This attack, looking at the oracle through `lenses`: the first one is nearest to the attack."""
        return Through(self, lenses)


@dataclass(frozen=True)
class Through(Attack):
    """An attack that looks through lenses."""

    attack: Attack
    lenses: tuple[Lens, ...]

    @property
    def cite(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.attack.cite

    def steal(self, oracle: Oracle, *, seed: int = 0, watch: Watch = SILENT) -> Classifier:
        for lens in reversed(self.lenses):
            oracle = lens(oracle, watch=watch)
        return self.attack.steal(oracle, seed=seed, watch=watch)
