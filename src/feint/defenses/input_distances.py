"""Distances between inputs, one for each kind of domain.

A detector stores rows of numbers of the inputs and compares these. A new domain is an entry of `DISTANCES`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from feint.defenses.features import HASHES, minhash, ngrams
from feint.signature import Column, Columns, Domain, Pixels, Text, Tokens

SAME = 1e-12  # squared distance, of the squared lengths, under which two inputs are the same but for rounding
TOKENS, BYTES = 2, 4  # lengths of n-grams


class InputDistance(ABC):
    """Distance between inputs of a domain: 0 between inputs that count as the same query.

    Args:
        domain: The domain.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @abstractmethod
    def rows(self, x: Tensor) -> Tensor:
        """Return rows of numbers (N, d) float32 of the inputs `x` (N, …), to be stored."""

    @abstractmethod
    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distances (n, m) float32 between rows (n, d) and (m, d)."""


class Euclidean(InputDistance):
    """L2 distance of all values."""

    def rows(self, x: Tensor) -> Tensor:
        return x.flatten(1).cpu().float()

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = a.double(), b.double()
        lengths = a.square().sum(-1)[:, None] + b.square().sum(-1)
        squares = torch.addmm(lengths, a, b.T, alpha=-2)
        return torch.where(squares > SAME * lengths, squares, 0.0).sqrt_().float()


class Gower(InputDistance):
    """Mean over the columns of how much two rows differ there, 0 to 1 each (Gower, Biometrics 1971).

    Numbers differ by |a − b| as a share of their column's published range, at most 1, and categories by 0 or 1. A
    column whose range is not known counts |a − b| / (|a| + |b|). A missing value differs from every other by 1: it is a
    value of its own here, where Gower leaves it out, since an attacker could otherwise hide behind incomplete queries.
    """

    def rows(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.domain.canonical(x.cpu().numpy()))

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        total = a.new_zeros(len(a), len(b))
        columns = cast(Columns, self.domain).columns
        for column, left, right in zip(columns, a.T, b.T, strict=True):
            apart = _apart(column, left[:, None], right)
            both = left.isnan()[:, None] & right.isnan()
            total += apart.nan_to_num(1.0).masked_fill(both, 0.0)
        return total / len(columns)


def _apart(column: Column, a: Tensor, b: Tensor) -> Tensor:
    """Return how much values of a column differ, 0 to 1; NaN where one is missing."""
    if column.categories is not None:
        return torch.where(a.isnan() | b.isnan(), torch.nan, (a != b).float())
    if column.range is None:
        return (a - b).abs() / (a.abs() + b.abs()).clamp_min(torch.finfo(a.dtype).tiny)
    low, high = column.range
    return ((a - b).abs() / max(high - low, torch.finfo(a.dtype).tiny)).clamp_max(1.0)


class Jaccard(InputDistance):
    """Share of n-grams that two sequences do not have in common, estimated by MinHash (Broder, 1997).

    The n-grams are pairs of tokens, or four bytes of a text. A signature of 128 numbers is stored of each input, and
    the estimate's standard error is at most 0.044.
    """

    def rows(self, x: Tensor) -> Tensor:
        domain = self.domain
        n, padding = (TOKENS, domain.padding) if isinstance(domain, Tokens) else (BYTES, 0)
        return torch.from_numpy(minhash(ngrams(x.cpu().numpy(), n, padding)))

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.cdist(a, b, p=0) / HASHES  # counts the places that differ


DISTANCES: dict[type[Domain], Callable[[Domain], InputDistance]] = {
    Pixels: Euclidean, Columns: Gower, Tokens: Jaccard, Text: Jaccard
}  # fmt: skip


def distance_in(domain: Domain) -> InputDistance:
    """Return the distance between inputs of a domain; `Euclidean` for a kind that has no entry."""
    return DISTANCES.get(type(domain), Euclidean)(domain)
