"""Information laundering on discrete alphabets: the two kernels around a model that tell least at a given loss.

A query x passes a ↦ x̃ before the model and its answer y′ passes b ↦ y after it, so that the service is
p_K(y|x) = Σ_x̃ a(x̃|x) Σ_y′ p*(y′|x̃) b(y|y′). Sought are the kernels that minimise

    L(a, b) = E_x KL(p*(·|x) ‖ p_K(·|x)) + β₁ I(X; X̃) + β₂ I(Y′; Y)           (Wang, Xiang, Gao and Ding, ICLR 2021)

The paper's own updates were not at hand; these are derived here. With s, r the marginals of x̃ and y, π that of y′, and
B(y|x̃) = Σ_y′ p*(y′|x̃) b(y|y′), the derivatives of L vanish where

    b(y|y′) ∝ r(y) exp( E_x̃x[ p*(y|x) p*(y′|x̃) / p_K(y|x) ] / (β₂ π(y′)) )
    a(x̃|x) ∝ s(x̃) exp( ( Σ_y p*(y|x) B(y|x̃) / p_K(y|x) − β₂ Σ_y′ p*(y′|x̃) KL(b(·|y′) ‖ r) ) / β₁ )

Going all the way to the right-hand sides can overshoot, so a step goes a share η of it in the logarithm, which is
mirror descent; η is halved until L does not rise. L is convex in each kernel alone: one of them is found exactly, both
together to a point where neither improves. Probabilities in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Problem:
    """What is laundered: answers `p` (X, K) of the model to each symbol, the symbols' probabilities `weight` (X,), and
    the prices β₁ of what x̃ tells of x and β₂ of what y tells of y′."""

    p: Tensor
    weight: Tensor
    input_price: float
    output_price: float


@dataclass(frozen=True, eq=False)
class Kernels:
    """`input` (X, X), rows a(·|x), or None for the identity; `output` (K, K), rows b(·|y′); `objective`: L at the start
    and after each round."""

    input: Tensor | None
    output: Tensor
    objective: tuple[float, ...]


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) of the last dimension, in nats."""
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q.clamp_min(TINY))).sum(-1)


def through(a: Tensor | None, p: Tensor) -> Tensor:
    """Σ_x̃ a(x̃|x) p(·|x̃)."""
    return p if a is None else a @ p


def objective(problem: Problem, a: Tensor | None, b: Tensor) -> float:
    """L(a, b)."""
    seen = through(a, problem.p)  # p(y′|x)
    loss = problem.weight @ divergence(problem.p, seen @ b)
    told_input = 0.0 if a is None else problem.weight @ divergence(a, problem.weight @ a)
    middle = problem.weight @ seen
    told_output = middle @ divergence(b, middle @ b)
    return (loss + problem.input_price * told_input + problem.output_price * told_output).item()


def launder(problem: Problem, *, rounds: int = 1000, tolerance: float = 1e-12) -> Kernels:
    """The kernels of least L; one whose price is 0 is left out: the identity.

    Each round steps once in each kernel; it ends after `rounds`, or when L falls by less than `tolerance` in one.
    """
    (symbols, classes), kind = problem.p.shape, {"dtype": torch.float64, "device": problem.p.device}
    problem = Problem(problem.p.double(), problem.weight.double(), problem.input_price, problem.output_price)
    a, b = None, torch.eye(classes, **kind)
    if problem.input_price:
        a = 0.9 * torch.eye(symbols, **kind) + 0.1 * problem.weight
    if problem.output_price:
        b = 0.9 * b + 0.1 * (problem.weight @ through(a, problem.p))
    value, share_a, share_b = objective(problem, a, b), 1.0, 1.0
    history = [value]
    for _ in range(rounds):
        if a is not None:
            there = _input_target(problem, a, b)
            a, share_a, value = _step(a, there, share_a, value, lambda kernel, b=b: objective(problem, kernel, b))
        if problem.output_price:
            there = _output_target(problem, a, b)
            b, share_b, value = _step(b, there, share_b, value, lambda kernel, a=a: objective(problem, a, kernel))
        history.append(value)
        if history[-2] - history[-1] < tolerance:
            break
    return Kernels(a, b, tuple(history))


def _input_target(problem: Problem, a: Tensor, b: Tensor) -> Tensor:
    """log of the right-hand side for a, up to a constant in each row."""
    answers = problem.p @ b
    gain = (problem.p / (a @ answers).clamp_min(TINY)) @ answers.T
    middle = problem.weight @ a @ problem.p
    toll = problem.output_price * problem.p @ divergence(b, middle @ b)
    return (problem.weight @ a).clamp_min(TINY).log() + (gain - toll) / problem.input_price


def _output_target(problem: Problem, a: Tensor | None, b: Tensor) -> Tensor:
    """log of the right-hand side for b, up to a constant in each row."""
    seen = through(a, problem.p)
    middle = problem.weight @ seen
    ratio = problem.weight[:, None] * problem.p / (seen @ b).clamp_min(TINY)
    gain = (seen.T @ ratio) / middle.clamp_min(TINY)[:, None]
    return (middle @ b).clamp_min(TINY).log() + gain / problem.output_price


def _step(
    kernel: Tensor, target: Tensor, share: float, before: float, objective: Callable[[Tensor], float]
) -> tuple[Tensor, float, float]:
    """The kernel a `share` of the way to `target`, halved until the objective, now `before`, does not rise; the share
    to try next; and the objective there."""
    log = kernel.clamp_min(TINY).log()
    while share > 1e-9:
        moved = torch.lerp(log, target, share).softmax(-1)
        after = objective(moved)
        if after <= before:
            return moved, min(1.0, 2 * share), after
        share /= 2
    return kernel, 2 * share, before
