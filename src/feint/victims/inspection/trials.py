"""Trials: a raw model on labelled samples under each plausible adapter."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feint.data import Split
from feint.data.remarks import listed
from feint.errors import BadInput
from feint.signature import Domain
from feint.victims.adapter import AdaptedModel, Adapter, Inputs, concatenate
from feint.victims.inspection.input_candidates import InputCandidate
from feint.victims.inspection.label_orders import LabelOrder, label_orders, matched_right
from feint.victims.inspection.scores import Answers, read_answers
from feint.victims.outputs import ClassOutputs
from feint.victims.raw import RawModel

LEAST_GAIN = 0.05  # of accuracy by which an adapter has to be better
CERTAIN = 3.0  # standard errors of that gain: several dozen adapters are tried
UNSURE = 3.0  # standard errors above chance below which that is said
ALIKE = 2.0  # standard errors within which two adapters fit alike
TIMED, LEAST, MOST = 8, 24, 1000  # samples that are timed, and that are tried: at least and at most
STAGES = 3
BATCH = 128


@dataclass(frozen=True)
class AdapterTrial:
    """Adapter that was tried.

    Attributes:
        candidate: Inputs.
        tensor: Name of the output.
        answers: What the output holds.
        order: Which score belongs to which class.
        right: Whether the model is right on each sample (N,).
    """

    candidate: InputCandidate
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
        return self.candidate.words + ("" if self.order.is_own else f", classes {self.order.words}")

    def classes(self, classes: Sequence[str], *, named: bool) -> tuple[str, ...]:
        """Return the names of the classes: where they are the model's own, each is the name of its score.

        Args:
            classes: Names of the classes of the samples.
            named: Whether the samples are labelled by these names, which then stay whatever the model calls its scores.
        """
        names = self.answers.names
        numbered = names == tuple(map(str, range(len(names))))
        if named or numbered or tuple(classes) != names[: len(classes)]:
            return tuple(classes)
        return tuple(names[score] for score in self.order.order[: len(classes)])

    def adapter(self, domain: Domain, classes: Sequence[str], *, named: bool) -> Adapter:
        """Return the adapter of this trial for a domain and its classes; `named` as in `classes`."""
        order, names = self.order.order, self.answers.names
        classes = self.classes(classes, named=named)
        if self.answers.values == "labels":
            order = order[: len(classes)]
            return Adapter(domain, tuple(classes), self.candidate.inputs, ClassOutputs(
                self.tensor, "labels", labels=tuple(names[i] for i in order)
            ))  # fmt: skip
        others = [names[i] if names[i] not in classes else f"score {i}" for i in order[len(classes) :]]
        outputs = ClassOutputs(self.tensor, self.answers.values, () if self.order.is_own else order)
        return Adapter(domain, (*classes, *others), self.candidate.inputs, outputs)


def clearly_better(right: np.ndarray, other: np.ndarray, y: np.ndarray) -> bool:
    """Return whether answers are right more often than others: by 5 points, for the mean class too, and not by chance.

    Args:
        right: Whether the answers are right on the first samples.
        other: The same of the others.
        y: Classes of the samples.
    """
    count = min(len(right), len(other))
    gain, error = _gain(right, other)
    fair = balanced(right[:count], y[:count])[0] - balanced(other[:count], y[:count])[0]
    return min(gain, fair) >= LEAST_GAIN and gain > CERTAIN * error


def alike(right: np.ndarray, other: np.ndarray) -> bool:
    """Return whether the difference between answers to the same samples may be chance."""
    gain, error = _gain(right, other)
    return abs(gain) <= ALIKE * error or gain == 0


def _gain(right: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the difference in accuracy on the first samples that both answered, and its standard error."""
    count = min(len(right), len(other))
    apart = right[:count].astype(int) - other[:count].astype(int)
    return float(apart.mean()), float(np.sqrt((apart != 0).sum()) / len(apart))


def above_majority(right: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return by how much answers are right more often than the most frequent class, and the standard error of that."""
    return _gain(right, y == np.bincount(y).argmax())


def balanced(right: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the mean over the classes of the share of right answers, and its standard error."""
    counts = np.bincount(y)
    occurring = counts > 0
    recalls = np.bincount(y, weights=right)[occurring] / counts[occurring]
    errors = recalls * (1 - recalls) / counts[occurring]
    return float(recalls.mean()), float(np.sqrt(errors.sum()) / occurring.sum())


def is_chance(right: np.ndarray, y: np.ndarray) -> bool:
    """Return whether answers are no better than always the most frequent class, nor than guesses for the mean class."""
    gain, error = above_majority(right, y)
    mean, deviation = balanced(right, y)
    guessed = 1 / len(np.unique(y))
    return gain <= error and mean - guessed <= ALIKE * deviation and not right.all()


def run_trials(
    raw: RawModel,
    candidates: Iterable[InputCandidate],
    samples: Split,
    classes: Sequence[str],
    *,
    seconds: float,
    most: int = MOST,
) -> list[AdapterTrial]:
    """Try a model on samples.

    Args:
        raw: The model.
        candidates: Inputs to try.
        samples: Labelled samples, in random order.
        classes: Names of their K classes.
        seconds: Time in all. Of a slow model fewer samples are tried.
        most: Number of samples at most.

    Returns:
        The trials, in the order of the candidates; the best ones on more of the samples.

    Raises:
        BadInput: The model takes none of the inputs, or gives nothing that a classifier would.
    """
    candidates = list(candidates)
    usable, failures, speed = _usable(raw, candidates, samples)
    if failures and not usable:
        raise failures[0]
    if not usable:
        raise BadInput(
            f"{raw.place}, for which no inputs fit", "inputs of the samples' kind", "compare its inputs with the data"
        )  # fmt: skip
    trials: dict[InputCandidate, list[AdapterTrial]] = {}
    outputs: dict[InputCandidate, list[dict[str, Any]]] = {candidate: [] for candidate in usable}
    known, count = 0, min(LEAST, len(samples))
    for _ in range(STAGES):  # the better third on more samples
        count = _affordable(seconds / STAGES, speed * len(usable), count, min(most, len(samples)))
        for candidate in usable:
            outputs[candidate] += _outputs(raw, candidate.inputs, samples, count, first=known)
            trials[candidate] = _trials(raw, candidate, outputs[candidate], samples.labels[:count].numpy(), classes)
        best_first = sorted(usable, key=lambda candidate: -max(trial.accuracy for trial in trials[candidate]))
        usable = [candidate for candidate in usable if candidate in best_first[: max(2, len(usable) // 3)]]
        known = count
        if count == min(most, len(samples)):
            break
    return [trial for entries in trials.values() for trial in entries]


def _usable(
    raw: RawModel, candidates: Sequence[InputCandidate], samples: Split
) -> tuple[list[InputCandidate], list[BadInput], float]:
    """Return the inputs that the model takes, the errors of the others, and the seconds for one sample."""
    usable, failures, speed = [], [], 1e-6
    for candidate in candidates:
        try:
            _outputs(raw, candidate.inputs, samples, 1)
            usable.append(candidate)
        except BadInput as error:
            failures.append(error)
    if usable:
        started, count = time.monotonic(), min(TIMED, len(samples))
        _outputs(raw, usable[0].inputs, samples, count)
        speed += (time.monotonic() - started) / count
    return usable, failures, speed


def _affordable(seconds: float, speed: float, least: int, most: int) -> int:
    """Return the number of samples, from `least` to `most`, that so many seconds allow."""
    return max(int(min(seconds / speed, most)), min(least, most))


def _outputs(raw: RawModel, inputs: Inputs, samples: Split, count: int, *, first: int = 0) -> list[dict[str, Any]]:
    """Return the outputs by name for the samples from the `first` to the last of `count`, in batches."""
    model = AdaptedModel(raw, Adapter(samples.domain, ("0", "1"), inputs))
    starts = range(first, count, BATCH)
    with torch.no_grad():
        return [model.run(samples.inputs(slice(start, min(start + BATCH, count)))) for start in starts]


def _trials(
    raw: RawModel, candidate: InputCandidate, batches: list[dict[str, Any]], y: np.ndarray, classes: Sequence[str]
) -> list[AdapterTrial]:
    """Return a trial for each output and each order of labels, of the outputs for samples of classes (N,) `y`."""
    trials, failure = [], None
    outputs = {name: concatenate([batch[name] for batch in batches]) for name in batches[0]}
    for name, output in sorted(outputs.items(), key=lambda entry: not _has_scores(entry[1])):
        try:
            answers = read_answers(output, raw.metadata.classes, len(classes), raw.metadata.values)
            tried = order_trials(candidate, name, answers, y, classes)
            trials += [trial for trial in tried if trial.order.is_own or not raw.metadata.named]
        except BadInput as error:
            failure = error
    if not trials and failure is not None:
        raise failure
    return trials


def _has_scores(output: Any) -> bool:
    """Return whether an output holds scores, which say more than labels."""
    return isinstance(output, Tensor) and output.is_floating_point()


def order_trials(
    candidate: InputCandidate, tensor: str, answers: Answers, y: np.ndarray, classes: Sequence[str]
) -> list[AdapterTrial]:
    """Return a trial of the same answers for each order of the labels (N,) `y`.

    Raises:
        BadInput: The answers have fewer classes than the samples.
    """
    if len(answers.names) < len(classes):
        raise BadInput(
            f"answers of {len(answers.names)} classes ({listed(answers.names)}) for samples of {len(classes)} "
            f"({listed(classes)})", "the same classes", "check the labels",
        )  # fmt: skip
    orders = label_orders(classes, answers.names, answers.top, y)
    return [
        AdapterTrial(candidate, tensor, answers, order, _right(answers, order, y, len(classes))) for order in orders
    ]


def best_trial(trials: Sequence[AdapterTrial]) -> AdapterTrial:
    """Return the first trial of those that fit as well as the best one on most samples; learned orders come last."""
    most = max(len(trial.right) for trial in trials)
    trials = [trial for trial in trials if len(trial.right) == most]
    best = max(trials, key=lambda trial: trial.accuracy)
    fitting = [trial for trial in trials if trial is best or alike(best.right, trial.right)]
    return next((trial for trial in fitting if not trial.order.learned), fitting[0])


def best_order(top: np.ndarray, y: np.ndarray, classes: Sequence[str], scores: int) -> tuple[str, np.ndarray]:
    """Return the order of labels under which given answers are right most often.

    Args:
        top: Score (N,) that is highest for each sample.
        y: Classes (N,) of the samples.
        classes: Names of the classes.
        scores: Number of scores.

    Returns:
        The order in words, and which answers (N,) are right under it.
    """
    answers = Answers("", top, tuple(map(str, range(scores))), "")
    rights = [
        (f"classes {order.words}", _right(answers, order, y, len(classes)))
        for order in label_orders(classes[:scores], answers.names, top, y)
    ]
    return max(rights, key=lambda entry: entry[1].mean())


def _right(answers: Answers, order: LabelOrder, y: np.ndarray, count: int) -> np.ndarray:
    if order.learned:
        return matched_right(answers.top, y, count, len(answers.names))
    return np.array(order.order)[y] == answers.top
