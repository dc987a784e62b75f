"""Base of the input defenses: maps of a domain to itself that may use the model and leave it as it is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from feint.defenses.domains import as_array, input_domain
from feint.errors import BadInput
from feint.query import quantize
from feint.signature.support import DomainSpecific


class Input(DomainSpecific, ABC):
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
            x: Inputs, (N, …) of the model's domain, N ≥ 1.
            model: The model in evaluation mode, from inputs to logits.

        Returns:
            Inputs of the same domain, shape and type.
        """

    @final
    def __call__(self, x: Tensor, model: nn.Module) -> Tensor:
        """Perturb `x` and check the result.

        Args:
            x: Inputs, (N, …) of the model's domain.
            model: The model in evaluation mode.

        Returns:
            The perturbed inputs, of the same domain, shape and type.

        Raises:
            BadInput: for inputs outside the domain or of a kind that the method does not take, and for a model in
                training mode.
        """
        domain = input_domain(x, model)
        domain.check(as_array(x))
        self.require_domain(domain)
        if model.training:
            raise BadInput("a model in training mode", "one in evaluation mode, as it is served", "call model.eval()")
        if not x.numel():
            return x.detach()
        with torch.inference_mode(False), torch.enable_grad():  # a caller's no_grad() switches no defense off
            # a tensor made in inference mode can take no part in a gradient; a copy made here can
            plain = x.clone() if x.is_inference() else x.detach()
            if self.randomised:  # what is drawn by the mark is applied to what the mark tells
                plain = quantize(plain)
            perturbed = self.perturb(plain, model).detach()
        if perturbed.shape != x.shape or perturbed.dtype != x.dtype:
            raise BadInput(
                f"perturbed inputs of shape {tuple(perturbed.shape)} and type {perturbed.dtype}",
                f"{tuple(x.shape)} and {x.dtype} as they came",
                f"mend {type(self).__name__}",
            )
        domain.check(as_array(perturbed))
        return perturbed


def check_images(x: Tensor) -> None:
    """Raise `BadInput` unless `x` is (N, C, H, W)."""
    if x.ndim != 4:
        raise BadInput(f"inputs of shape {tuple(x.shape)}", "images (N, C, H, W)", "use another input defense")
