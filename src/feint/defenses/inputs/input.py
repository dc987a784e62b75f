"""Base of the input defenses: maps of inputs in [0, 1] that may use the model and leave it as it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from feint.errors import BadInput


class Input(ABC):
    """Input defense, `(x, model) -> x`. A method is a frozen dataclass that defines `perturb`.

    Attributes:
        cite: Key of the paper in docs/references.bib.
        randomised: Whether the perturbation is drawn at random, keyed by the input.
        countermeasures: Lenses of attackers who know the method; see `feint.defenses.outputs.Output`.
    """

    cite: ClassVar[str]
    randomised: ClassVar[bool] = False
    countermeasures: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        """Return the perturbed inputs, each row on its own.

        Gradients may be taken of inputs (`torch.autograd.grad`), and never accumulate in the model's parameters.

        Args:
            x: Inputs, (N, …) in [0, 1], N ≥ 1.
            model: The model in evaluation mode, from inputs to logits.

        Returns:
            Inputs in [0, 1] of the same shape and type.
        """

    @final
    def __call__(self, x: Tensor, model: nn.Module) -> Tensor:
        """Perturb `x` and check the result.

        Args:
            x: Inputs, (N, …) in [0, 1].
            model: The model in evaluation mode.

        Returns:
            The perturbed inputs, of the same shape and type.

        Raises:
            BadInput: for anything but inputs in [0, 1] and a model in evaluation mode.
        """
        _check(x)
        if model.training:
            raise BadInput("a model in training mode", "one in evaluation mode, as it is served", "call model.eval()")
        if not x.numel():
            return x.detach()
        with torch.inference_mode(False), torch.enable_grad():  # a caller's no_grad() switches no defense off
            # a tensor made in inference mode can take no part in a gradient; a copy made here can
            plain = x.clone() if x.is_inference() else x.detach()
            perturbed = self.perturb(plain, model).detach()
        if perturbed.shape != x.shape or perturbed.dtype != x.dtype:
            raise BadInput(
                f"perturbed inputs of shape {tuple(perturbed.shape)} and type {perturbed.dtype}",
                f"{tuple(x.shape)} and {x.dtype} as they came",
                f"mend {type(self).__name__}",
            )
        _check(perturbed)
        return perturbed


def _check(x: Tensor) -> None:
    if x.ndim < 2 or not x.is_floating_point():
        raise BadInput(
            f"inputs of shape {tuple(x.shape)} and type {x.dtype}", "a batch (N, …) of floating-point values", "convert"
        )
    if not x.numel():
        return
    low, high = (value.item() for value in x.aminmax())
    if not (low >= 0.0 and high <= 1.0):  # written so that NaN is refused as well
        raise BadInput(f"inputs from {low:.3g} to {high:.3g}", "values in [0, 1]", "send plain pixels")


def check_images(x: Tensor) -> None:
    """Raise `BadInput` unless `x` is (N, C, H, W)."""
    if x.ndim != 4:
        raise BadInput(f"inputs of shape {tuple(x.shape)}", "images (N, C, H, W)", "use another input defense")
