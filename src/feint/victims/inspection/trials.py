"""Trials: a raw model on labelled samples under each plausible adapter."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from feint.data import Split
from feint.errors import BadInput
from feint.signature import Domain
from feint.victims.adapter import Adapter, Inputs, joined, run_inputs
from feint.victims.inspection.input_candidates import Candidate
from feint.victims.inspection.label_orders import LEARNED, LabelOrder, label_orders, matched_right
from feint.victims.inspection.scores import Answers, read_answers
from feint.victims.outputs import ClassOutputs
from feint.victims.raw import RawModel

LEAST_GAIN = 0.05  # of accuracy by which an adapter has to be better
CERTAIN = 3.5  # standard errors of that gain: several dozen adapters are tried
ALIKE = 2.0  # standard errors within which two adapters fit alike
FIRST, MOST = 32, 1000  # samples for the first measurement of speed, and in all
BATCH = 128


@dataclass(frozen=True)
class Trial:
    """Adapter that was tried.

    Attributes:
        candidate: Inputs.
        tensor: Name of the output.
        answers: What the output holds.
        order: Which score belongs to which class.
        right: Whether the model is right on each sample (N,).
    """

    candidate: Candidate
    tensor: str
    answers: Answers
    order: LabelOrder
    right: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of the samples on which the model is right."""
        return float(self.right.mean())

    @property
    def words(self) -> str:
        """Inputs and order in words."""
        ordinary = self.order.order == tuple(range(len(self.order.order)))
        return self.candidate.words + ("" if ordinary else f", classes {self.order.words}")

    def adapter(self, domain: Domain, classes: Sequence[str]) -> Adapter:
        """Return the adapter of this trial for a domain and its classes."""
        order, names = self.order.order, self.answers.names
        if self.answers.values == "labels":
            order = order[: len(classes)]
            return Adapter(domain, tuple(classes), self.candidate.inputs, ClassOutputs(
                self.tensor, "labels", labels=tuple(names[i] for i in order)
            ))  # fmt: skip
        others = [names[i] if names[i] not in classes else f"score {i}" for i in order[len(classes) :]]
        kept = () if order == tuple(range(len(order))) else order
        outputs = ClassOutputs(self.tensor, self.answers.values, kept)
        return Adapter(domain, (*classes, *others), self.candidate.inputs, outputs)


def clearly_better(better: Trial, other: Trial) -> bool:
    """Return whether an adapter is right more often by 5 points at least and by far more than chance."""
    gain, error = _gain(better, other)
    return gain >= LEAST_GAIN and gain > CERTAIN * error


def alike(one: Trial, other: Trial) -> bool:
    """Return whether the difference between two adapters may be chance."""
    gain, error = _gain(one, other)
    return abs(gain) <= ALIKE * error or gain == 0


def _gain(one: Trial, other: Trial) -> tuple[float, float]:
    """Return the difference in accuracy on the same samples, and its standard error."""
    apart = one.right.astype(int) - other.right.astype(int)
    return float(apart.mean()), float(np.sqrt((apart != 0).sum()) / len(apart))


def run_trials(
    raw: RawModel, candidates: Iterable[Candidate], samples: Split, classes: Sequence[str], *, seconds: float
) -> list[Trial]:
    """Try a model on samples.

    Args:
        raw: The model.
        candidates: Inputs to try.
        samples: Labelled samples, in random order.
        classes: Names of their K classes.
        seconds: Time in all. Of a slow model fewer samples are tried.

    Returns:
        The trials on the same samples, in the order of the candidates.

    Raises:
        BadInput: The model takes none of the inputs, or gives nothing that a classifier would.
    """
    candidates, started, trials = list(candidates), time.monotonic(), []
    count, failure = min(FIRST, len(samples)), None
    usable: list[Candidate] = []
    for candidate in candidates:
        try:
            _outputs(raw, candidate.inputs, samples, count)
            usable.append(candidate)
        except BadInput as error:
            failure = failure or error
    if not usable:
        raise failure or BadInput(f"{raw.place}, for which no inputs fit", "inputs of the samples' kind", "see its inputs")
    spent = (time.monotonic() - started) / len(candidates)  # seconds for FIRST samples
    most = int(count * max(seconds - (time.monotonic() - started), 1) / max(spent * len(usable), 1e-9))
    count = max(count, min(len(samples), MOST, most))
    for candidate in usable:
        trials += _trials(raw, candidate, samples, count, classes)
    return trials


def _outputs(raw: RawModel, inputs: Inputs, samples: Split, count: int) -> dict:
    """Return the outputs for the first samples by name."""
    with torch.no_grad():
        parts = [
            run_inputs(raw, inputs, samples.domain, samples.inputs(slice(start, min(start + BATCH, count))))
            for start in range(0, count, BATCH)
        ]
    return {name: joined([part[name] for part in parts]) for name in parts[0]}


def _trials(raw: RawModel, candidate: Candidate, samples: Split, count: int, classes: Sequence[str]) -> list[Trial]:
    """Return a trial for each output and each order of labels."""
    y, trials, failure = samples.labels[:count].numpy(), [], None
    for name, output in _outputs(raw, candidate.inputs, samples, count).items():
        try:
            answers = read_answers(output, raw.metadata.classes, len(classes), raw.metadata.values)
        except BadInput as error:
            failure = error
            continue
        if len(answers.names) < len(classes):
            failure = BadInput(
                f"answers of {len(answers.names)} classes for samples of {len(classes)}", "as many", "check the labels"
            )
            continue
        for order in label_orders(classes, answers.names, answers.top, y):
            trials.append(Trial(candidate, name, answers, order, _right(answers, order, y, len(classes))))
    if not trials and failure is not None:
        raise failure
    return trials


def _right(answers: Answers, order: LabelOrder, y: np.ndarray, count: int) -> np.ndarray:
    if order.words == LEARNED:
        return matched_right(answers.top, y, count, len(answers.names))
    return np.array(order.order)[y] == answers.top
