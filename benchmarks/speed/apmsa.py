"""APMSA beside the loop of the literature on the published ResNet-20 for CIFAR-10: `python -m benchmarks.speed apmsa`.

The loop takes one image at a time: the gradient of a loss, a step along its sign, and stop before the label is lost,
after 50 steps at the latest. An evaluation is a forward or a backward pass of the model on one image; the loop is
charged as sparingly as it can be written, with one forward pass for the first image and one forward and one backward
pass for every step (the forward pass that looks for the flip gives the next gradient). Without a search between the
last two iterates its gap shrinks only with its step, so it is timed with several.

Needs FEINT_DATA with the directory cifar10 and weights_cifar10_resnet20.npz.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import feint
from benchmarks.speed.clock import processor_seconds
from feint import Defense, Query, Service
from feint.defenses.inputs import APMSA, CW, FGSM, DeepFool
from feint.defenses.inputs.apmsa import Approach, approach_boundary
from feint.victims import load_published, predict

IMAGES = 64
STEPS = 50
Row = dict[str, str | float]


def loop(model: nn.Module, x: Tensor, *, step: float, constant_time: bool = False) -> Approach:
    """The literature's loop on one image `x` (1, C, H, W), as methods are usually written down: cross-entropy."""
    leaf = x.clone().requires_grad_()
    z = model(leaf)
    label, kept, taken, lost = z.argmax(-1), x, 0, False
    for _ in range(STEPS):
        (gradient,) = torch.autograd.grad(F.cross_entropy(z, label), leaf)
        leaf = (leaf.detach() + step * gradient.sign()).clamp(0, 1).requires_grad_()
        z = model(leaf)
        taken += 1
        lost = lost or bool(z.argmax(-1) != label)
        if lost and not constant_time:
            break
        kept = kept if lost else leaf.detach()
    one = torch.ones(1, dtype=torch.int64)
    return Approach(kept, label, one.bool() & lost, one + taken, one * taken)


def one_by_one(approach: Callable[[Tensor], Approach], x: Tensor) -> Approach:
    """Run an approach on each input by itself, and concatenate the results."""
    done = [approach(row[None]) for row in x]
    fields = ("x", "label", "arrived", "forwards", "backwards")
    return Approach(*(torch.cat([getattr(it, field) for it in done]) for field in fields))


def speed() -> list[Row]:
    """Evaluations, milliseconds of processor time and the gap of the two largest probabilities, for each query."""
    torch.set_num_threads(1)
    cifar = feint.data.load("cifar10")
    weights = Path(os.environ["FEINT_DATA"]) / "weights_cifar10_resnet20.npz"
    model = load_published(weights, feint.models.networks.get("resnet20", cifar))
    x = cifar.test.inputs(slice(0, IMAGES))
    recipes = [
        APMSA(),
        *(APMSA(step=step) for step in (DeepFool(), FGSM(), CW())),
        APMSA(steps=8, refinements=8, constant_time=True),
    ]
    loops: dict[str, dict[str, Any]] = {
        f"loop, step 1/{255 * finer}": {"step": 1 / (255 * finer)} for finer in (1, 4, 16, 64)
    }
    loops["loop, step 1/255, constant time"] = {"step": 1 / 255, "constant_time": True}
    rows = [
        measured(name, model, x, lambda x, how=how: one_by_one(lambda row: loop(model, row, **how), x))
        for name, how in loops.items()
    ]
    for recipe in recipes:
        many = measured(repr(recipe), model, x, lambda x, recipe=recipe: approach_boundary(model, x, recipe))
        seconds, _ = processor_seconds(lambda recipe=recipe: [recipe(row[None], model) for row in x[:16]])
        many["cpu_ms_alone"] = seconds / 16 * 1e3
        served = Service(model, Defense(inputs=[recipe]))(Query(x)).p.argmax(-1)
        assert torch.equal(served, predict(model, x).argmax(-1))
        rows.append(many)
    return rows


def measured(name: str, model: nn.Module, x: Tensor, approach: Callable[[Tensor], Approach]) -> Row:
    """Measure an approach on inputs (N, …)."""
    seconds, done = processor_seconds(lambda: approach(x))
    p, label = predict(model, done.x), predict(model, x).argmax(-1)
    top = p.topk(2).values
    gap = top[:, 0] - top[:, 1]
    forwards, backwards = done.forwards.double().mean().item(), done.backwards.double().mean().item()
    return {
        "method": name,
        "images": len(x),
        "forwards": forwards,
        "backwards": backwards,
        "evaluations": forwards + backwards,
        "mean_gap": gap.mean().item(),
        "largest_gap": gap.max().item(),
        "label_kept": (p.argmax(-1) == label).double().mean().item(),
        "no_flip": (~done.arrived).double().mean().item(),
        "cpu_ms_a_query": seconds / len(x) * 1e3,
    }
