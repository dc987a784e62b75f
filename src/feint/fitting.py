"""Fitting of defenses: the context that a step learns from, and the base class of all steps that learn."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from feint.errors import NotFitted
from feint.progress import NO_PROGRESS, ProgressCallback

if TYPE_CHECKING:  # rules without torch are fitted as well
    from collections.abc import Mapping

    from torch import Tensor

    from feint.data import Split
    from feint.recipes.store import Weights


@dataclass(frozen=True, eq=False)
class FitContext:
    """Data and settings of a fit.

    Attributes:
        victim: The model to defend, a torch module from inputs to logits. Methods that build a network like it require
            a `feint.models.networks.Classifier`.
        inputs: Labelled inputs of the victim's task.
        outliers: Inputs of another task, of the same shape; None where there are none.
        seed: Seed of all randomness. Same context and seed, same result on one machine.
        progress: Progress callback.
        slices: Inputs of slices that are data sets or files (`feint.defenses.access.slices`) and were read before, by
            name.
    """

    victim: Any
    inputs: "Split"
    outliers: "Split | None" = None
    seed: int = 0
    progress: ProgressCallback = NO_PROGRESS
    slices: "Mapping[str, Split]" = field(default_factory=dict)


class Fittable(ABC):
    """Step that learns from a victim and its inputs before it answers. A method defines `fit_from`."""

    def fit(
        self,
        victim: Any,
        inputs: "Split",
        *,
        outliers: "Split | None" = None,
        seed: int = 0,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> Self:
        """Return a copy of this recipe that holds what it learned.

        Data that do not belong to the victim, and missing outliers where a method needs them, raise `BadInput`.

        Args:
            victim: The model to defend, a torch module from inputs to logits.
            inputs: Labelled inputs of the victim's task. See each method for which ones: a detector or a gate needs
                inputs that the victim was not trained on.
            outliers: Inputs of another task, of the same shape.
            seed: Same arguments and seed, same result on one machine.
            progress: Progress callback.

        Returns:
            The fitted recipe. The original stays as it is.
        """
        return self.fit_from(FitContext(victim, inputs, outliers, seed, progress))

    @abstractmethod
    def fit_from(self, context: FitContext) -> Self:
        """Return a copy of this recipe fitted in `context`."""


def learned_by(step: object, weights: "Weights | None", what: str) -> "Mapping[str, Tensor]":
    """Return the tensors that a step has learned.

    Args:
        step: The step, for the message.
        weights: Its field for them; None before a fit, and without tensors where it was read from text.
        what: What a fit learns, like "a fitted generator".

    Raises:
        NotFitted: It has learned nothing.
    """
    if weights is None or not weights.tensors:
        raise NotFitted(f"{step!r}", what, f"fit it first: feint fit, or {type(step).__name__}(…).fit(…)")
    return weights.tensors
