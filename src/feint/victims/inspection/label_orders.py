"""Plausible orders of labels: which of a model's scores belongs to which class of the samples."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

SHOWN = 3  # classes that the words of a learned order name


class LabelOrder(NamedTuple):
    """Order of a model's scores.

    Attributes:
        order: Class k of the samples is score `order[k]`. Scores of no class follow.
        words: The order in words.
        learned: Whether it is made from the answers to the samples.
    """

    order: tuple[int, ...]
    words: str
    learned: bool = False

    @property
    def is_own(self) -> bool:
        """Whether class k is the model's k-th score."""
        return self.order == tuple(range(len(self.order)))


def same_kind(one: LabelOrder, other: LabelOrder) -> bool:
    """Return whether two orders of different answers follow one rule."""
    return one.learned if other.learned else one.words == other.words


def label_orders(classes: Sequence[str], names: Sequence[str], top: np.ndarray, y: np.ndarray) -> list[LabelOrder]:
    """Return the orders that are tried, the likeliest first.

    Args:
        classes: Names of the K classes of the samples.
        names: The model's own names of its scores, at least K; numbers where it has none.
        top: Score (N,) that is highest for each sample.
        y: Classes (N,) of the samples.

    Returns:
        Different orders of all scores. The last may be the one that is learned from the answers.
    """
    learned = matched(top, y, len(classes), len(names))
    pairs = ", ".join(f"{name} is score {score}" for name, score in zip(classes[:SHOWN], learned, strict=False))
    more = ", …" if len(classes) > SHOWN else ""
    orders = [
        *_known_orders(classes, names),
        LabelOrder(learned, f"as the answers match ({pairs}{more})", learned=True),
    ]
    complete = (entry._replace(order=completed(entry.order, len(names))) for entry in orders)
    first: dict[tuple[int, ...], LabelOrder] = {}
    for entry in complete:
        first.setdefault(entry.order, entry)
    return list(first.values())


def _known_orders(classes: Sequence[str], names: Sequence[str]) -> Iterator[LabelOrder]:
    count, scores = len(classes), len(names)
    position = {name: i for i, name in enumerate(names)}
    if all(name in position for name in classes):
        yield LabelOrder(tuple(position[name] for name in classes), "by their names")
    yield LabelOrder(tuple(range(count)), "in the model's own order")
    if count == scores == 2:
        yield LabelOrder((1, 0), "exchanged")
    if scores > count:
        yield LabelOrder(tuple(range(1, count + 1)), "from the model's second score on")
    yield LabelOrder(tuple((k - 1) % scores for k in range(count)), "numbered from 1")
    yield LabelOrder(tuple((k + 1) % scores for k in range(count)), "numbered one too low")
    ranks = {name: i for i, name in enumerate(sorted(classes))}
    yield LabelOrder(tuple(ranks[name] for name in classes), "in alphabetical order of the classes")
    if all(name.isdecimal() for name in classes):
        ranks = {name: i for i, name in enumerate(sorted(classes, key=int))}
        yield LabelOrder(tuple(ranks[name] for name in classes), "in numerical order of the classes")


def matched(top: np.ndarray, y: np.ndarray, count: int, scores: int) -> tuple[int, ...]:
    """Return the order under which most of the highest scores are right: the largest counts are matched first."""
    table = np.zeros((count, scores), np.int64)
    np.add.at(table, (y, top), 1)
    order = np.full(count, -1)
    free = np.ones(scores, bool)
    cells = np.flatnonzero(table)  # of 2,000 classes 4 million, of which the samples reach a thousand
    for cell in cells[np.argsort(-table.ravel()[cells], kind="stable")]:
        k, score = divmod(int(cell), scores)
        if order[k] < 0 and free[score]:
            order[k], free[score] = score, False
    for k in np.flatnonzero(order < 0):  # classes that no answer names keep their own number, where it is free
        score = k if k < scores and free[k] else int(np.flatnonzero(free)[0])
        order[k], free[score] = score, False
    return tuple(map(int, order))


def matched_right(top: np.ndarray, y: np.ndarray, count: int, scores: int) -> np.ndarray:
    """Return which answers (N,) are right under the order that the other half of the samples teaches."""
    right = np.zeros(len(y), bool)
    half = np.arange(len(y)) % 2 == 0
    for here in (half, ~half):
        order = np.array(matched(top[~here], y[~here], count, scores))
        right[here] = order[y[here]] == top[here]
    return right


def completed(order: Sequence[int], scores: int) -> tuple[int, ...]:
    """Return the order, and after it the scores that it leaves out."""
    return (*order, *sorted({*range(scores)} - {*order}))
