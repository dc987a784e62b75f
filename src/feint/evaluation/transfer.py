"""The springboard: what a theft enables, measured on the surrogate that it left."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.evaluation.metrics import auroc
from feint.models.perturbation import FGSM, PGD, GradientStep, StepState, margin_gradient, margin_of
from feint.query import Query
from feint.service import Service

BATCH = 250
RATE = 0.01  # of false alarms


@dataclass(frozen=True)
class Springboard:
    """What is tried on a surrogate: adversarial examples for the service, and whom the victim was trained on.

    *Transfer* (Papernot et al., AsiaCCS 2017): up to `most` test inputs that the service gets right are changed by at
    most `radius` in every pixel, in units of 1/255, to make the surrogate err: by one step (FGSM) or by `steps`, each a
    quarter of the radius (PGD). The score is the share that the service then gets wrong; beside it that for
    random signs of the same size, which no theft is needed for. Untargeted.

    *Membership* (Yeom et al., CSF 2018): `members`, the victim's training inputs, are told from as many test inputs by
    the surrogate's loss, the smaller the more likely a member. AUROC, 0.5 for nothing, and the share of members that is
    found with 1 % of the others accused (Carlini et al., S&P 2022). Without `members` it is left out.
    """

    members: Split | None = None
    radius: float = 8.0
    steps: int = 10
    most: int = 1000

    def __post_init__(self) -> None:
        if not (0 < self.radius < 255 and self.steps >= 1 and self.most >= 1):
            raise BadRecipe(repr(self), "0 < radius < 255, and 1 step and 1 input or more", "change it")

    def scores(self, surrogate: nn.Module, service: Service, test: Split) -> dict[str, float]:
        """The scores of a surrogate of the model behind `service`, whose access rules are left out and whose ledger is
        not written to. What has no value is missing: transfer from a surrogate without gradients, or where the service
        is never right."""
        surrogate = surrogate.eval()
        return self._transfer(surrogate, service, test) | self._membership(surrogate, test)

    def _transfer(self, surrogate: nn.Module, service: Service, test: Split) -> dict[str, float]:
        service = Service(service.model, replace(service.defense, access=()))
        x, y = test.inputs(slice(0, self.most)), test.labels[: self.most]
        right = _label(service, x) == y
        x, y, radius = x[right], y[right], self.radius / 255
        if not len(x):
            return {}
        signs = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).sign()
        tried = {"transfer_random": (x + radius * signs).clamp(0, 1)}
        try:
            tried["transfer_fgsm"] = adversarial(surrogate, x, y, FGSM(radius), steps=1)
            tried["transfer_pgd"] = adversarial(surrogate, x, y, PGD(radius / 4, radius), steps=self.steps)
        except BadInput:  # a surrogate that is a tree
            pass
        scores = {name: (_label(service, it) != y).double().mean().item() for name, it in tried.items()}
        return scores | {"transfer_n": len(x)}

    def _membership(self, surrogate: nn.Module, test: Split) -> dict[str, float]:
        if self.members is None:
            return {}
        n = min(self.most, len(self.members), len(test))
        inside, outside = (_log_likelihood(surrogate, split, n) for split in (self.members, test))
        member = torch.arange(2 * n) < n
        return {
            "membership_auroc": auroc(torch.cat([inside, outside]), member),
            "membership_tpr": true_positives(inside, outside),
            "membership_n": n,
        }


def adversarial(model: nn.Module, x: Tensor, y: Tensor, step: GradientStep, *, steps: int) -> Tensor:
    """The inputs `x` (N, …) in [0, 1] after so many moves of `step` down the margin of their classes `y` (N,)."""
    return torch.cat([
        _moved(model, x[rows], y[rows], step, steps) for rows in torch.arange(len(x)).split(BATCH)
    ])  # fmt: skip


@torch.enable_grad()
def _moved(model: nn.Module, origin: Tensor, y: Tensor, step: GradientStep, steps: int) -> Tensor:
    x, memory = origin, ()
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        margin = margin_of(model(leaf).float(), y)
        place = StepState(x, origin, margin.detach(), margin_gradient(margin, leaf))
        x, memory = step.move(place, memory)
    return x.detach()


def true_positives(inside: Tensor, outside: Tensor, rate: float = RATE) -> float:
    """The share of `inside` (N,) above a threshold that at most the share `rate` of `outside` (M,) is above."""
    allowed = math.floor(rate * len(outside) + 1e-9)  # 0.29 · 100 is 28.999999999999996
    threshold = outside.sort(descending=True).values[allowed]
    return (inside > threshold).double().mean().item()


def _label(service: Service, x: Tensor) -> Tensor:
    return torch.cat([service(Query(batch, client="springboard")).p.argmax(-1) for batch in x.split(BATCH)])


def _log_likelihood(model: nn.Module, split: Split, n: int) -> Tensor:
    """log p of the true class (n,), float64, for `n` inputs that are evenly spread."""
    rows = torch.linspace(0, len(split) - 1, n).long()
    z = torch.cat(list(_logits(model, split, rows))).double()
    return z.log_softmax(-1).gather(-1, split.labels[rows, None])[:, 0]


@torch.no_grad()
def _logits(model: nn.Module, split: Split, rows: Tensor) -> Iterator[Tensor]:
    for part in rows.split(BATCH):
        yield model(split.inputs(part)).float()
