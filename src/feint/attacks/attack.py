"""What every attack is, and how it looks through lenses."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from feint.attacks.lenses.lens import Lens
from feint.models.networks import Classifier
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


class Attack(ABC):
    """An attack is a frozen dataclass that defines `steal`."""

    cite: ClassVar[str]
    is_naive: ClassVar[bool] = True  # whether it learns from the answers as they are: the naive thief

    @abstractmethod
    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        """A surrogate learned from what the oracle answers within its budget. Same seed, same weights.

        A refused attack learns from what it got; the refusal is raised where that is nothing.
        """

    def through(self, *lenses: Lens) -> "LensedAttack":
        """This attack, looking at the oracle through `lenses`: the first one is nearest to the attack."""
        return LensedAttack(self, lenses)


@dataclass(frozen=True)
class LensedAttack(Attack):
    """An attack that looks through lenses."""

    attack: Attack
    lenses: tuple[Lens, ...]

    @property
    def cite(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.attack.cite

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        for lens in reversed(self.lenses):
            oracle = lens(oracle, progress=progress)
        return self.attack.steal(oracle, seed=seed, progress=progress)
