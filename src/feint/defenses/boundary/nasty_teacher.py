"""Nasty teacher."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.boundary.boundary import FINE_TUNING, Boundary, Retrained, check_at_least, train_model
from feint.errors import BadRecipe
from feint.fitting import FitContext
from feint.models.training import Batch, Training


@dataclass(frozen=True)
class NastyTeacher(Boundary):
    """Teacher from which students learn little (Ma, Chen, Hu, You, Xie and Wang, ICLR 2021).

    With T = `temperature`::

        minimise   CE(f(x), y) − weight · T² · KL(softmax(f(x) / T) ‖ softmax(a(x) / T))

    a is the adversarial network, an ordinarily trained one of the same architecture that is not changed: here the model
    to defend. The label stays right while the rest of the answer moves away from that of an honest network. T = 4 and
    0.04 are the paper's for CIFAR-10, T = 20 and 0.005 for CIFAR-100. The paper trains from new weights for 160 epochs
    (`from_scratch`). Fine-tuning begins where the divergence is 0, so that it grows from small differences. The attack
    against which the paper measures it, distillation at T with true labels, is not among Feint's.

    Attributes:
        temperature: T, above 0.
        weight: Weight of the divergence, 0 or more.
        training: Length and learning rate of the training.
        from_scratch: Whether to begin with new weights.
    """

    cite: ClassVar[str] = "ma2021undistillable"
    temperature: float = 4.0
    weight: float = 0.04
    training: Training = FINE_TUNING
    from_scratch: bool = False

    def __post_init__(self) -> None:
        check_at_least(self, 0, self.weight, self.temperature)
        if not self.temperature > 0:
            raise BadRecipe(f"a temperature of {self.temperature}", "more than 0", "raise it")

    def retrain_from(self, context: FitContext) -> Retrained:
        """See `Boundary.retrain`; outliers are not used."""
        adversary = copy.deepcopy(context.victim).eval().requires_grad_(False)
        return train_model(self, context, partial(self.loss, adversary))

    def loss(self, adversary: nn.Module, model: nn.Module, batch: Batch) -> Tensor:
        """Return the objective above on a batch, with `adversary` as a."""
        logits = model(batch.x).float()
        with torch.no_grad():
            others = adversary.to(batch.x.device)(batch.x).float()
        return F.cross_entropy(logits, batch.targets) - self.weight * divergence(logits, others, self.temperature)


def divergence(logits: Tensor, others: Tensor, temperature: float) -> Tensor:
    """Return T² times the mean KL divergence of softmax(`logits` / T) from softmax(`others` / T), both (N, K)."""
    log_p, log_q = ((z / temperature).log_softmax(-1) for z in (logits, others))
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(-1).mean()
