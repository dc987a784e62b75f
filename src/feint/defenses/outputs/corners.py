"""Corners of the simplex that turn an attacker's gradient farthest, for MAD and MAD-argmax.

The gradient of an answer q is Gᵀq. The angle between those of a corner u and of p depends on A = G Gᵀ alone::

    cos = uᵀAp / √(uᵀAu · pᵀAp),   and the objective is  ‖Gᵀu/|Gᵀu| − Gᵀp/|Gᵀp|‖² = 2 − 2 cos
"""

import functools
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.defenses.outputs._surrogates import gram
from feint.defenses.outputs.rows import ranking
from feint.errors import NotExportable

ENUMERATED = 12  # up to so many classes all 2^(K−1) corners are compared
SWEPT = 32  # up to so many classes the thresholds of all pairs are swept; above, the paper's greedy search
AT_ONCE = 2**16  # numbers worked on at once: 10,000 rows of 10 classes take 33 ms, 60 with 2**14, 41 with 2**18


class Gradients(ABC):
    """Parameters of the surrogate in which angles are measured."""

    @abstractmethod
    def one_hot(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        """Return the class (N,) whose one-hot answer turns the gradient farthest."""

    @abstractmethod
    def uniform(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        """Return the set (N, K) of classes, the label of `p` among them, whose uniform answer turns it farthest."""


@dataclass(frozen=True)
class LastLayer(Gradients):
    """Last linear layer alone, as in the published code: Gᵀq = (q − s) ⊗ h, where s are the surrogate's answers.

    Only q − s matters then. A corner u_S enters through the size of S, Σ_S (p − s) and Σ_S s: no gradient is computed.

    Up to 12 classes all corners are compared. Up to 32, these are compared for each size: all sets that are extreme in
    the two sums (the least of p − μs, for every threshold μ), and those of the greedy search. They hold the optimum
    wherever some corner turns the gradient by more than 90°, since the objective is then quasi-convex in the two sums;
    elsewhere the result is the best of these. Above 32 classes it is the paper's greedy search.
    """

    def one_hot(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        s = _answers(model, x, p)
        away = p.double() - s
        inner = away - (away * s).sum(-1, keepdim=True)
        return (inner / (1 - 2 * s + s.square().sum(-1, keepdim=True)).clamp_min(1e-300).sqrt()).argmin(-1)

    def uniform(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        return farthest_sets(p.double(), _answers(model, x, p))


@dataclass(frozen=True)
class AllParameters(Gradients):
    """All parameters, for small networks: K backward passes an input; enumerated up to 12 classes, then greedy."""

    def one_hot(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        a = gram(model, x).double()
        return ((a @ p.double()[:, :, None])[..., 0] / a.diagonal(dim1=1, dim2=2).clamp_min(1e-300).sqrt()).argmin(-1)

    def uniform(self, model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
        a = gram(model, x).double()
        inner, label = (a @ p.double()[:, :, None])[..., 0], p.argmax(-1)
        if p.shape[-1] > ENUMERATED:
            return _greedy(label, inner, a)
        sets, best = _subsets(p.shape[-1]), []
        for row, matrix, first in zip(inner, a, label, strict=True):
            allowed = sets[sets[:, first] > 0]
            cosine = (allowed @ row) / ((allowed @ matrix) * allowed).sum(-1).clamp_min(1e-300).sqrt()
            best.append(allowed[cosine.argmin()])
        return torch.stack(best).bool()


def farthest_sets(p: Tensor, s: Tensor) -> Tensor:
    """Find for each row the set with the label of `p` and the least cos(u_S − s, p − s).

    Args:
        p: Clean answers, (N, K).
        s: The surrogate's answers, (N, K).

    Returns:
        The sets, (N, K) bool.

    Raises:
        NotExportable: while a graph of more than 12 classes is traced.
    """
    classes = p.shape[-1]
    if torch.compiler.is_exporting() and classes > ENUMERATED:
        raise NotExportable("a search among the sets of many classes", f"at most {ENUMERATED}", "serve it with torch")
    _, order = ranking(p.scatter(-1, p.argmax(-1, keepdim=True), 2.0))
    p, s = p.gather(-1, order), s.gather(-1, order)  # the label first
    if classes <= ENUMERATED:
        chosen = _by_chunks(_enumerate, p, s, 2 ** (classes - 1))
    elif classes <= SWEPT:
        chosen = _by_chunks(_sweep, p, s, classes**3)
    else:
        chosen = _by_chunks(_greedy_two_sums, p, s, classes)
    return torch.zeros_like(chosen).scatter_(-1, order, chosen)


def _by_chunks(search, p: Tensor, s: Tensor, size: int) -> Tensor:
    """Return `search(p, s)`, computed for chunks of rows of which each needs `size` numbers."""
    if torch.compiler.is_exporting():
        return search(p, s)
    rows = max(1, AT_ONCE // size)
    return torch.cat([search(a, b) for a, b in zip(p.split(rows), s.split(rows), strict=True)])


def _cosine(m: Tensor, away_sum: Tensor, s_sum: Tensor, p: Tensor, s: Tensor) -> Tensor:
    """Return the cosine, up to 1/|p − s|, of sets of classes.

    Args:
        m: Size of the sets.
        away_sum: Σ_S (p − s), (N, …).
        s_sum: Σ_S s, (N, …).
        p: Clean answers, (N, K).
        s: The surrogate's answers, (N, K).

    Returns:
        Cosines, (N, …).
    """
    shape = (-1, *[1] * (away_sum.ndim - 1))
    mean, norm = (s * (p - s)).sum(-1).view(shape), s.square().sum(-1).view(shape)
    return (away_sum / m - mean) * ((1 - 2 * s_sum) / m + norm).clamp_min(1e-300).rsqrt()


@functools.lru_cache(maxsize=16)
def _subsets(classes: int) -> Tensor:
    """Return all sets of the classes but the empty one, (2^K − 1, K)."""
    numbers = torch.arange(1, 2**classes)[:, None]
    return (numbers >> torch.arange(classes) & 1).double()


def _enumerate(p: Tensor, s: Tensor) -> Tensor:
    """Return the best of all sets with the first class."""
    sets = _subsets(p.shape[-1])[::2]  # those with the first class
    inverse = (sets / sets.sum(-1, keepdim=True)).T
    away, norm = p - s, s.square().sum(-1, keepdim=True)
    inner = away @ inverse - (s * away).sum(-1, keepdim=True)
    squared = torch.addmm(1 / sets.sum(-1)[None] + norm, s, inverse, alpha=-2)
    cosine = inner.mul_(squared.clamp_min_(1e-300).rsqrt_())
    if p.shape[-1] == 2:  # all u − s are parallel: cosines differ in their sign alone, and an error must not choose
        least = cosine.amin(-1, keepdim=True)
        cosine = -(cosine <= least + least.abs() / 2).double()
    return sets[cosine.argmin(-1)].bool()


def _sweep(p: Tensor, s: Tensor) -> Tensor:
    """Return the best of the sets that some threshold μ makes extreme, and of the greedy ones."""
    others, shares = p[:, 1:], s[:, 1:]
    first, second = torch.triu_indices(others.shape[-1], others.shape[-1], 1)
    gap = shares[:, first] - shares[:, second]
    crossing = (others[:, first] - others[:, second]) / torch.where(gap == 0, torch.inf, gap)
    crossing = crossing.sort(-1).values  # between two of these the order of p − μs does not change
    ends = crossing[:, :1] - 1, crossing[:, -1:] + 1
    mu = torch.cat([ends[0], (crossing[:, 1:] + crossing[:, :-1]) / 2, ends[1]], -1)
    order = (others[:, None] - mu[:, :, None] * shares[:, None]).argsort(-1)
    m = torch.arange(1, p.shape[-1] + 1, dtype=p.dtype)
    sums = []
    for values in (p - s, s):
        rest = values[:, None, 1:].expand(order.shape).gather(-1, order)
        sums.append(torch.cat([values[:, None, :1].expand(*order.shape[:2], 1), rest], -1).cumsum(-1))
    cosine = _cosine(m, sums[0], sums[1], p, s)
    best = cosine.flatten(1).argmin(-1)
    size, which = best % p.shape[-1], best // p.shape[-1]
    rank = order[torch.arange(len(p)), which].argsort(-1)
    chosen = torch.cat([torch.ones(len(p), 1, dtype=torch.bool), rank < size[:, None]], -1)
    greedy = _greedy_two_sums(p, s)
    better = _set_cosine(greedy, p, s) < _set_cosine(chosen, p, s)
    return torch.where(better[:, None], greedy, chosen)


def _set_cosine(chosen: Tensor, p: Tensor, s: Tensor) -> Tensor:
    """Return the cosine (N,), up to 1/|p − s|, of one set for each row."""
    return _cosine(chosen.sum(-1), ((p - s) * chosen).sum(-1), (s * chosen).sum(-1), p, s)


def _greedy_two_sums(p: Tensor, s: Tensor) -> Tensor:
    """Return the paper's greedy set: from the label alone, add the class that turns farthest; keep the best."""
    away = p - s
    chosen = torch.zeros_like(p, dtype=torch.bool)
    chosen[:, 0] = True
    away_sum, s_sum = away[:, 0].clone(), s[:, 0].clone()
    least, best, rows = _set_cosine(chosen, p, s), chosen.clone(), torch.arange(len(p))
    for m in range(2, p.shape[-1] + 1):
        size = torch.tensor(float(m), dtype=p.dtype)
        cosine = _cosine(size, away_sum[:, None] + away, s_sum[:, None] + s, p, s).masked_fill_(chosen, torch.inf)
        value, added = cosine.min(-1)
        chosen[rows, added] = True
        away_sum += away[rows, added]
        s_sum += s[rows, added]
        better = value < least
        least = torch.where(better, value, least)
        best[better] = chosen[better]
    return best


def _greedy(label: Tensor, inner: Tensor, a: Tensor) -> Tensor:
    """Return the paper's greedy set for any A = G Gᵀ (N, K, K), with `inner` = A p."""
    rows, diagonal = torch.arange(len(inner)), a.diagonal(dim1=1, dim2=2)
    chosen = torch.zeros_like(inner, dtype=torch.bool)
    chosen[rows, label] = True
    top, square, cross = inner[rows, label], diagonal[rows, label], a[rows, label]
    best, least = chosen.clone(), top / square.clamp_min(1e-300).sqrt()
    for _ in range(inner.shape[-1] - 1):
        squared = square[:, None] + 2 * cross + diagonal
        cosine = (top[:, None] + inner) / squared.clamp_min(1e-300).sqrt()
        value, added = cosine.masked_fill_(chosen, torch.inf).min(-1)
        chosen[rows, added] = True
        top, square, cross = top + inner[rows, added], squared[rows, added], cross + a[rows, added]
        better = value < least
        least = torch.where(better, value, least)
        best[better] = chosen[better]
    return best


@torch.no_grad()
def _answers(model: nn.Module, x: Tensor, p: Tensor) -> Tensor:
    """Return the surrogate's answers (N, K) in float64."""
    return F.softmax(model(x).double(), -1).to(p.device)
