"""Accuracy of a model on its owner's labelled samples: wrong set-ups are found before anything is measured."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from feint.data import Split
from feint.errors import BadInput
from feint.signature import Pixels
from feint.victims import AdaptedModel, FromAnswers, RawModel, TensorSpec, TorchModel, answers
from feint.victims.inspection import (
    LEAST_GAIN,
    UNSURE,
    AdapterTrial,
    above_majority,
    balanced,
    best_order,
    best_trial,
    clearly_better,
    input_candidates,
    is_chance,
    run_trials,
)

MOST = 2000  # samples that are judged
PAID = 200  # of a model whose calls are counted
TRIED = 300  # samples on which other adapters are tried
SECONDS = 9.0  # for other adapters
TOLERANCE = 0.01  # of an expected accuracy, beside two standard errors
ONE_SIDED = 0.5  # share of one class from which that is said


@dataclass(frozen=True)
class SampleAccuracy:
    """Accuracy of a model on labelled samples, and what it is compared with.

    Attributes:
        accuracy: Share of the samples on which the model is right.
        balanced_accuracy: Mean over the classes of that share.
        majority: Share of the most frequent class: the accuracy of always answering it.
        majority_class: Name of the most frequent class.
        count: Number of samples.
        notes: Sentences for the owner about the comparison; none where all is as expected.
    """

    accuracy: float
    balanced_accuracy: float
    majority: float
    majority_class: str
    count: int
    notes: tuple[str, ...] = ()


def check_accuracy(
    model: nn.Module,
    samples: Split,
    *,
    expected: float | None = None,
    classes: Sequence[str] = (),
    place: str = "MODEL",
    data: str = "SAMPLES",
    label: str | None = None,
) -> SampleAccuracy:
    """Compare the accuracy of a model on samples with chance, with other adapters, and with what its owner expects.

    Args:
        model: The victim.
        samples: Labelled samples.
        expected: Accuracy that the owner expects, as a share (`--expect-accuracy`). A model that reaches it passes,
            whatever else is found.
        classes: Names of the classes, in the order of the labels; numbers by default.
        place: Model as the owner named it, for the remedy.
        data: Samples as the owner named them, for the remedy.
        label: Column of their label as the owner named it, for the remedy.

    Returns:
        The accuracy and what it was compared with.

    Raises:
        BadInput: The model is no better than chance, or another adapter or order of the labels makes it right much
            more often, or it misses the expected accuracy. The error names the likely cause and the remedy.
    """
    if expected is not None and not 0 <= expected <= 1:
        raise BadInput(f"--expect-accuracy {expected}", "a share from 0 to 1, like 0.93", "divide percent by 100")
    most = PAID if isinstance(model, FromAnswers) else MOST
    samples = samples.take(np.random.default_rng(0).permutation(len(samples))[:most], part=samples.part)
    y = samples.labels.numpy()
    if len(np.unique(y)) < 2:
        raise BadInput(f"{len(y):,} samples of {data}, all of one class", "samples of every class", "bring others")
    p = answers(model, samples).numpy()
    if y.max() >= p.shape[1]:
        raise BadInput(
            f"labels up to {y.max()} of {data} and answers of {p.shape[1]} classes of {place}",
            "labels that the model can give", f"{inspect_command(place, data, label)} tries other orders of the labels",
        )  # fmt: skip
    names = tuple(classes) or tuple(map(str, range(p.shape[1])))
    right = p.argmax(1) == y
    measured = _measure(right, y, names)
    if expected is not None and measured.accuracy >= expected - _tolerance(expected, len(y)):
        return measured
    better = _better(model, samples, p, right, names) if measured.accuracy <= 1 - LEAST_GAIN else None
    if better is None and expected is None and not is_chance(right, y):
        return measured
    wrong = _wrong(measured, better, expected, place, data, label)
    raise wrong


def _measure(right: np.ndarray, y: np.ndarray, names: Sequence[str]) -> SampleAccuracy:
    counts = np.bincount(y, minlength=len(names))
    most = int(counts.argmax())
    measured = SampleAccuracy(
        float(right.mean()), balanced(right, y)[0], float(counts[most] / len(y)), names[most], len(y)
    )
    notes = []
    gain, error = above_majority(right, y)
    if measured.majority >= ONE_SIDED or gain < UNSURE * error:
        notes.append(
            f"right on {measured.accuracy:.1%}, where {_majority(measured)}; the mean over the classes is "
            f"{measured.balanced_accuracy:.1%}"
        )
    return SampleAccuracy(**{**vars(measured), "notes": tuple(notes)})


def _majority(measured: SampleAccuracy) -> str:
    return f"always {measured.majority_class!r} would be right on {measured.majority:.1%}"


def _tolerance(expected: float, count: int) -> float:
    return max(TOLERANCE, 2 * (expected * (1 - expected) / count) ** 0.5)


def _better(
    model: nn.Module, samples: Split, p: np.ndarray, right: np.ndarray, names: Sequence[str]
) -> tuple[str, float] | None:
    """Return the adapter or order of labels under which the model is right much more often, in words, and how often.

    Nothing is sent to a model elsewhere: of it only the order of the labels is tried, on the answers at hand.
    """
    words, reordered = best_order(p.argmax(1), samples.labels.numpy(), names, p.shape[1])
    order = (words, float(reordered.mean())) if clearly_better(reordered, right, samples.labels.numpy()) else None
    if (raw := _raw(model, samples)) is None:
        return order
    best = _best_trial(raw, model, samples, names)
    if best is None or not clearly_better(best.right, right, samples.labels.numpy()):
        return order
    return (best.words, best.accuracy) if order is None or best.accuracy > order[1] + LEAST_GAIN else order


def _raw(model: nn.Module, samples: Split) -> RawModel | None:
    """Return the raw model on which other inputs can be tried, None where there is none."""
    if isinstance(model, AdaptedModel):
        return model.raw
    if isinstance(model, FromAnswers) or not isinstance(samples.domain, Pixels):
        return None
    return TorchModel(model, inputs=(TensorSpec("x", "float32", (None, *samples.domain.shape)),))


def _best_trial(raw: RawModel, model: nn.Module, samples: Split, names: Sequence[str]) -> AdapterTrial | None:
    inputs = model.adapter.inputs if isinstance(model, AdaptedModel) else None
    candidates = input_candidates(raw, samples.domain, samples.inputs(slice(0, TRIED)).numpy(), inputs)
    try:
        return best_trial(run_trials(raw, candidates, samples, names, seconds=SECONDS, most=TRIED))
    except BadInput:  # a model that takes no other inputs
        return None


def inspect_command(place: str, data: str, label: str | None) -> str:
    """Return the command that finds out how the model `place` takes the samples `data`, as it is typed."""
    return shlex.join(["feint", "inspect", place, "--data", data, *([] if label is None else ["--label", label])])


def _wrong(
    measured: SampleAccuracy,
    better: tuple[str, float] | None,
    expected: float | None,
    place: str,
    data: str,
    label: str | None,
) -> BadInput:
    """Return the error for a wrong set-up."""
    command = inspect_command(place, data, label)
    got = f"{place}, right on {measured.accuracy:.1%} of {measured.count:,} samples of {data}"
    accept = f"--expect-accuracy {int(measured.accuracy * 1000) / 1000:g} if that is what it reaches"
    inspect = f"{command} tries other adapters; or {accept}"
    if better is not None:
        return BadInput(
            f"{got}, and on {better[1]:.1%} with {better[0]}",
            "a model.toml that says so",
            f"{command} writes it; or {accept}",
        )
    if expected is not None:
        return BadInput(got, f"{expected:.1%} (--expect-accuracy)", inspect)
    return BadInput(
        f"{got}, where {_majority(measured)}: no better than chance, and no other scale, layout or order of labels is",
        "samples of the model's task, prepared as in its training", inspect,
    )  # fmt: skip
