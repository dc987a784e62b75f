"""Lowd and Meek's line search: the boundaries of a linear model, to any precision, from labels alone."""

from dataclasses import dataclass
from math import ceil, log2, prod
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.linear_parameters import classifier, require_linear
from feint.attacks.probing import check
from feint.data import Split
from feint.errors import BadRecipe, Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback

LINES = 50  # lines searched side by side
NOISE = 0.5  # share of noise in the ends of a line: images alone leave directions out


@dataclass(frozen=True)
class LowdMeek(Attack):
    """Line search for linear classifiers that answer with labels (Lowd and Meek, KDD 2005).

    For several classes, and as an attack on prediction APIs, it is that of Tramèr et al. (USENIX Security 2016).
    Between two inputs of different labels, bisection finds where the line between them leaves the first one's class, to
    within `epsilon` of its length. There (w_i − w_j)·x + b_i − b_j = 0 for the labels i and j on either side.

    The original moves along one feature at a time, from one boundary point, which a box like [0, 1]^d cuts short. Here
    lines lead from inputs of `pool`, mixed with as much noise and new for each line, to others, so that the points
    spread over the boundary. A binary model with d features takes d such points, K classes take (K − 1)(d + 1) − 1:
    about d · log2(1/epsilon) queries for each class but one. With fewer, the surrogate follows a least-squares fit to
    the observed labels in all that the points leave open.

    All equations are homogeneous: the parameters are found up to a shift that the classes share and a positive factor,
    so the labels are right and the confidence is not. For a model that is not linear, the points are on its boundaries
    still, and the surrogate is a linear fit to them. If all seeds have one label, the surrogate always answers with it.
    Raises `BadInput` for a budget that does not pay for the seeds.

    Args:
        pool: Inputs of the attacker.
        surrogate: The network `linear`.
        epsilon: Precision of a boundary point, as a share of the line's length, 1e-6 to 0.5.
        seeds: Inputs that are asked first, all at once, 2 or more.
    """

    cite: ClassVar[str] = "lowd2005adversarial"
    is_naive: ClassVar[bool] = False
    pool: Split
    surrogate: Network
    epsilon: float = 1e-5
    seeds: int = 200

    def __post_init__(self) -> None:
        require_linear(self.surrogate)
        if not 1e-6 <= self.epsilon <= 0.5 or self.seeds < 2:
            raise BadRecipe(repr(self), "an epsilon of 1e-6 to 0.5, and seeds ≥ 2", "change it")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate, least=self.seeds, most=1)
        oracle.keep_answers_only()
        generator, total = torch.Generator().manual_seed(seed), oracle.left
        boundaries = _Boundaries(prod(self.surrogate.shape), self.surrogate.classes)
        x, labels, refusal = self._ask_inputs(oracle, self.seeds, generator)
        if not len(x) and refusal is not None:
            raise refusal
        boundaries.add_labels(x, labels)
        while refusal is None and oracle.left and len(labels.unique()) > 1:
            count = max(1, min(LINES, oracle.left // (self._steps() + 1)))
            new, new_labels, refusal = self._ask_inputs(oracle, count, generator)  # the same ones span too little
            boundaries.add_labels(new, new_labels)
            first = torch.arange(len(x), len(x) + len(new))
            x, labels = torch.cat([x, new]), torch.cat([labels, new_labels])
            if refusal is None and oracle.left:
                refusal = self._search_lines(oracle, x, labels, first, boundaries, generator)
            progress.step(f"asking ({boundaries.points} boundary points)", total - oracle.left, total)
        return classifier(self.surrogate, *boundaries.parameters())

    def _steps(self) -> int:
        return ceil(log2(1 / self.epsilon))

    def _ask_inputs(
        self, oracle: Oracle, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Refused | None]:
        """Ask `count` inputs of the pool mixed with noise.

        Args:
            oracle: The victim behind its budget.
            count: Number of inputs.
            generator: Generator of rows and noise.

        Returns:
            The inputs (n, d) that are answered, their labels (n,), and the refusal if there was one.
        """
        rows = torch.randint(len(self.pool), (count,), generator=generator)
        x = self.pool.inputs(rows).flatten(1)
        x = torch.lerp(x, torch.rand(x.shape, generator=generator), NOISE)
        p, refusal = oracle.try_ask(x.view(-1, *self.surrogate.shape))
        return x[: len(p)], p.argmax(-1) if len(p) else torch.empty(0, dtype=torch.int64), refusal

    def _search_lines(
        self,
        oracle: Oracle,
        x: Tensor,
        labels: Tensor,
        first: Tensor,
        boundaries: "_Boundaries",
        generator: torch.Generator,
    ) -> Refused | None:
        """Search lines from the rows `first` of `x` (n, d) to rows of other labels, and add their boundary points."""
        differ = (labels != labels[first][:, None]).double()
        second = torch.multinomial(differ, 1, generator=generator)[:, 0]
        inside, outside, inside_label, outside_label = x[first], x[second], labels[first], labels[second]
        refusal, width = None, 1.0
        while refusal is None and width > self.epsilon:
            middle = (inside + outside) / 2
            p, refusal = oracle.try_ask(middle.view(-1, *self.surrogate.shape))
            if refusal is None:
                label, width = p.argmax(-1), width / 2
                same = label == inside_label
                inside = torch.where(same[:, None], middle, inside)
                outside = torch.where(same[:, None], outside, middle)
                outside_label = torch.where(same, outside_label, label)
        boundaries.add_boundary_points((inside.double() + outside.double()) / 2, inside_label, outside_label, width)
        boundaries.add_labels(torch.cat([inside, outside]), torch.cat([inside_label, outside_label]))
        return refusal


class _Boundaries:
    """Sums over boundary points and labelled inputs, for the parameters (K, d + 1), flattened."""

    def __init__(self, features: int, classes: int) -> None:
        self._classes, self.points, self._noise = classes, 0, 0.0
        size = features + 1
        self._gram = torch.zeros(classes * size, classes * size, dtype=torch.float64)
        self._inputs = torch.zeros(size, size, dtype=torch.float64)
        self._labels = torch.zeros(size, classes, dtype=torch.float64)

    def add_labels(self, x: Tensor, labels: Tensor) -> None:
        """Add inputs (n, d) with the labels (n,) of their answers."""
        rows = _with_one(x)
        onehot = torch.nn.functional.one_hot(labels, self._classes).double()
        self._inputs += rows.T @ rows
        self._labels += rows.T @ (onehot - 1 / self._classes)

    def add_boundary_points(self, x: Tensor, first: Tensor, second: Tensor, width: float) -> None:
        """Add points at which the label changes.

        An equation weighs the less the wider its bracket, so that lines cut short by a refusal spoil nothing.

        Args:
            x: Points (n, d).
            first: Labels (n,) on one side.
            second: Labels (n,) on the other side.
            width: Precision of the points, as a share of the line's length.
        """
        rows = _with_one(x) / width
        pair = torch.nn.functional.one_hot(first, self._classes) - torch.nn.functional.one_hot(second, self._classes)
        equations = (pair[:, :, None] * rows[:, None]).flatten(1)
        self._gram += equations.T @ equations
        self._noise += float(_with_one(x).square().sum())
        self.points += len(x)

    def parameters(self) -> tuple[Tensor, Tensor]:
        """Fit the parameters to the labels, within what the boundary points allow.

        (G + λ)⁻¹, applied again and again, leaves the part of the start on which the equations are zero to within their
        noise: the one direction that all of them agree on, or what they leave open where they are few.

        Returns:
            `weight` (K, d) and `bias` (K,).
        """
        ridge = 1e-3 * self._inputs.diagonal().mean() * torch.eye(len(self._inputs), dtype=torch.float64)
        start = torch.linalg.solve(self._inputs + ridge, self._labels)
        solution = start.T.flatten()
        if self.points:
            level = max(self._noise / len(solution), 1e-12 * float(self._gram.diagonal().mean()))
            factor = torch.linalg.cholesky(self._gram + level * torch.eye(len(solution), dtype=torch.float64))
            for _ in range(5):
                solution = torch.cholesky_solve(solution[:, None], factor)[:, 0]
                # a shift of all classes solves the equations however noisy they are, and would outgrow the rest
                solution = (solution.view(self._classes, -1) - solution.view(self._classes, -1).mean(0)).flatten()
                solution = solution * (start.norm() / solution.norm())
        rows = solution.view(self._classes, -1)
        return rows[:, :-1], rows[:, -1]


def _with_one(x: Tensor) -> Tensor:
    """Return the rows (n, d) with a one after each, (n, d + 1) float64."""
    return torch.cat([x.double(), x.new_ones(len(x), 1, dtype=torch.float64)], 1)
