"""Metrics for owners of scores: how well answers rank inputs, and which decisions they lead to.

Of two classes the second is the positive one, and its probability is the score. Of more classes each is judged against
the rest, and the result is the mean over those that the test set has. A value that is not defined is NaN: a test set of
one class has no ranking.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from feint.errors import BadInput

RATE = 0.01  # of false positives


def check_threshold(threshold: float | None) -> None:
    """Raise `BadInput` unless an owner's threshold is a probability between 0 and 1, or None."""
    if threshold is not None and not 0 < threshold < 1:
        raise BadInput(f"a threshold of {threshold}", "a probability above 0 and below 1", "change it")


def auroc(confidence: Tensor, right: Tensor) -> float:
    """Return the probability that a right answer is more confident than a wrong one (Hendrycks and Gimpel, ICLR 2017).

    Args:
        confidence: Scores (N,), the larger the more confident. Equal scores count half.
        right: Whether each answer is right, bool (N,).

    Returns:
        The area under the ROC curve: 0.5 for a confidence without information, NaN without right or without wrong
        answers.
    """
    values, index = confidence.double().unique(return_inverse=True)
    hits = torch.zeros(len(values), dtype=torch.float64).index_add_(0, index, right.double())
    misses = torch.zeros(len(values), dtype=torch.float64).index_add_(0, index, (~right).double())
    won = (hits * (misses.cumsum(0) - misses / 2)).sum()
    return (won / (hits.sum() * misses.sum())).item()


def auc(p: Tensor, y: Tensor) -> float:
    """Return the area under the ROC curve of answers `p` (N, K) for classes `y` (N,), the mean over one-vs-rest."""
    return _mean(auroc(scores, positive) for scores, positive in _one_vs_rest(p, y))


def balanced_accuracy(p: Tensor, y: Tensor) -> float:
    """Return the mean recall over the classes that `y` (N,) has."""
    right = p.argmax(-1) == y
    return _mean(right[y == c].double().mean().item() for c in y.unique())


def prevalence(y: Tensor) -> float:
    """Return the share of the most frequent class: the accuracy of a model that always answers it."""
    return y.bincount().max().item() / len(y) if len(y) else math.nan


def score_rmse(q: Tensor, p: Tensor) -> float:
    """Return the root of the mean squared difference of two answers (N, K), in probability."""
    return (q.double() - p.double()).square().mean().sqrt().item()


def threshold_agreement(q: Tensor, p: Tensor, threshold: float | None) -> float:
    """Return how often two answers lie on the same side of the owner's threshold; NaN without one.

    Args:
        q: Answers, (N, K).
        p: Other answers to the same inputs, (N, K).
        threshold: Probability from which on an input counts as positive.

    Returns:
        The share of inputs for which both decide alike, for more than two classes the mean over all of them.
    """
    if threshold is None:
        return math.nan
    alike = (q >= threshold) == (p >= threshold)
    return (alike[:, 1] if alike.shape[1] == 2 else alike).double().mean().item()


def rate_agreement(q: Tensor, p: Tensor, y: Tensor, rate: float = RATE) -> float:
    """Return how often two answers decide alike, each at its own threshold for a rate of false positives.

    Args:
        q: Answers, (N, K).
        p: Other answers to the same inputs, (N, K).
        y: True classes, (N,).
        rate: Largest share of the negatives that count as positive.

    Returns:
        The share of inputs for which both decide alike, the mean over one-vs-rest.
    """

    def decided(scores: Tensor, positive: Tensor) -> Tensor:
        return scores > cut(scores[~positive], rate)

    both = zip(_one_vs_rest(q, y), _one_vs_rest(p, y), strict=True)
    return _mean((decided(*some) == decided(*other)).double().mean().item() for some, other in both)


def cut(negatives: Tensor, rate: float = RATE) -> Tensor:
    """Return the least of the scores `negatives` (N,) that at most the share `rate` of them exceeds."""
    allowed = math.floor(rate * len(negatives) + 1e-9)  # 0.29 · 100 is 28.999999999999996
    return negatives.sort(descending=True).values[allowed]


def _one_vs_rest(p: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield scores (N,) and whether each input is positive, for each class that the test set has and lacks."""
    for c in (1,) if p.shape[1] == 2 else range(p.shape[1]):
        positive = y == c
        if positive.any() and not positive.all():
            yield p[:, c], positive


def _mean(values: Iterator[float]) -> float:
    known = list(values)
    return sum(known) / len(known) if known else math.nan
