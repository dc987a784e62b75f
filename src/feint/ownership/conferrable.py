"""Conferrable images: copies of a model give them its label, and innocents do not."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from feint.models.perturbation import per_row
from feint.ownership.selection import BATCH, Rehearsal, labels_of
from feint.query import ask
from feint.signature import Domain, Pixels

# Of 400 blends of digits (5 copies, 5 references, MLP, radius 32/255) 3 other copies then agree with 82 %, and 3 other
# innocents with 52 %; with a weight of 1 these are 96 % and 86 %, with one of 4 48 % and 22 %, unmoved 53 % and 48 %.
REFERENCES = 2.0


def conferred(
    domain: Domain,
    x: Tensor,
    labels: Tensor,
    model: nn.Module,
    rehearsal: Rehearsal,
    *,
    steps: int,
    radius: float,
    momentum: float = 0.0,
    sure: float = 1.0,
) -> Tensor:
    """Move images to where more copies and fewer innocents agree with the model (after Lukas et al., ICLR 2021).

    Steps along the sign of a running mean of gradients (Dong et al., CVPR 2018) ascend the mean of log p(label) over
    model and copies, plus twice the mean of log(1 − p(label)) over the references, each up to the logarithm of `sure`.
    Models without gradients take no part. Inputs that are no images stay, as does an image that would lose the model's
    label.

    Args:
        domain: Domain of the inputs.
        x: Inputs (N, …).
        labels: Their labels (N,) by the model.
        model: The model.
        rehearsal: Copies and references; without one of each, nothing is moved.
        steps: Number of steps.
        radius: Largest change of a pixel.
        momentum: Share of the gradients before that is added to each.
        sure: Probability from which on a model is sure enough, so that steps serve the others.

    Returns:
        Inputs (N, …), of 256 levels where they are images.
    """
    copies = [each for each in (model, *rehearsal.copies) if _has_gradient(each, x)]
    references = [each for each in rehearsal.references if _has_gradient(each, x)]
    if not isinstance(domain, Pixels) or not (steps and rehearsal.copies and references):
        return x
    parts = zip(x.split(BATCH), labels.split(BATCH), strict=True)
    gradient = partial(_gradient, copies=copies, references=references, most=math.log(sure))
    moved = torch.cat([_ascend(*part, gradient, steps, radius, momentum) for part in parts])
    moved = torch.from_numpy(domain.quantize(moved.numpy()))
    return torch.where(per_row(labels_of(model, moved) == labels, x), moved, x)


@torch.enable_grad()
def _has_gradient(model: nn.Module, x: Tensor) -> bool:
    return x.is_floating_point() and ask(model, x[:1].clone().requires_grad_()).requires_grad


def _ascend(
    x: Tensor, labels: Tensor, gradient: Callable[[Tensor, Tensor], Tensor], steps: int, radius: float, momentum: float
) -> Tensor:
    """Return the images after all steps."""
    at, running = x, torch.zeros_like(x)
    for _ in range(steps):
        slope = gradient(at.clone().requires_grad_(), labels)
        size = slope.flatten(1).abs().mean(1).clamp(min=1e-12)
        running = momentum * running + slope / size.view(-1, *[1] * (x.ndim - 1))
        change = at + 1.5 * radius / steps * running.sign() - x
        at = (x + change.clamp(-radius, radius)).clamp(0, 1)
    return at


@torch.enable_grad()
def _gradient(
    x: Tensor, labels: Tensor, copies: Sequence[nn.Module], references: Sequence[nn.Module], most: float
) -> Tensor:
    """Return the gradients (N, …) of the objective of `conferred`."""
    index = labels[:, None]
    agree = [ask(each, x).float().log_softmax(-1).gather(1, index)[:, 0] for each in copies]
    differ = [ask(each, x).float().log_softmax(-1).scatter(1, index, -torch.inf).logsumexp(-1) for each in references]
    agreed, differed = (torch.stack(logs).clamp(max=most).mean(0).sum() for logs in (agree, differ))
    return torch.autograd.grad(agreed + REFERENCES * differed, x)[0]
