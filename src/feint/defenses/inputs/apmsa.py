"""APMSA, adversarial perturbation against model stealing attacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defenses.domains import input_domain
from feint.defenses.inputs._margins import MarginModel, forward
from feint.defenses.inputs._root_finding import regula_falsi
from feint.defenses.inputs.input import Input
from feint.errors import BadRecipe
from feint.models.charts import Chart, chart
from feint.models.perturbation import GradientStep, Memory, Ray, StepState, margin_gradient, per_row
from feint.signature import Columns, Domain, Pixels


@dataclass(frozen=True)
class APMSA(Input):
    """Answers from the edge of the query's own class (Zhang et al., IEEE TIFS 2023).

    Each input moves down its margin until the label is lost, and then back to the edge::

        x_(t+1) = step(x_t) down the margin z_m − max_{j≠m} z_j, until the label m = argmax z(x) is lost;
        then the point between the last two, still labelled m, where the two largest probabilities differ by ≤ gap.

    The label is preserved for every input, by a margin that holds in any batch that the deployed model computes it in
    (measured for float32 on a CPU). Inputs without such a margin are returned as they are. An input that loses no label
    in `steps` returns its last iterate: `approach_boundary` counts these. Steps are taken in unit coordinates: those of
    a row of a table are shares of its columns' ranges, while categories and missing values stay. Whole numbers stay
    whole, so that such a row may end farther from the edge.

    In the paper the answer is that of the last iterate before the flip, after up to tens of steps and with whatever
    gap. Its step size, number of steps, limit on the perturbation and choice of optimiser are unknown to us. Here
    `step` is a recipe, and the domain is the only limit, since nobody sees the perturbed input. The search between the
    last two iterates is ours.

    The number of evaluations reveals how far the boundary is, through the answer's delay. With `constant_time` all
    inputs take all `steps` and `refinements`. Choose fewer then: 8 and 8 suffice for `Ray` on ResNet-20.

    Attributes:
        step: Step down the margin: `Ray`, `FGSM`, `PGD`, `CW` or `DeepFool`.
        steps: Most steps; 0 is the identity.
        gap: Largest difference of the two largest probabilities at the edge, from 1e-5 to below 1.
        refinements: Most evaluations of the search between the last two iterates.
        constant_time: Whether all inputs take equally many evaluations.
    """

    cite: ClassVar[str] = "zhang2023apmsa"
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    countermeasures: ClassVar[Mapping[str, str]] = {"timing": "Timing()"}
    step: GradientStep = Ray()
    steps: int = 50
    gap: float = 1e-3
    refinements: int = 50
    constant_time: bool = False

    def __post_init__(self) -> None:
        if min(self.steps, self.refinements) < 0:
            raise BadRecipe(repr(self), "0 steps (the identity) or more, and 0 refinements or more", "raise them")
        if not 1e-5 <= self.gap < 1:
            raise BadRecipe(f"a gap of {self.gap}", "1e-5, which survives 6 decimals, to below 1", "change it")

    def perturb(self, x: Tensor, model: nn.Module) -> Tensor:
        return approach_boundary(model, x, self).x if self.steps else x


@dataclass(frozen=True, eq=False)
class Approach:
    """Result of moving N inputs to the edge of their classes.

    Attributes:
        x: The moved inputs, (N, …).
        label: Their labels, (N,).
        arrived: Whether each is at the edge, (N,). Inputs that lost no label in all their steps are not.
        forwards: Forward passes of the model for each, (N,).
        backwards: Backward passes for each, (N,).
    """

    x: Tensor
    label: Tensor
    arrived: Tensor
    forwards: Tensor
    backwards: Tensor


def approach_boundary(model: nn.Module, x: Tensor, recipe: APMSA) -> Approach:
    """Move inputs to the edge of their classes.

    No state is stored, and no gradient of the model.

    Args:
        model: The model, from inputs to logits.
        x: Inputs, (N, …) of the model's domain.
        recipe: The steps, the gap and their limits.

    Returns:
        The moved inputs, and what each of them cost.
    """
    coordinates = chart(input_domain(x, model), x)
    path = _walk(model, coordinates, recipe)
    rows = torch.arange(len(x), device=x.device) if recipe.constant_time else path.flipped.nonzero()[:, 0]
    start, beyond, label = path.u[rows], path.beyond[rows], path.label[rows]

    def between(share: Tensor, chosen: Tensor) -> Tensor:
        return torch.lerp(start[chosen], beyond[chosen], per_row(share, x).to(x.dtype)).clamp(0, 1)

    def look(share: Tensor, chosen: Tensor) -> MarginModel:
        z, _ = forward(model, between(share, chosen), lambda u: coordinates.inputs(u, rows[chosen]))
        return MarginModel.of(z, label[chosen], recipe.gap)

    share, evaluations = regula_falsi(
        look,
        path.before[rows],
        path.after[rows],
        rounds=recipe.refinements,
        constant_time=recipe.constant_time,
    )
    moved = path.u.index_copy(0, rows, between(share, torch.arange(len(rows), device=x.device)))
    moved = coordinates.inputs(torch.where(per_row(path.flipped, x), moved, path.u))
    forwards = path.forwards.index_add(0, rows, evaluations)
    return Approach(moved, path.label, path.flipped | path.near, forwards, path.backwards)


@dataclass(frozen=True, eq=False)
class _Path:
    """Path of N inputs.

    Attributes:
        u: Coordinates of the last iterate with the label.
        beyond: Coordinates of the first iterate without it, where it was `flipped`.
        before: Excess at `u`.
        after: Excess at `beyond`.
        label: The labels.
        flipped: Whether the label was lost.
        near: Whether `u` is at the edge already.
        forwards: Forward passes of the model for each input.
        backwards: Backward passes for each input.
    """

    u: Tensor
    beyond: Tensor
    before: Tensor
    after: Tensor
    label: Tensor
    flipped: Tensor
    near: Tensor
    forwards: Tensor
    backwards: Tensor


def _walk(model: nn.Module, coordinates: Chart, recipe: APMSA) -> _Path:
    """Step until the label is lost. Rows that have arrived leave the batch, unless all are to take equally long."""
    step, origin, n = recipe.step, coordinates.start, len(coordinates.start)
    z, leaf = forward(model, origin, coordinates.inputs, gradient=True)
    label = z.argmax(-1)
    margins = MarginModel.of(z, label, recipe.gap)
    path = _Path(
        u=origin.clone(),
        beyond=origin.clone(),
        before=margins.excess.clone(),
        after=torch.full_like(margins.excess, -1.0),
        label=label,
        flipped=torch.zeros(n, dtype=torch.bool, device=origin.device),
        near=margins.near | ~margins.safe,
        forwards=torch.ones(n, dtype=torch.int64, device=origin.device),
        backwards=torch.zeros(n, dtype=torch.int64, device=origin.device),
    )
    rows, walking = torch.arange(n, device=origin.device), ~path.near
    gradient, memory = torch.empty(0), ()
    for k in range(recipe.steps):
        if not (recipe.constant_time or walking.any()):
            break
        if k == 0 or not step.one_gradient:
            gradient = margin_gradient(margins.margin, leaf)
            walking &= gradient.flatten(1).any(-1)  # where the gradient is 0 no step leads down
            path.backwards[rows] += 1
        stay = torch.ones_like(walking) if recipe.constant_time else walking
        rows, gradient, margin, walking = rows[stay], gradient[stay], margins.margin.detach()[stay], walking[stay]
        memory: Memory = tuple(state[stay] for state in memory)
        here = path.u[rows]
        there, memory = step.move(StepState(here, origin=origin[rows], margin=margin, gradient=gradient), memory)
        there = torch.where(per_row(walking, here), there, here)
        places = partial(coordinates.inputs, rows=rows)
        z, leaf = forward(model, there, places, gradient=not step.one_gradient)
        path.forwards[rows] += 1
        margins = MarginModel.of(z, label[rows], recipe.gap)
        ahead, lost = walking & margins.safe, walking & ~margins.safe
        path.u[rows[ahead]], path.before[rows[ahead]] = there[ahead], margins.excess[ahead]
        path.beyond[rows[lost]], path.after[rows[lost]] = there[lost], margins.excess[lost]
        path.flipped[rows[lost]], path.near[rows[ahead]] = True, margins.near[ahead]
        walking = ahead & ~margins.near
    return path
