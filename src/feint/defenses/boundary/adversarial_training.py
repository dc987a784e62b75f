"""Adversarial training."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.boundary.boundary import FINE_TUNING, Boundary, Retrained, check_at_least, train_model
from feint.defenses.domains import input_domain
from feint.errors import BadRecipe
from feint.fitting import FitContext
from feint.models.charts import chart
from feint.models.training import Batch, Training
from feint.signature import Columns, Domain, Pixels


@dataclass(frozen=True)
class AdversarialTraining(Boundary):
    """Training for correct answers all around an input (Madry, Makelov, Schmidt, Tsipras and Vladu, ICLR 2018).

    The objective, with the largest change of a value as the norm (of a pixel in [0, 1], of a column as a share of its
    range; categories and missing values stay), is::

        minimise   CE(f(x'), y),   x' ≈ argmax CE(f(x'), y) over |x' − x| ≤ radius

    x' comes from projected gradient ascent: `steps` steps of size `step` along the sign of the gradient from a random
    start. One step is FGSM with a random start. It is the first phase of AMAO (Jiang et al., TDSC 2024). Defaults are
    those of the original for CIFAR-10. Here the steps see the network in evaluation mode, so that its batch statistics
    are those of the training alone. Each epoch costs `steps` + 1 ordinary ones.

    Attributes:
        radius: Largest change of a value, in [0, 1].
        step: Size of a step, above 0.
        steps: Steps for each batch, 1 or more.
        training: Length and learning rate of the training.
        from_scratch: Whether to begin with new weights.
    """

    cite: ClassVar[str] = "madry2018towards"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    radius: float = 8 / 255
    step: float = 2 / 255
    steps: int = 7
    training: Training = FINE_TUNING
    from_scratch: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, 0, self.radius, self.step)
        check_at_least(self, 1, self.steps)
        if not (self.radius <= 1 and self.step > 0):
            raise BadRecipe(repr(self), "a radius of at most 1 and a step of more than 0", "inputs are in [0, 1]")

    def retrain_from(self, context: FitContext) -> Retrained:
        """See `Boundary.retrain`; outliers are not used."""
        return train_model(self, context, self.loss)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the objective above on a batch."""
        return F.cross_entropy(model(self.worst(model, batch.x, batch.targets)).float(), batch.targets)

    @torch.enable_grad()
    def worst(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Return inputs near `x` that the model finds hard to classify.

        Args:
            model: The model, which stays as it is.
            x: Inputs, (N, …).
            y: Their classes, (N,).

        Returns:
            Inputs of the same shape, within `radius`.
        """
        training = model.training
        model.eval()
        coordinates = chart(input_domain(x, model), x)
        start = coordinates.start
        low, high = (start - self.radius).clamp_min(0), (start + self.radius).clamp_max(1)
        drawn = torch.rand(x.shape).to(start)  # drawn on the CPU: the same on every device
        near = start + self.radius * (2 * drawn - 1)
        for _ in range(self.steps):
            near = near.clamp(low, high).detach().requires_grad_()
            loss = F.cross_entropy(model(coordinates.inputs(near)).float(), y, reduction="sum")
            (slope,) = torch.autograd.grad(loss, near)
            near = near + self.step * slope.sign()
        model.train(training)
        return coordinates.inputs(near.clamp(low, high).detach())
