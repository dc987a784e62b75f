"""Adversarial perturbation against model stealing attacks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defenses.inputs._margins import MarginModel, forward
from feint.defenses.inputs._root_finding import regula_falsi
from feint.defenses.inputs.input import Input
from feint.errors import BadRecipe
from feint.models.perturbation import GradientStep, Memory, Ray, StepState, margin_gradient, per_row


@dataclass(frozen=True)
class APMSA(Input):
    """Answer from the edge of the query's own class (Zhang et al., IEEE TIFS 2023).

        x_(t+1) = step(x_t) down the margin z_m − max_{j≠m} z_j, until the label m = argmax z(x) is lost;
        then the point between the last two, still labelled m, where the two largest probabilities differ by ≤ gap.

    x: (N, …) in [0, 1]. The label is kept for every input, by a margin that holds in any batch that the deployed model
    computes it in (`_margins.UNITS`; measured for float32 on a CPU). Inputs without such a margin are returned as they
    are. One that loses no label in `steps` returns its last iterate: `approach_boundary` counts these.

    In the paper the answer is that of the last iterate before the flip, after up to tens of steps and with whatever
    gap; its step size, number of steps, limit on the perturbation and choice of optimiser are unknown to us. Here
    `step` is a recipe (`Ray`, `FGSM`, `PGD`, `CW`, `DeepFool`), there is no limit but [0, 1] (nobody sees the perturbed
    input), and the search between the last two iterates, at most `refinements` evaluations, is ours. `steps=0` is the
    identity.

    The number of evaluations says how far the boundary is, and the answer's delay tells it: with `constant_time`, all
    inputs take all `steps` and `refinements` (choose fewer: 8 and 8 suffice for `Ray` on ResNet-20).
    """

    cite: ClassVar[str] = "zhang2023apmsa"
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
    """What became of N inputs: where they are, `x` (N, …); their `label`; whether they `arrived` at the edge, which
    those did not that lost no label in all their steps; and how many `forwards` and `backwards` of the model each took,
    all of shape (N,)."""

    x: Tensor
    label: Tensor
    arrived: Tensor
    forwards: Tensor
    backwards: Tensor


def approach_boundary(model: nn.Module, x: Tensor, recipe: APMSA) -> Approach:
    """Move `x` (N, …) to the edge of its class as `recipe` says. No state is kept, and no gradient of the model."""
    way = _walk(model, x, recipe)
    rows = torch.arange(len(x), device=x.device) if recipe.constant_time else way.flipped.nonzero()[:, 0]
    start, beyond, label = way.x[rows], way.beyond[rows], way.label[rows]

    def between(u: Tensor, chosen: Tensor) -> Tensor:
        return torch.lerp(start[chosen], beyond[chosen], per_row(u, x)).clamp(0, 1)

    def look(u: Tensor, chosen: Tensor) -> MarginModel:
        z, _ = forward(model, between(u, chosen))
        return MarginModel.of(z, label[chosen], recipe.gap)

    u, evaluations = regula_falsi(
        look,
        way.before[rows],
        way.after[rows],
        rounds=recipe.refinements,
        constant_time=recipe.constant_time,
    )
    found = way.x.index_copy(0, rows, between(u, torch.arange(len(rows), device=x.device)))
    found = torch.where(per_row(way.flipped, x), found, way.x)
    forwards = way.forwards.index_add(0, rows, evaluations)
    return Approach(found, way.label, way.flipped | way.near, forwards, way.backwards)


@dataclass(frozen=True, eq=False)
class _Way:
    """Where the steps led: the last iterate `x` that keeps the label, the one `beyond` where it was `flipped`, and the
    excess of each; `near` where `x` is at the edge already."""

    x: Tensor
    beyond: Tensor
    before: Tensor
    after: Tensor
    label: Tensor
    flipped: Tensor
    near: Tensor
    forwards: Tensor
    backwards: Tensor


def _walk(model: nn.Module, x: Tensor, recipe: APMSA) -> _Way:
    """Step until the label is lost. Rows that have arrived leave the batch, unless all are to take as long."""
    step, n = recipe.step, len(x)
    z, leaf = forward(model, x, gradient=True)
    label = z.argmax(-1)
    seen = MarginModel.of(z, label, recipe.gap)
    way = _Way(
        x=x.clone(),
        beyond=x.clone(),
        before=seen.excess.clone(),
        after=torch.full_like(seen.excess, -1.0),
        label=label,
        flipped=torch.zeros(n, dtype=torch.bool, device=x.device),
        near=seen.near | ~seen.kept,
        forwards=torch.ones(n, dtype=torch.int64, device=x.device),
        backwards=torch.zeros(n, dtype=torch.int64, device=x.device),
    )
    rows, walking = torch.arange(n, device=x.device), ~way.near
    gradient, memory = torch.empty(0), ()
    for k in range(recipe.steps):
        if not (recipe.constant_time or walking.any()):
            break
        if k == 0 or not step.one_gradient:
            gradient = margin_gradient(seen.margin, leaf)
            walking &= gradient.flatten(1).any(-1)  # where nothing leads down, there is nowhere to go
            way.backwards[rows] += 1
        stay = torch.ones_like(walking) if recipe.constant_time else walking
        rows, gradient, margin, walking = rows[stay], gradient[stay], seen.margin.detach()[stay], walking[stay]
        memory: Memory = tuple(it[stay] for it in memory)
        here = way.x[rows]
        there, memory = step.move(StepState(here, origin=x[rows], margin=margin, gradient=gradient), memory)
        there = torch.where(per_row(walking, x), there, here)
        z, leaf = forward(model, there, gradient=not step.one_gradient)
        way.forwards[rows] += 1
        seen = MarginModel.of(z, label[rows], recipe.gap)
        ahead, lost = walking & seen.kept, walking & ~seen.kept
        way.x[rows[ahead]], way.before[rows[ahead]] = there[ahead], seen.excess[ahead]
        way.beyond[rows[lost]], way.after[rows[lost]] = there[lost], seen.excess[lost]
        way.flipped[rows[lost]], way.near[rows[ahead]] = True, seen.near[ahead]
        walking = ahead & ~seen.near
    return way
