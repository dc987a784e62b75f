"""Published values, and their measured counterparts."""

from typing import Protocol

import numpy as np

from feint.evaluation.results import Results


class PublishedValue(Protocol):
    """A value from a paper, in the unit that rows use. `source` is a key of the bibliography."""

    @property
    def victim(self) -> str: ...
    @property
    def defense(self) -> str: ...
    @property
    def attack(self) -> str: ...
    @property
    def budget(self) -> int: ...
    @property
    def score(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def source(self) -> str: ...


def measured(results: Results, expected: PublishedValue) -> float | None:
    """Return the mean of the same score over seeds, in `results` of one victim; None where it was not run."""
    where = expected.defense, expected.attack, expected.budget
    scores = [
        row.scores[expected.score]
        for row in results
        if (row.defense, row.attack, row.budget) == where and expected.score in row.scores
    ]
    return float(np.mean(scores)) if scores else None
