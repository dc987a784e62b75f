"""Information laundering on discrete alphabets: two kernels around a model that leak least at a given loss.

A query x passes a ↦ x̃ before the model and its answer y′ passes b ↦ y after it. The service p_K and the objective,
which the kernels minimise (Wang, Xiang, Gao and Ding, ICLR 2021), are::

    p_K(y|x) = Σ_x̃ a(x̃|x) Σ_y′ p*(y′|x̃) b(y|y′)
    L(a, b)  = E_x KL(p*(·|x) ‖ p_K(·|x)) + β₁ I(X; X̃) + β₂ I(Y′; Y)

The paper's own updates were not at hand; these are derived here. With s, r the marginals of x̃ and y, π that of y′, and
``B(y|x̃) = Σ_y′ p*(y′|x̃) b(y|y′)``, the derivatives of L vanish where::

    b(y|y′) ∝ r(y) exp( E_x̃x[ p*(y|x) p*(y′|x̃) / p_K(y|x) ] / (β₂ π(y′)) )
    a(x̃|x) ∝ s(x̃) exp( ( Σ_y p*(y|x) B(y|x̃) / p_K(y|x) − β₂ Σ_y′ p*(y′|x̃) KL(b(·|y′) ‖ r) ) / β₁ )

A full step to the right-hand sides can overshoot. A step therefore covers a share η of the distance in the logarithm,
which is mirror descent; η is halved until L does not rise. L is convex in each kernel alone: one kernel is found
exactly, both together to a point where neither improves. Probabilities are in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Problem:
    """Laundering problem.

    Attributes:
        p: The model's answers to each symbol, (X, K).
        weight: Probabilities of the symbols, (X,).
        input_price: β₁, the price of a nat of I(X; X̃).
        output_price: β₂, the price of a nat of I(Y′; Y).
    """

    p: Tensor
    weight: Tensor
    input_price: float
    output_price: float


@dataclass(frozen=True, eq=False)
class Kernels:
    """Solution of a laundering problem.

    Attributes:
        input: Rows ``a(·|x)``, (X, X), or None for the identity.
        output: Rows ``b(·|y′)``, (K, K).
        objective: L at the start and after each round.
    """

    input: Tensor | None
    output: Tensor
    objective: tuple[float, ...]


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Return KL(p ‖ q) over the last dimension, in nats."""
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q.clamp_min(TINY))).sum(-1)


def through(a: Tensor | None, p: Tensor) -> Tensor:
    """Return ``Σ_x̃ a(x̃|x) p(·|x̃)``."""
    return p if a is None else a @ p


def objective(problem: Problem, a: Tensor | None, b: Tensor) -> float:
    """Return L(a, b)."""
    middle = through(a, problem.p)  # p(y′|x)
    loss = problem.weight @ divergence(problem.p, middle @ b)
    input_nats = 0.0 if a is None else problem.weight @ divergence(a, problem.weight @ a)
    marginal = problem.weight @ middle
    output_nats = marginal @ divergence(b, marginal @ b)
    return (loss + problem.input_price * input_nats + problem.output_price * output_nats).item()


def launder(problem: Problem, *, rounds: int = 1000, tolerance: float = 1e-12) -> Kernels:
    """Find the kernels of least L; a kernel whose price is 0 is the identity.

    Args:
        problem: The problem.
        rounds: Most rounds, each of which steps once in each kernel.
        tolerance: The search ends when L falls by less than this in a round.

    Returns:
        The kernels, and L after each round.
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
            target = _input_target(problem, a, b)
            a, share_a, value = _step(a, target, share_a, value, lambda kernel, b=b: objective(problem, kernel, b))
        if problem.output_price:
            target = _output_target(problem, a, b)
            b, share_b, value = _step(b, target, share_b, value, lambda kernel, a=a: objective(problem, a, kernel))
        history.append(value)
        if history[-2] - history[-1] < tolerance:
            break
    return Kernels(a, b, tuple(history))


def _input_target(problem: Problem, a: Tensor, b: Tensor) -> Tensor:
    """Return the logarithm of the right-hand side for a, up to a constant in each row."""
    answers = problem.p @ b
    gain = (problem.p / (a @ answers).clamp_min(TINY)) @ answers.T
    marginal = problem.weight @ a @ problem.p
    price = problem.output_price * problem.p @ divergence(b, marginal @ b)
    return (problem.weight @ a).clamp_min(TINY).log() + (gain - price) / problem.input_price


def _output_target(problem: Problem, a: Tensor | None, b: Tensor) -> Tensor:
    """Return the logarithm of the right-hand side for b, up to a constant in each row."""
    middle = through(a, problem.p)
    marginal = problem.weight @ middle
    ratio = problem.weight[:, None] * problem.p / (middle @ b).clamp_min(TINY)
    gain = (middle.T @ ratio) / marginal.clamp_min(TINY)[:, None]
    return (marginal @ b).clamp_min(TINY).log() + gain / problem.output_price


def _step(
    kernel: Tensor, target: Tensor, share: float, before: float, objective: Callable[[Tensor], float]
) -> tuple[Tensor, float, float]:
    """Move the kernel a `share` of the way to `target`, halved until the objective, now `before`, does not rise.

    Returns:
        The moved kernel, the share to try next, and the objective there.
    """
    log = kernel.clamp_min(TINY).log()
    while share > 1e-9:
        moved = torch.lerp(log, target, share).softmax(-1)
        after = objective(moved)
        if after <= before:
            return moved, min(1.0, 2 * share), after
        share /= 2
    return kernel, 2 * share, before
