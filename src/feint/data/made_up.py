"""Inputs that nobody sent: drawn from what is published of the columns of a table, or uniformly."""

import numpy as np

from feint.data import Split
from feint.data.duplicates import without_repeats
from feint.signature import Columns

MADE_UP = {"marginals": True, "uniform": False}  # whether published statistics are followed
MADE_UP_SIZE = 10_000


def made_up(samples: Split, kind: str, seed: int = 0) -> Split:
    """Return inputs drawn without data.

    Args:
        samples: Inputs whose means, shares and ranges count as published, where their domain has none.
        kind: "marginals" for draws by these statistics, "uniform" for others.
        seed: Seed of the draws.
    """
    domain = samples.domain
    source = _described(samples) if isinstance(domain, Columns) else domain
    x = source.sample(MADE_UP_SIZE, seed, published=MADE_UP[kind])
    split = Split.of(domain.encode(x), np.zeros(len(x), np.int64), domain=domain, name=kind, part="made up")
    return without_repeats(split)[0]


def _described(samples: Split) -> Columns:
    """Return the columns of samples with statistics: their own, or else those of the samples."""
    domain = samples.domain
    assert isinstance(domain, Columns)
    table = domain.to_table(samples.inputs().numpy())
    categories = {column.name: column.categories for column in domain.columns if column.categories is not None}
    described = Columns.describe(table, categories).columns
    return Columns(tuple(
        column if column.mean is not None or column.shares is not None else measured
        for column, measured in zip(domain.columns, described, strict=True)
    ))  # fmt: skip
