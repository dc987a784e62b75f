"""Ordinary inputs of a task, by which a claim sees whether its controls are as good as the model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from feint.data import Split
from feint.defenses.access.binomial import at_most
from feint.errors import BadRecipe
from feint.models.inference import answers
from feint.ownership.mark import Mark, Marking
from feint.ownership.selection import NONE, Rehearsal

LEAST_SHARE = 0.1  # of the controls, that must be as good as the model; of those of feint controls a quarter is like it
LEVEL = 0.25  # of the test: a quarter of the controls that are as good is taken for worse, and few that are worse pass


@dataclass(frozen=True)
class OrdinaryInputs(Marking):
    """Held-out inputs at random, with their right classes. They judge the controls, and whether a suspect has the task.

    Weak models agree little with a good one, whoever made them. Beside weak controls a good innocent looks like a copy.

    Attributes:
        most: Greatest number of inputs.
        seed: Seed of the choice.

    Raises:
        BadRecipe: The number is below 1.
    """

    most: int = 1000
    seed: int = 0

    method: ClassVar[str] = "ordinary inputs"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise BadRecipe(repr(self), "most ≥ 1", "raise it")

    def mark(self, model: nn.Module, inputs: Split, rehearsal: Rehearsal = NONE) -> Mark:
        rows = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(self.seed))[: self.most]
        chosen = inputs.take(rows.numpy(), part=f"{inputs.part}, ordinary inputs")
        p = answers(model, chosen)
        return Mark.of(self.method, inputs.domain, p.shape[1], chosen.inputs(), p.argmax(-1), chosen.labels)


def as_good(ordinary: Mark, answered: Mapping[str, np.ndarray]) -> int:
    """Return the number of controls that are right as often as the model, up to chance.

    A control that is right as often wins half of the inputs that only one of the two gets right: the sign test.

    Args:
        ordinary: Ordinary inputs, with the model's labels and the right classes.
        answered: Labels (n,) of each control.

    Returns:
        The number.
    """
    return sum(_is_as_good(ordinary, labels) for labels in answered.values())


def least_as_good(controls: int) -> int:
    """Return how many of so many controls must be as good as the model."""
    return math.ceil(LEAST_SHARE * controls)


def _is_as_good(ordinary: Mark, labels: np.ndarray) -> bool:
    model, control = ordinary.labels == ordinary.truth, labels == ordinary.truth
    wins, losses = int((control & ~model).sum()), int((model & ~control).sum())
    return at_most(wins, wins + losses, 0.5) >= LEVEL


@dataclass(frozen=True)
class TaskCheck:
    """Answers to ordinary inputs, by which a suspect of another task is recognised.

    Attributes:
        asked: Number of ordinary inputs that the suspect answered.
        right: Share of these that it gets right.
        weakest: Share that the weakest control gets right.
    """

    asked: int
    right: float
    weakest: float

    @property
    def is_other_task(self) -> bool:
        """Whether the suspect is right less than half as often as the weakest control."""
        return bool(self.asked) and self.right < self.weakest / 2


def check_task(ordinary: Mark, suspect: np.ndarray, answered: Mapping[str, np.ndarray]) -> TaskCheck:
    """Compare the labels (m,) of a suspect for the first m ordinary inputs, where it gave one, with the controls'."""
    rows = np.flatnonzero(suspect < ordinary.classes)
    truth, everyone = ordinary.truth[rows], [labels[rows] for labels in (suspect, *answered.values())]
    shares = [float((labels == truth).mean()) if len(rows) else 0.0 for labels in everyone]
    return TaskCheck(len(rows), shares[0], min(shares[1:]))


class Separated(NamedTuple):
    """Marks of a model, apart from ordinary inputs.

    Attributes:
        marks: The marks.
        controls: For each control the labels (n,) that it gives to the inputs of each of these marks.
        ordinary: The ordinary inputs; None where there are none.
        answered: For each control the labels (n,) that it gives to these.
    """

    marks: Sequence[Mark]
    controls: Mapping[str, Sequence[np.ndarray]]
    ordinary: Mark | None
    answered: Mapping[str, np.ndarray]


def separated(marks: Sequence[Mark], controls: Mapping[str, Sequence[np.ndarray]]) -> Separated:
    """Take the ordinary inputs out of marks, and the controls' labels for them."""
    places = [i for i, mark in enumerate(marks) if mark.method == OrdinaryInputs.method]
    others = [i for i in range(len(marks)) if i not in places]
    answered = {name: [labels[i] for i in others] for name, labels in controls.items()}
    ordinary = marks[places[0]] if places else None
    known = {name: labels[places[0]] for name, labels in controls.items()} if places else {}
    return Separated([marks[i] for i in others], answered, ordinary, known)
