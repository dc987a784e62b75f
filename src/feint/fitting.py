"""Fitting context, and the base class of the steps that learn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from feint.progress import NO_PROGRESS, ProgressCallback

if TYPE_CHECKING:  # rules without torch are fitted as well
    from feint.data import Split


@dataclass(frozen=True, eq=False)
class FitContext:
    """Model, data and seed that a step learns from.

    Attributes:
        victim: The model to defend, a torch module from inputs to logits. Methods that build a network like it require
            a `feint.models.networks.Classifier`.
        inputs: Labelled inputs of the victim's task.
        outliers: Inputs of another task, of the same shape; None where there are none.
        seed: Same context and seed, same result on one machine.
        progress: Progress callback, with the directory in which trainings keep their checkpoints.
    """

    victim: Any
    inputs: "Split"
    outliers: "Split | None" = None
    seed: int = 0
    progress: ProgressCallback = NO_PROGRESS


class Fittable(ABC):
    """Base class of the steps that learn from a victim before they answer. A method defines `fit_from`."""

    def fit(
        self,
        victim: Any,
        inputs: "Split",
        *,
        outliers: "Split | None" = None,
        seed: int = 0,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Self:
        """Return a copy of this recipe with its learned tensors. See `FitContext` for the arguments.

        The data must belong to the victim. Methods that need outliers raise `BadInput` without them.
        """
        return self.fit_from(FitContext(victim, inputs, outliers, seed, progress))

    @abstractmethod
    def fit_from(self, context: FitContext) -> Self:
        """Return a copy of this recipe, fitted in `context`."""
