"""A table whose columns depend on each other, and a model whose answers say nothing of that."""

import numpy as np
import torch
from torch import nn

from feint.data import Split
from feint.signature import Column, Columns

LETTERS = "x", "y", "z"
DOMAIN = Columns((Column("a", LETTERS), Column("b", LETTERS), Column("n", optional=True)))


class Margin(nn.Module):
    """One margin for two classes, by the first column alone, as boosted trees return it."""

    def __init__(self) -> None:
        super().__init__()
        self.domain, self.classes = DOMAIN, 2

    def forward(self, x):
        margin = x[:, :1].float() - 1.1
        return torch.cat([torch.zeros_like(margin), margin], 1)


def real(n: int, seed: int) -> Split:
    """Rows whose second category is that of the first, and whose number follows it; every tenth is missing."""
    random = np.random.default_rng(seed)
    code = random.integers(3, size=n)
    number = 30.0 + 10 * code + random.normal(size=n)
    number[::10] = np.nan
    return Split.of(np.stack([code, code, number], 1), (code > 1).astype(np.int64), domain=DOMAIN)
