"""KnownParameters: the inverse of a defense that maps each probability by itself, for leaked parameters."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from feint.attacks.lenses.lens import PointwiseLens
from feint.attacks.probing import require_probabilities
from feint.errors import BadInput, in_range

EDGE = math.log((1 - 1e-9) / 1e-9)  # logit of the grid's ends: probabilities are resolved down to 1e-9
SCALES = 600  # scales of the answer on the grid
FREE = 7  # entries after the largest that may lie on either branch
CHUNK = 32  # rows at a time


@runtime_checkable
class Elementwise(Protocol):
    """Defense that maps each probability by itself and then scales the row to sum to 1."""

    def elementwise(self, p: Tensor) -> Tensor:
        """Return the map of the probabilities `p`, before the row is scaled."""
        ...


@dataclass(frozen=True)
class KnownParameters(PointwiseLens):
    """The inverse of q = f(p) / Σ f(p), for a known map f of single probabilities.

    The model case is the reverse sigmoid (Lee et al., IEEE SPW 2019; not a method of that paper, which describes the
    defense). The scale S = Σ f(p) is the one unknown: f⁻¹(S·q) must sum to 1. If f rises throughout, such as a
    temperature or γ ≥ 1 and βγ ≤ 1, there is one solution, found by bisection, and p is recovered to about 1e-4.

    The reverse sigmoid with γ < 1 falls near 0 and near 1, and rises between: an entry of q can come from a tiny
    probability or from a larger one. Every choice of branches for the 8 largest entries, the largest also above the
    upper turning point, has its own S, if any; smaller entries, whose branches lie close together, are on the lower
    branch if that is possible. Of all solutions the likeliest is taken: p ~ Dirichlet(concentration/K, …), divided by
    the factor by which p ↦ q stretches volume there,

        log w = (concentration/K − 1) Σ log p_i − Σ log |f′(p_i)| − log |Σ q_i/f′(p_i)| + (K − 1) log S

    For a row that no solution explains, for example after rounding, the closest one is taken. Often several explain a
    row equally well. On softmax answers over 10 classes from Gaussian logits of deviation 4, the mean L1 distance falls
    from 1.13 to 0.27 with β 1, γ 0.1, and from 0.64 to 0.09 with β 0.21, γ 0.2 (n = 200).

    Raises `BadInput` for labels only, and for a map that has other turning points.

    Args:
        defense: The defense with its parameters.
        concentration: Concentration of the prior, 0.01 (one-hot) to 1e6 (uniform).
    """

    cite: ClassVar[str] = "lee2019defending"
    needs: ClassVar[Mapping[str, str]] = {"defense": "it is not one map of single probabilities"}
    defense: Elementwise
    concentration: float = 1.0

    def __post_init__(self) -> None:
        in_range(self, "concentration", "0.01 (one-hot) to 1e6 (uniform)", 0.01, 1e6)

    def send(self, x: Tensor) -> Tensor:
        return x

    def read(self, p: Tensor) -> Tensor:
        require_probabilities(p, "HardLabels reads them as they are")
        curve, q = Curve.of(self.defense), p.double().numpy()
        if len(curve.pieces) == 1:
            estimate = curve.invert_monotone(q)
        else:
            chunks = np.array_split(q, math.ceil(len(q) / CHUNK))
            estimate = np.concatenate([curve.invert_branches(rows, self.concentration) for rows in chunks])
        return torch.from_numpy(estimate / estimate.sum(1, keepdims=True)).to(p.dtype)


@dataclass(frozen=True)
class Curve:
    """The map f on a grid of probabilities.

    Attributes:
        p: The grid (n,).
        f: The map's values (n,).
        slope: The map's slope (n,).
        pieces: Slices of the grid between the turning points of f.
    """

    p: np.ndarray
    f: np.ndarray
    slope: np.ndarray
    pieces: tuple[slice, ...]

    @classmethod
    @functools.cache
    def of(cls, defense: Elementwise) -> "Curve":
        """Return the curve of a defense.

        Args:
            defense: The defense with its parameters.

        Returns:
            The curve, which has one piece or three.

        Raises:
            BadInput: If the map neither rises throughout nor has two turning points, near 0 and 1.
        """
        p = torch.linspace(-EDGE, EDGE, 16_001, dtype=torch.float64).sigmoid()
        f = defense.elementwise(p).numpy()
        signs = np.sign(np.diff(f))
        signs = signs[np.maximum.accumulate(np.where(signs != 0, np.arange(len(signs)), 0))]  # level: as before
        turns = [0, *(np.flatnonzero(np.diff(signs)) + 1).tolist(), len(p) - 1]
        if signs[len(p) // 2] <= 0 or len(turns) not in (2, 4):
            raise BadInput(f"{defense!r}", "a map that rises, but for two turns near 0 and 1", "use PartialBayes")
        return cls(p.numpy(), f, np.gradient(f, p.numpy()), tuple(slice(a, b + 1) for a, b in pairwise(turns)))

    def inverse(self, piece: int, y: np.ndarray, outside: float | None = None) -> np.ndarray:
        """Return the probabilities on this piece that f maps to `y`; beyond the piece, `outside` or the nearest one."""
        f, p = self.f[self.pieces[piece]], self.p[self.pieces[piece]]
        order = 1 if f[-1] >= f[0] else -1
        return np.interp(y, f[::order], p[::order], left=outside, right=outside)

    def invert_monotone(self, q: np.ndarray) -> np.ndarray:
        """Return the one solution for each row of `q` (N, K)."""
        high = np.log(self.f.max() / q.max(1, keepdims=True))
        low = high - 60
        for _ in range(80):
            middle = (low + high) / 2
            over = self.inverse(0, np.exp(middle) * q).sum(1, keepdims=True) > 1
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        return self.inverse(0, np.exp(high) * q)

    def invert_branches(self, q: np.ndarray, concentration: float) -> np.ndarray:
        """Return the likeliest solution for each row of `q` (N, K)."""
        q = q.clip(1e-12)
        order = np.argsort(-q, 1)
        q = np.take_along_axis(q, order, 1)
        first, last = max(self.f.min(), 1e-9) / q[:, -1:], self.f.max() / q[:, :1]
        scale = first * (np.maximum(last, first) / first) ** np.linspace(0, 1, SCALES)  # (N, SCALES)
        y = scale[..., None] * q[:, None]
        branches = np.stack([self.inverse(piece, y, np.nan) for piece in range(3)], -1)  # (N, SCALES, K, 3)
        choices = _branch_choices(q.shape[1])  # (C, free)
        free = choices.shape[1]
        rest = np.where(np.isnan(branches[..., 0]), branches[..., 1], branches[..., 0])[..., free:].sum(-1)
        total = rest[..., None] + sum(branches[:, :, i, choices[:, i]] for i in range(free)) - 1  # (N, SCALES, C)
        return np.stack([
            self._likeliest(*row, choices=choices, concentration=concentration)[np.argsort(back)]
            for *row, back in zip(q, scale, total, order, strict=True)
        ])  # fmt: skip

    def _likeliest(
        self, q: np.ndarray, scale: np.ndarray, total: np.ndarray, *, choices: np.ndarray, concentration: float
    ) -> np.ndarray:
        at, choice = np.nonzero(total[:-1] * total[1:] <= 0)
        if not len(at):
            near = np.nan_to_num(np.abs(total), nan=np.inf)
            at, choice = (np.array([index]) for index in divmod(int(near.argmin()), near.shape[1]))
            low = high = scale[at]
        else:
            low, high = scale[at], scale[at + 1]
        signs = np.sign(total[at, choice])
        for _ in range(40):
            middle = (low + high) / 2
            same = np.sign(self._solution(q, middle, choices[choice]).sum(1) - 1) == signs
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        p = self._solution(q, low, choices[choice])
        return p[self.log_weight(p, q, low, concentration).argmax()]

    def log_weight(self, p: np.ndarray, q: np.ndarray, scale: np.ndarray, concentration: float) -> np.ndarray:
        """Return how likely each of the solutions `p` (M, K) of one row is, log w (M,) up to a constant."""
        slope, classes = np.interp(p, self.p, self.slope), p.shape[1]
        slope = np.where(np.abs(slope) < 1e-9, 1e-9, slope)
        stretch = np.log(np.abs(slope)).sum(1) + np.log(np.abs((q / slope).sum(1)) + 1e-12)
        return (concentration / classes - 1) * np.log(p).sum(1) - stretch + (classes - 1) * np.log(scale)

    def _solution(self, q: np.ndarray, scale: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """Return the rows (M, K) that follow from the scales (M,) and choices of branches (M, free)."""
        y, free = scale[:, None] * q, choices.shape[1]
        branches = np.stack([self.inverse(piece, y) for piece in range(3)], -1)
        low = self.f[self.pieces[0]].max()
        branch = np.concatenate([choices, (y[:, free:] > low).astype(int)], 1)
        return np.take_along_axis(branches, branch[..., None], -1)[..., 0]


@functools.cache
def _branch_choices(classes: int) -> np.ndarray:
    """Return every choice of branches (C, free): 0, 1 or 2 for the largest entry, 0 or 1 for the next ones."""
    free = min(FREE, classes - 1)
    return np.stack(np.meshgrid(range(3), *[range(2)] * free, indexing="ij"), -1).reshape(-1, free + 1)
