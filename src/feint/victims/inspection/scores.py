"""Kinds of scores, told apart by looking at a model's answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from feint.errors import BadInput
from feint.models.simplex import kind_of_scores, on_simplex
from feint.victims.outputs import label_text

ROUNDING = 1e-2  # by which probabilities leave the simplex: a float32 sum of a softmax may exceed 1, float16 more so
FEW = 16  # answers from which a multi-label model or a second softmax can be told apart


class Answers(NamedTuple):
    """Answers of a model as an adapter would read them.

    Attributes:
        values: Kind of the output, as in `ClassOutputs.values`.
        top: Number (N,) of the highest score, or of the label.
        names: Names of the scores: the model's own, or their numbers.
        words: The kind, in words.
    """

    values: str
    top: np.ndarray
    names: tuple[str, ...]
    words: str


def read_answers(output: Any, names: Sequence[str], count: int, certain: str | None = None) -> Answers:
    """Return what an output holds.

    Args:
        output: Tensor of numbers (N, …), or array (N,) of labels.
        names: The model's own names of its classes; () where it has none.
        count: Number of the classes of the samples.
        certain: Kind of the output, where the model's metadata say so.

    Returns:
        The answers.

    Raises:
        BadInput: The output is no classifier's: its scores are those of several labels at once, or not finite.
    """
    several = isinstance(output, Tensor) and output.ndim > 1 and output[0].numel() > 1
    if not isinstance(output, Tensor) or not (output.is_floating_point() or several):
        return _labels(output, names, count)
    z = output.flatten(1) if output.ndim > 1 else output[:, None]
    z = z if z.is_floating_point() else z.double()
    if not z.isfinite().all():
        raise BadInput("scores that are not finite", "finite scores", "look for an overflow in the model")
    values, words = _kind(z, certain)
    middle = 0.5 if values == "sigmoid" else 0.0
    top = (z[:, 0] > middle).long() if z.shape[1] == 1 else z.argmax(1)
    count = max(z.shape[1], 2)
    known = tuple(names) if len(names) == count else tuple(map(str, range(count)))
    return Answers(values, top.numpy(), known, words)


def _kind(z: Tensor, certain: str | None) -> tuple[str, str]:
    """Return the kind of scores (N, K), and the kind in words."""
    z = z.double()
    low, high, single = float(z.min()), float(z.max()), z.shape[1] == 1
    if certain == "probabilities" and not on_simplex(z, ROUNDING):
        raise BadInput(
            f"scores stated as probabilities, whose rows sum to {_sums(z)}", "rows that sum to 1",
            "measure one label at a time where an input may have several, or state values as logits",
        )  # fmt: skip
    if certain is not None:
        return certain, f"{certain}, as the model says"
    if single and low >= -ROUNDING and high <= 1 + ROUNDING:
        return "sigmoid", f"one sigmoid, {low:.3g} to {high:.3g}"
    if single:
        return "sigmoid-logit", f"one logit, {low:.3g} to {high:.3g}"
    kind = kind_of_scores(z, ROUNDING)
    if kind == "probabilities":
        twice = f", and none is above {high:.2f}: a softmax of a softmax" if softmax_twice(z) else ""
        return kind, f"probabilities: all rows sum to 1{twice}"
    if kind == "log-probabilities":
        return kind, "log-probabilities: exponentials of all rows sum to 1"
    if kind == "sigmoids" and len(z) >= FEW:
        raise BadInput(
            f"scores in [0, 1] whose rows sum to {_sums(z)}: a sigmoid for each label", "one class for each input",
            "measure one label at a time: wrap it to return that one sigmoid",
        )  # fmt: skip
    return "logits", f"logits, {low:.3g} to {high:.3g}"


def _sums(z: Tensor) -> str:
    """Return the range of the sums of rows."""
    sums = z.sum(1)
    return f"{float(sums.min()):.2g} to {float(sums.max()):.2g}"


def softmax_twice(p: Tensor) -> bool:
    """Return whether the probabilities `p` (N, K) are the softmax of probabilities in every row."""
    z = p.double().clamp_min(1e-300).log()
    inner = z + (1 - z.sum(1, keepdim=True)) / p.shape[1]  # sums to 1, as the inner probabilities would
    return len(p) >= FEW and bool(inner.min() >= -1e-4) and bool(inner.max() > 0.5)


def _labels(output: Any, names: Sequence[str], count: int) -> Answers:
    """Return labels as numbers among all names that the model has or that occur."""
    texts = [label_text(value) for value in np.asarray(output).reshape(len(output)).tolist()]
    known = (*names, *sorted({*texts} - {*names}))
    if all(name.isdecimal() for name in known):
        known = tuple(map(str, range(max(count, *(int(name) + 1 for name in known)))))
    known += tuple(f"label {i + 1}" for i in range(len(known), count))  # that did not occur
    code = {name: i for i, name in enumerate(known)}
    return Answers("labels", np.array([code[text] for text in texts]), known, "labels alone")
