"""Inspection of a raw model: the adapter under which it is right, and the evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from feint.data import Split
from feint.errors import BadInput
from feint.victims.adapter import Adapter
from feint.victims.certain import certain_adapter
from feint.victims.inspection.input_candidates import Candidate, input_candidates
from feint.victims.inspection.trials import Trial, alike, clearly_better, run_trials
from feint.victims.raw import RawModel

SECONDS = 15.0  # of measuring
NAMED = 4  # other adapters that the evidence names


@dataclass(frozen=True)
class Inspection:
    """What an inspection found.

    Attributes:
        adapter: The adapter.
        evidence: Lines that say why.
        accuracy: Accuracy under the adapter, None where nothing was measured.
        trials: All trials, the best first.
    """

    adapter: Adapter
    evidence: tuple[str, ...]
    accuracy: float | None = None
    trials: tuple[Trial, ...] = field(default=(), repr=False)


def inspect_model(
    raw: RawModel, samples: Split | None = None, classes: Sequence[str] = (), *, seconds: float = SECONDS
) -> Inspection:
    """Find the adapter of a raw model.

    Args:
        raw: The model.
        samples: Labelled samples; without any, only what the model says of itself counts.
        classes: Names of the classes of the samples, in the order of their labels.
        seconds: Time for measuring.

    Returns:
        The adapter under which the model is right most often. Of several that fit alike it is the commonest.

    Raises:
        BadInput: The model is no classifier of such samples; or it leaves its adapter open, and there are no samples.
    """
    if samples is None:
        return Inspection(certain_adapter(raw), ("read from the model, not measured: no samples",))
    shuffled = samples.take(np.random.default_rng(0).permutation(len(samples)), part=f"{samples.part}, shuffled")
    candidates = input_candidates(raw, samples.domain, shuffled.inputs(slice(0, 256)).numpy(), _certain(raw, samples))
    if not candidates:
        certain_adapter(raw, samples.domain)  # raises the reason
    names = tuple(classes) or tuple(map(str, range(int(samples.labels.max()) + 1)))
    trials = run_trials(raw, candidates, shuffled, names, seconds=seconds)
    best = chosen(trials)
    ordered = tuple(sorted(trials, key=lambda trial: -trial.accuracy))
    adapter = best.adapter(samples.domain, names)
    return Inspection(adapter, tuple(_evidence(best, ordered, shuffled, names)), best.accuracy, ordered)


def _certain(raw: RawModel, samples: Split) -> Candidate | None:
    try:
        return certain_adapter(raw, samples.domain).inputs
    except BadInput:
        return None


def chosen(trials: Sequence[Trial]) -> Trial:
    """Return the trial that comes first among those that fit as well as the best one."""
    best = max(trials, key=lambda trial: trial.accuracy)  # the first of equals
    return next(trial for trial in trials if trial is best or alike(best, trial) and not clearly_better(best, trial))


def _evidence(best: Trial, trials: Sequence[Trial], samples: Split, classes: Sequence[str]) -> list[str]:
    """Return the lines of evidence: the accuracy, other adapters, what fits alike, outputs and classes."""
    count = len(best.right)
    lines = [f"accuracy {best.accuracy:.2f} on {count:,} samples with {best.words}"]
    others = [t for t in trials if t.words != best.words and t.candidate.inputs != best.candidate.inputs]
    same = [trial.words for trial in others if alike(best, trial)]
    worse = {trial.candidate.words: trial for trial in reversed(others) if not alike(best, trial)}
    lines += [f"{other.accuracy:.2f} with {other.words}" for other in list(worse.values())[::-1][:NAMED]]
    if same:
        lines.append(f"fit alike: {'; '.join(same[:NAMED])}")
    reordered = [t for t in trials if t.candidate == best.candidate and t.order != best.order and t.tensor == best.tensor]
    if reordered and best.order.order != tuple(range(len(best.order.order))):
        plain = next((t for t in reordered if t.order.order == tuple(range(len(t.order.order)))), reordered[0])
        lines.append(f"{plain.accuracy:.2f} with classes {plain.order.words}")
    lines.append(f"output {best.tensor}: {best.answers.words}")
    lines.append(majority_line(samples.labels[:count].numpy(), classes))
    return lines


def majority_line(y: np.ndarray, classes: Sequence[str]) -> str:
    """Return the sentence about the most frequent class of labels (N,)."""
    counts = np.bincount(y, minlength=len(classes))
    return f"always {classes[int(counts.argmax())]!r} would be right on {counts.max() / counts.sum():.2f}"
