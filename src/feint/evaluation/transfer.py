"""Downstream attacks with a stolen surrogate: transferred adversarial examples and membership inference."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.evaluation.decisions import RATE, auroc, cut
from feint.models.charts import Chart, chart
from feint.models.perturbation import FGSM, PGD, GradientStep, StepState, margin_gradient, margin_of
from feint.query import Query
from feint.service import Service
from feint.signature import Domain, domain_like

BATCH = 250


@dataclass(frozen=True)
class Springboard:
    """Downstream attacks with a surrogate: adversarial examples for the service, and membership inference.

    *Transfer* (Papernot et al., AsiaCCS 2017): test inputs that the service classifies correctly are changed by at most
    `radius` in every pixel, or in every number of a row as a share of its column's range, so that the surrogate errs:
    in one step (FGSM), or in `steps` of a quarter of the radius (PGD). The attacks are untargeted. The score is the
    share that the service then misclassifies. The baseline is random signs of the same size, which need no theft.
    Tokens and texts have no transfer scores.

    *Membership* (Yeom et al., CSF 2018): the surrogate's loss separates the victim's training inputs from as many test
    inputs; the smaller the loss, the more likely a member. The scores are the AUROC (0.5 is chance) and the true
    positive rate at a false positive rate of 1 % (Carlini et al., S&P 2022).

    Attributes:
        members: The victim's training inputs; None leaves membership out.
        radius: Largest change of a value, in units of 1/255 of its range.
        steps: Steps of PGD.
        most: Largest number of test inputs, and of members.
    """

    members: Split | None = None
    radius: float = 8.0
    steps: int = 10
    most: int = 1000

    def __post_init__(self) -> None:
        if not (0 < self.radius < 255 and self.steps >= 1 and self.most >= 1):
            raise BadRecipe(repr(self), "0 < radius < 255, and 1 step and 1 input or more", "change it")

    def scores(self, surrogate: nn.Module, service: Service, test: Split) -> dict[str, float]:
        """Attack the service with a surrogate of its model.

        Access rules are left out, and the service's ledger is not written to.

        Args:
            surrogate: The stolen model.
            service: The victim behind its defense.
            test: The test set.

        Returns:
            The scores by name. A score without a value is missing: transfer of inputs without gradients, from a
            surrogate without gradients, or to a service that is never right.
        """
        surrogate = surrogate.eval()
        return self._transfer(surrogate, service, test) | self._membership(surrogate, test)

    def _transfer(self, surrogate: nn.Module, service: Service, test: Split) -> dict[str, float]:
        service = Service(service.model, replace(service.defense, access=()))
        x, y = test.inputs(slice(0, self.most)), test.labels[: self.most]
        right = _label(service, x) == y
        x, y, radius = x[right], y[right], self.radius / 255
        if not len(x):
            return {}
        try:
            coordinates = chart(test.domain, x)
        except BadInput:  # texts, or a table whose owner published no ranges
            return {}
        u = coordinates.start
        signs = torch.randn(u.shape, generator=torch.Generator().manual_seed(0)).sign()
        examples = {"transfer_random": coordinates.inputs((u + radius * signs).clamp(0, 1))}
        try:
            examples["transfer_fgsm"] = adversarial(surrogate, x, y, FGSM(radius), steps=1, domain=test.domain)
            examples["transfer_pgd"] = adversarial(
                surrogate, x, y, PGD(radius / 4, radius), steps=self.steps, domain=test.domain
            )
        except BadInput:  # a surrogate that is a tree
            pass
        scores = {name: (_label(service, inputs) != y).double().mean().item() for name, inputs in examples.items()}
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


def adversarial(
    model: nn.Module, x: Tensor, y: Tensor, step: GradientStep, *, steps: int, domain: Domain | None = None
) -> Tensor:
    """Return inputs after steps down the margin of their classes.

    Args:
        model: Model that the inputs are to mislead.
        x: Inputs, (N, …).
        y: Their classes, (N,).
        step: Recipe of a step, in unit coordinates (`feint.models.charts`).
        steps: Number of steps.
        domain: Domain of the inputs; by default what they tell of it.

    Returns:
        Inputs of the domain, (N, …).

    `BadInput` is raised for a model without gradients, or inputs without.
    """
    domain = domain or domain_like(x.numpy())
    return torch.cat([
        _perturbed(model, chart(domain, x[rows]), y[rows], step, steps) for rows in torch.arange(len(x)).split(BATCH)
    ])  # fmt: skip


@torch.enable_grad()
def _perturbed(model: nn.Module, coordinates: Chart, y: Tensor, step: GradientStep, steps: int) -> Tensor:
    u, memory = coordinates.start, ()
    for _ in range(steps):
        leaf = u.detach().requires_grad_()
        margin = margin_of(model(coordinates.inputs(leaf)).float(), y)
        state = StepState(u, coordinates.start, margin.detach(), margin_gradient(margin, leaf))
        u, memory = step.move(state, memory)
    return coordinates.inputs(u.detach())


def true_positives(inside: Tensor, outside: Tensor, rate: float = RATE) -> float:
    """Return the share of `inside` (N,) above a threshold that at most the share `rate` of `outside` (M,) exceeds."""
    return (inside > cut(outside, rate)).double().mean().item()


def _label(service: Service, x: Tensor) -> Tensor:
    return torch.cat([service(Query(batch, client="springboard")).p.argmax(-1) for batch in x.split(BATCH)])


def _log_likelihood(model: nn.Module, split: Split, n: int) -> Tensor:
    """Return log p of the true class (n,), float64, for `n` inputs that are evenly spread."""
    rows = torch.linspace(0, len(split) - 1, n).long()
    z = torch.cat(list(_logits(model, split, rows))).double()
    return z.log_softmax(-1).gather(-1, split.labels[rows, None])[:, 0]


@torch.no_grad()
def _logits(model: nn.Module, split: Split, rows: Tensor) -> Iterator[Tensor]:
    for batch in rows.split(BATCH):
        yield model(split.inputs(batch)).float()
