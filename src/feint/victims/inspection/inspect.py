"""Inspection of a raw model: the adapter under which it is right, and the evidence."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from feint.data import Split
from feint.errors import BadInput, Undecided
from feint.victims.adapter import AdaptedModel, Adapter, Inputs
from feint.victims.certain import certain_adapter, certain_inputs
from feint.victims.inspection.input_candidates import InputCandidate, input_candidates
from feint.victims.inspection.label_orders import same_kind
from feint.victims.inspection.scores import Answers
from feint.victims.inspection.trials import (
    UNSURE,
    AdapterTrial,
    above_majority,
    alike,
    balanced,
    best_trial,
    is_chance,
    order_trials,
    run_trials,
)
from feint.victims.raw import RawModel, arrays_of
from feint.victims.remote import metered
from feint.victims.tasks import refuse_task, task_of

SECONDS = 10.0  # of measuring
AGAIN = 5.0  # times as many for the best adapter where it looks like chance: the verdict is no matter of speed
PAID = 100  # samples that are sent to a model whose calls are counted
OWN = 300  # samples on which a model's own labels are compared with its scores
RARE = 0.01  # share of them that may differ by rounding and ties
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
    trials: tuple[AdapterTrial, ...] = field(default=(), repr=False)


def inspect_model(
    raw: RawModel,
    samples: Split | None = None,
    classes: Sequence[str] = (),
    *,
    named: bool = False,
    expected: float | None = None,
    seconds: float = SECONDS,
) -> Inspection:
    """Find the adapter of a raw model.

    Args:
        raw: The model.
        samples: Labelled samples; without any, only what the model says of itself counts.
        classes: Names of the classes of the samples, in the order of their labels.
        named: Whether the samples are labelled by these names, and not by numbers that were given them.
        expected: Accuracy that the owner expects, as a share; a model that is no better than chance needs it.
        seconds: Time for measuring.

    Returns:
        The adapter under which the model is right most often. Of several that fit alike it is the commonest.

    Raises:
        BadInput: The model is no classifier of such samples, or is no better than chance under any adapter; or it
            leaves its adapter open, and there are no samples.
    """
    refuse_task(raw, task_of(raw))
    if samples is None:
        return Inspection(certain_adapter(raw), ("read from the model, not measured: no samples",))
    if len(samples.labels.unique()) < 2:
        raise BadInput(f"{len(samples):,} samples, all of one class", "samples of every class", "bring others")
    shuffled = samples.take(np.random.default_rng(0).permutation(len(samples)), part=f"{samples.part}, shuffled")
    names = tuple(classes) or tuple(map(str, range(int(samples.labels.max()) + 1)))
    trials = _paid_trials(raw, shuffled, names) if raw.meter else _free_trials(raw, shuffled, names, seconds)
    best = best_trial(trials)
    if raw.meter is None and expected is None and _looks_like_chance(best, shuffled):  # of few samples that says little
        trials = run_trials(raw, [best.candidate], shuffled, names, seconds=AGAIN * seconds)
        best = best_trial(trials)
    y = shuffled.labels[: len(best.right)].numpy()
    if expected is None and _looks_like_chance(best, shuffled):
        raise BadInput(
            f"{raw.place}, right on {best.accuracy:.1%} of {len(y):,} samples at best ({best.words}), where "
            f"{majority_line(y, best.classes(names, named=named))}", "an adapter under which it is better than chance",
            f"check that the samples are of its task; --expect-accuracy {best.accuracy - 0.0005:.3f} accepts that",
        )  # fmt: skip
    ordered = tuple(sorted(trials, key=lambda trial: -trial.accuracy))
    adapter = best.adapter(samples.domain, names, named=named)
    apart = _own_labels(raw, adapter, shuffled) if raw.meter is None else ()
    evidence = (*_evidence(best, ordered, shuffled, adapter.classes), *apart, *raw.remarks.values())
    return Inspection(adapter, evidence, best.accuracy, ordered)


def _looks_like_chance(trial: AdapterTrial, samples: Split) -> bool:
    """Return whether a trial on the first samples is no better than chance."""
    return is_chance(trial.right, samples.labels[: len(trial.right)].numpy())


def _free_trials(raw: RawModel, samples: Split, names: Sequence[str], seconds: float) -> list[AdapterTrial]:
    """Try every plausible adapter."""
    candidates = input_candidates(raw, samples.domain, samples.inputs(slice(0, 256)).numpy(), _certain(raw, samples))
    if not candidates:
        try:
            certain_inputs(raw, samples.domain)  # raises the reason
        except Undecided as error:
            raise BadInput(
                error.args[0], f"inputs that hold {samples.domain.noun}, one each",
                "wrap it in a function of one batch: package.module:function",
            ) from error  # fmt: skip
    return run_trials(raw, candidates, samples, names, seconds=seconds)


def _paid_trials(raw: RawModel, samples: Split, names: Sequence[str]) -> list[AdapterTrial]:
    """Try the orders of the labels on few answers, which are kept; the inputs are those that the model states."""
    adapter = certain_adapter(raw, samples.domain)
    model = metered(AdaptedModel(raw, adapter))
    count = min(PAID, raw.meter.most or PAID) if raw.meter is not None else PAID
    x, y = samples.inputs(slice(0, count)), samples.labels[:count].numpy()
    top = model(x).argmax(1).numpy()
    answers = Answers(adapter.outputs.values, top, adapter.classes, adapter.outputs.values)
    stated = InputCandidate(adapter.inputs, "the inputs that it states")
    return order_trials(stated, adapter.outputs.tensor, answers, y, names)


def _certain(raw: RawModel, samples: Split) -> Inputs | None:
    """Return the inputs that the model makes certain for samples, or None."""
    try:
        domain, inputs = certain_inputs(raw, samples.domain)
    except BadInput:
        return None
    return inputs if domain == samples.domain else None


def _evidence(best: AdapterTrial, trials: Sequence[AdapterTrial], samples: Split, classes: Sequence[str]) -> list[str]:
    """Return the lines of evidence: the accuracy, other adapters, what fits alike, outputs and classes."""
    others = [t for t in trials if t.tensor == best.tensor and same_kind(t.order, best.order) and t is not best]
    same = [t for t in others if len(t.right) == len(best.right) and alike(best.right, t.right)]
    worse = [t for t in others if not any(t is entry for entry in same)]
    plain = [trial for trial in worse[NAMED:] if trial.candidate.plain]
    lines = [f"accuracy {best.accuracy:.2f} on {len(best.right):,} samples with {best.words}"]
    lines += [f"{trial.accuracy:.2f} with {trial.candidate.words}" for trial in (*worse[:NAMED], *plain)]
    if same:
        lines.append(f"fit alike: {'; '.join(trial.candidate.words for trial in same[:NAMED])}")
    orders = [t for t in trials if (t.candidate, t.tensor) == (best.candidate, best.tensor) and t is not best]
    if orders and not best.order.is_own:
        lines += [f"{trial.accuracy:.2f} with classes {trial.order.words}" for trial in orders if trial.order.is_own]
    others = {trial.tensor: trial for trial in reversed(trials) if trial.tensor != best.tensor}
    lines += [f"{trial.accuracy:.2f} by the output {name}" for name, trial in others.items()]
    lines.append(f"output {best.tensor}: {best.answers.words}")
    y = samples.labels[: len(best.right)].numpy()
    gain, error = above_majority(best.right, y)
    mean = f"; the mean over the classes is {balanced(best.right, y)[0]:.2f}" if gain < UNSURE * error else ""
    return [*lines, majority_line(y, classes) + mean]


def _own_labels(raw: RawModel, adapter: Adapter, samples: Split) -> tuple[str, ...]:
    """Return the line on the labels that a model gives by itself, where its highest scores are others."""
    model, x = AdaptedModel(raw, adapter), samples.inputs(slice(0, OWN))
    if adapter.outputs.values == "labels" or (labels := raw.own_labels(arrays_of(model.encode(x)))) is None:
        return ()
    order = np.array(adapter.outputs.order or range(model.classes))
    apart = float((order[model(x).argmax(1).numpy()] != labels).mean())
    line = f"mind: its own labels (predict) are not those of its highest scores on {apart:.0%}"
    return (line,) if apart > RARE else ()


def majority_line(y: np.ndarray, classes: Sequence[str]) -> str:
    """Return the sentence about the most frequent class of labels (N,)."""
    counts = np.bincount(y, minlength=len(classes))
    return f"always {classes[int(counts.argmax())]!r} would be right on {counts.max() / counts.sum():.2f}"
