"""Fitting a defense: the context that it learns from, and the base of all steps that learn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from feint.progress import NO_PROGRESS, ProgressCallback

if TYPE_CHECKING:  # rules without torch are fitted as well
    from feint.data import Split


@dataclass(frozen=True, eq=False)
class FitContext:
    """Everything that a step may learn from.

    Attributes:
        victim: The model to defend, a torch module from inputs to logits. Methods that build a network like it require
            a `feint.models.networks.Classifier`.
        inputs: Labelled inputs of the victim's task.
        outliers: Inputs of another task, of the same shape; None where there are none.
        seed: Same context and seed, same result on one machine.
        watch: Progress callback, and the directory in which trainings keep their checkpoints.
    """

    victim: Any
    inputs: "Split"
    outliers: "Split | None" = None
    seed: int = 0
    progress: ProgressCallback = NO_PROGRESS


class Fittable(ABC):
    """A step that learns from a victim and its inputs before it answers. A method defines `fit_from`."""

    def fit(
        self,
        victim: Any,
        inputs: "Split",
        *,
        outliers: "Split | None" = None,
        seed: int = 0,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Self:
        """Return a copy of this recipe that holds what it learned. See `FitContext` for the arguments.

        Raises:
            BadInput: if the data do not belong to the victim, or outliers are required and missing.
        """
        return self.fit_from(FitContext(victim, inputs, outliers, seed, progress))

    @abstractmethod
    def fit_from(self, context: FitContext) -> Self: ...
