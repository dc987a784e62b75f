"""Lowd and Meek's line search: the boundaries of a linear model, to any precision, from labels alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.parametric.linear_parameters import features, require_linear, with_head
from feint.attacks.parametric.unit_space import UnitSpace
from feint.attacks.probing import check, require_classes
from feint.data import Split
from feint.errors import BadRecipe, Refused
from feint.models.networks import Classifier, Network
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Columns, Domain, Pixels, Text, Tokens

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

    In a table only numbers vary along a line. The other end takes the categories of the first one, and is asked anew;
    lines whose ends then have one label are given up. A line between whole numbers ends with neighbours. The features
    of the surrogate, its categories one-hot, are the x of the equations.

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
    domains: ClassVar[tuple[type[Domain], ...]] = (Pixels, Columns)
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys(
        (Tokens, Text), "KnockoffNets with the same surrogate"
    )
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
        total, search = oracle.left, _LineSearch(self, oracle, torch.Generator().manual_seed(seed))
        search.ask_inputs(self.seeds)
        if not len(search.x) and search.refusal is not None:
            raise search.refusal
        steps = ceil(log2(1 / self.epsilon))
        while search.refusal is None and oracle.left and len(search.labels.unique()) > 1:
            search.search_lines(max(1, min(LINES, oracle.left // (steps + 1))))
            progress.step(f"asking ({search.boundaries.points} boundary points)", total - oracle.left, total)
        return with_head(self.surrogate.build(), *search.boundaries.parameters())


class _LineSearch:
    """Search along lines between points `x` (n, d) of the unit cube with different `labels` (n,)."""

    def __init__(self, recipe: LowdMeek, oracle: Oracle, generator: torch.Generator) -> None:
        self._oracle, self._pool, self._epsilon, self._generator = oracle, recipe.pool, recipe.epsilon, generator
        self._space, self._model = UnitSpace(recipe.surrogate.domain), recipe.surrogate.build()
        size = features(self._model, recipe.pool.inputs(slice(0, 1))).shape[1]
        self.boundaries = _Boundaries(size, recipe.surrogate.classes)
        self.x = torch.empty(0, len(self._space), dtype=torch.float64)
        self.labels = torch.empty(0, dtype=torch.int64)
        self.refusal: Refused | None = None

    def ask_inputs(self, count: int) -> None:
        """Ask `count` inputs of the pool mixed with noise, as possible ends of lines."""
        rows = torch.randint(len(self._pool), (count,), generator=self._generator)
        x = self._space.mix(self._space.points(self._pool.inputs(rows)), NOISE, self._generator)
        x, labels = self._ask(x)
        self.x, self.labels = torch.cat([self.x, x]), torch.cat([self.labels, labels])
        self.boundaries.add_labels(self._features(x), labels)

    def search_lines(self, count: int) -> None:
        """Search `count` lines from new inputs to earlier ones of other labels, and add their boundary points."""
        start = len(self.x)
        self.ask_inputs(count)  # the same ones span too little
        first = torch.arange(start, len(self.x))
        if self.refusal is not None or not self._oracle.left:
            return
        differ = (self.labels != self.labels[first][:, None]).double()
        second = torch.multinomial(differ, 1, generator=self._generator)[:, 0]
        inside, inside_label, outside, outside_label = (
            self.x[first], self.labels[first], self.x[second], self.labels[second]
        )  # fmt: skip
        varies = self._space.both_numbers(inside, outside)
        if not varies.all():
            outside, outside_label = self._ask(torch.where(varies, outside, inside))
            crossing = (outside_label != inside_label[: len(outside)]).nonzero()[:, 0]
            self.boundaries.add_labels(self._features(outside), outside_label)
            inside, inside_label, outside, outside_label = (
                inside[crossing], inside_label[crossing], outside[crossing], outside_label[crossing]
            )  # fmt: skip
        self._bisect(inside, outside, inside_label, outside_label)

    def _bisect(self, inside: Tensor, outside: Tensor, inside_label: Tensor, outside_label: Tensor) -> None:
        """Halve the lines (n, d) until they are shorter than epsilon or end with neighbours, or one is refused."""
        length = (outside - inside).norm(dim=1)
        inside, outside, outside_label = inside.clone(), outside.clone(), outside_label.clone()
        active = torch.arange(len(inside))
        while len(active) and self.refusal is None:
            middle = self._space.nearest((inside[active] + outside[active]) / 2)
            between = ((middle != inside[active]) & (middle != outside[active])).any(1)
            wide = (outside[active] - inside[active]).norm(dim=1) > self._epsilon * length[active]
            active, middle = active[between & wide], middle[between & wide]
            _, label = self._ask(middle)
            if len(label) < len(active):
                break
            same = label == inside_label[active]
            inside[active[same]] = middle[same]
            outside[active[~same]], outside_label[active[~same]] = middle[~same], label[~same]
        if len(inside):
            ends = self._features(inside), self._features(outside)
            width = (outside - inside).norm(dim=1) / length
            self.boundaries.add_boundary_points((ends[0] + ends[1]) / 2, inside_label, outside_label, width)
            self.boundaries.add_labels(torch.cat(ends), torch.cat([inside_label, outside_label]))

    def _features(self, points: Tensor) -> Tensor:
        return features(self._model, self._space.inputs(points))

    def _ask(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points (n, d) that are answered, and their labels (n,)."""
        p, refusal = self._oracle.try_ask(self._space.inputs(points)) if len(points) else (points[:, :0], None)
        self.refusal = refusal or self.refusal
        if len(p):
            require_classes(p, self._model.network.classes, "a surrogate")
        return points[: len(p)], p.argmax(-1) if len(p) else torch.empty(0, dtype=torch.int64)


class _Boundaries:
    """Sums over boundary points and labelled inputs, for the parameters (K, d + 1), flattened."""

    def __init__(self, features: int, classes: int) -> None:
        self._classes, self.points, self._noise = classes, 0, 0.0
        size = features + 1
        self._gram = torch.zeros(classes * size, classes * size, dtype=torch.float64)
        self._inputs = torch.zeros(size, size, dtype=torch.float64)
        self._labels = torch.zeros(size, classes, dtype=torch.float64)

    def add_labels(self, x: Tensor, labels: Tensor) -> None:
        """Add features (n, d) with the labels (n,) of the answers."""
        rows = _with_one(x)
        onehot = torch.nn.functional.one_hot(labels, self._classes).double()
        self._inputs += rows.T @ rows
        self._labels += rows.T @ (onehot - 1 / self._classes)

    def add_boundary_points(self, x: Tensor, first: Tensor, second: Tensor, width: Tensor) -> None:
        """Add points at which the label changes.

        An equation weighs the less the wider its bracket, so that lines cut short by a refusal spoil nothing.

        Args:
            x: Features (n, d) of the points.
            first: Labels (n,) on one side.
            second: Labels (n,) on the other side.
            width: Precision (n,) of the points, as a share of the line's length.
        """
        rows = _with_one(x) / width[:, None]
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
