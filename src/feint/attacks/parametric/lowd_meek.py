"""Lowd and Meek's line search: labels alone tell where a linear model's boundaries are, to any precision."""

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

LINES = 50  # searched side by side
NOISE = 0.5  # share of random pixels in the ends of a line: images alone leave directions out


@dataclass(frozen=True)
class LowdMeek(Attack):
    """The line search for linear classifiers that answer with labels (Lowd and Meek, KDD 2005; for several classes, and
    as an attack on prediction APIs, Tramèr et al., USENIX Security 2016).

    Between two inputs of different labels, bisection finds where the line between them leaves the first one's class, to
    within `epsilon` of its length; there (w_i − w_j)·x + b_i − b_j = 0 for the labels i and j on either side. The
    original moves along one feature at a time, from one boundary point, which a box like [0, 1]^d cuts short; here
    lines lead from inputs of `pool`, mixed with as much noise and new for each line, to others, of which the first
    `seeds` are asked at once, so that the points spread over the boundary. A binary model with d features takes d such
    points, K classes take (K − 1)(d + 1) − 1: about d · log2(1/epsilon) queries for each class but one. A budget for
    less tells less: what the points leave open is as in a least-squares fit to the labels that were seen.

    All equations are homogeneous: the parameters are found up to a shift that the classes share and a positive factor,
    so the labels are right and the confidence is not. For a model that is not linear, the points are on its
    boundaries still, and the surrogate is a linear fit to them. Raises `BadInput` for a budget that does not pay for
    the seeds; where they all have one label, that is the answer.
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

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate, least=self.seeds, most=1)
        oracle.keep_answers_only()
        generator, total = torch.Generator().manual_seed(seed), oracle.left
        fit = _Boundaries(prod(self.surrogate.shape), self.surrogate.classes)
        x, labels, refusal = self._ends(oracle, self.seeds, generator)
        if not len(x) and refusal is not None:
            raise refusal
        fit.seen(x, labels)
        while refusal is None and oracle.left and len(labels.unique()) > 1:
            count = max(1, min(LINES, oracle.left // (self._steps() + 1)))
            new, found, refusal = self._ends(oracle, count, generator)  # always the same ones span too little
            fit.seen(new, found)
            first = torch.arange(len(x), len(x) + len(new))
            x, labels = torch.cat([x, new]), torch.cat([labels, found])
            if refusal is None and oracle.left:
                refusal = self._lines(oracle, x, labels, first, fit, generator)
            progress.step(f"asking ({fit.points} boundary points)", total - oracle.left, total)
        return classifier(self.surrogate, *fit.parameters())

    def _steps(self) -> int:
        return ceil(log2(1 / self.epsilon))

    def _ends(self, oracle: Oracle, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Refused | None]:
        """`count` inputs (n, d) of the pool mixed with noise, their labels (n,), as far as they come."""
        rows = torch.randint(len(self.pool), (count,), generator=generator)
        x = self.pool.inputs(rows).flatten(1)
        x = torch.lerp(x, torch.rand(x.shape, generator=generator), NOISE)
        p, refusal = oracle.try_ask(x.view(-1, *self.surrogate.shape))
        return x[: len(p)], p.argmax(-1) if len(p) else torch.empty(0, dtype=torch.int64), refusal

    def _lines(
        self, oracle: Oracle, x: Tensor, labels: Tensor, first: Tensor, fit: "_Boundaries", generator: torch.Generator
    ) -> Refused | None:
        """Search the lines from the inputs `first` of all `x` (n, d) to others of another label, and write down what
        is on them."""
        differ = (labels != labels[first][:, None]).double()
        second = torch.multinomial(differ, 1, generator=generator)[:, 0]
        inside, outside, mine, other = x[first], x[second], labels[first], labels[second]
        refusal, width = None, 1.0
        while refusal is None and width > self.epsilon:
            middle = (inside + outside) / 2
            p, refusal = oracle.try_ask(middle.view(-1, *self.surrogate.shape))
            if refusal is None:
                found, width = p.argmax(-1), width / 2
                same = found == mine
                inside = torch.where(same[:, None], middle, inside)
                outside = torch.where(same[:, None], outside, middle)
                other = torch.where(same, other, found)
        fit.crossed((inside.double() + outside.double()) / 2, mine, other, width)
        fit.seen(torch.cat([inside, outside]), torch.cat([mine, other]))
        return refusal


class _Boundaries:
    """Sums over the boundary points, and over the inputs whose label was seen; unknowns are (K, d + 1), flattened."""

    def __init__(self, features: int, classes: int) -> None:
        self._classes, self.points, self._noise = classes, 0, 0.0
        size = features + 1
        self._gram = torch.zeros(classes * size, classes * size, dtype=torch.float64)
        self._inputs = torch.zeros(size, size, dtype=torch.float64)
        self._labels = torch.zeros(size, classes, dtype=torch.float64)

    def seen(self, x: Tensor, labels: Tensor) -> None:
        """Inputs (n, d) with the labels (n,) that they were answered with."""
        rows = _with_one(x)
        onehot = torch.nn.functional.one_hot(labels, self._classes).double()
        self._inputs += rows.T @ rows
        self._labels += rows.T @ (onehot - 1 / self._classes)

    def crossed(self, x: Tensor, first: Tensor, second: Tensor, width: float) -> None:
        """Points (n, d) at which the label turns from `first` to `second` (n,), found to within `width`: an equation
        counts the less the wider, so that lines cut short by a refusal spoil nothing."""
        rows = _with_one(x) / width
        pair = torch.nn.functional.one_hot(first, self._classes) - torch.nn.functional.one_hot(second, self._classes)
        equations = (pair[:, :, None] * rows[:, None]).flatten(1)
        self._gram += equations.T @ equations
        self._noise += float(_with_one(x).square().sum())
        self.points += len(x)

    def parameters(self) -> tuple[Tensor, Tensor]:
        """`weight` (K, d) and `bias` (K,): the fit to the labels, and of that what the boundary points allow.

        (G + λ)⁻¹, applied again and again, leaves the part of the start on which the equations are zero to within their
        noise: the one direction that all of them agree on, or what they leave open where they are few.
        """
        ridge = 1e-3 * self._inputs.diagonal().mean() * torch.eye(len(self._inputs), dtype=torch.float64)
        start = torch.linalg.solve(self._inputs + ridge, self._labels)
        found = start.T.flatten()
        if self.points:
            level = max(self._noise / len(found), 1e-12 * float(self._gram.diagonal().mean()))
            factor = torch.linalg.cholesky(self._gram + level * torch.eye(len(found), dtype=torch.float64))
            for _ in range(5):
                found = torch.cholesky_solve(found[:, None], factor)[:, 0]
                # a shift of all classes solves the equations however noisy they are, and would crowd out the rest
                found = (found.view(self._classes, -1) - found.view(self._classes, -1).mean(0)).flatten()
                found = found * (start.norm() / found.norm())
        both = found.view(self._classes, -1)
        return both[:, :-1], both[:, -1]


def _with_one(x: Tensor) -> Tensor:
    """The rows (n, d) with a one after each, (n, d + 1) float64."""
    return torch.cat([x.double(), x.new_ones(len(x), 1, dtype=torch.float64)], 1)
