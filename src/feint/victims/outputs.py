"""Outputs of adapters: from the arrays that a raw model returns to logits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feint.errors import BadInput
from feint.models.simplex import finite_log, log_probabilities, on_simplex
from feint.victims.inputs import one_of

VALUES = ("logits", "log-probabilities", "probabilities", "sigmoid", "sigmoid-logit", "decisions", "labels")


@dataclass(frozen=True)
class ClassOutputs:
    """Output of a classifier.

    Args:
        tensor: Name of the output; "" is the only one.
        values: "logits", "log-probabilities" or "probabilities" (N, K); "sigmoid", one probability of the second class
            of two, or "sigmoid-logit", its logit; "decisions", the decision scores of scikit-learn; "labels" alone.
        order: Class k is the score `order[k]`; () is the model's own order. Scores that are left out do not count.
        labels: With "labels", what the model returns for each class, as text; () are the numbers 0, 1, ….

    Raises:
        BadRecipe: The kind of values is unknown.
    """

    tensor: str = ""
    values: str = "logits"
    order: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of(self, "values", VALUES)

    def decode(self, output: Any, classes: int) -> Tensor:
        """Return the logits (N, K) float32 of an output.

        Args:
            output: Tensor of numbers, or array of labels.
            classes: Number K of classes.

        Returns:
            Logits, which softmax turns into the model's probabilities; one-hot rows for labels.

        Raises:
            BadInput: The output does not fit, or an unknown label occurs.
        """
        if self.values == "labels":
            return _one_hot_logits(output, self.labels or tuple(map(str, range(classes))))
        if not isinstance(output, Tensor):
            raise BadInput("labels", f"{self.values}, as the adapter says", "feint inspect writes another adapter")
        z = _scores(output, self.values)
        if self.order and max(self.order) < z.shape[1]:
            z = z[:, list(self.order)]
        if z.ndim != 2 or z.shape[1] != classes:
            raise BadInput(
                f"outputs of shape {tuple(output.shape)}", f"{self.values} of {classes} classes",
                "feint inspect writes the adapter anew",
            )  # fmt: skip
        return z.float()


def _scores(output: Tensor, values: str) -> Tensor:
    """Return one logit for each score of the model."""
    if output.ndim > 2:
        output = output.flatten(1)  # (N, K, 1, 1)
    if output.dtype not in (torch.float32, torch.float64):
        output = output.float()
    single = output.ndim == 1 or output.shape[1] == 1
    if values == "decisions" and single:
        values = "sigmoid-logit"
    if values in ("sigmoid", "sigmoid-logit"):
        if not single:
            raise BadInput(f"{output.shape[1]} scores", f"one, as {values!r} says", "feint inspect writes the adapter")
        score = output.reshape(-1, 1)
        if values == "sigmoid-logit":
            return torch.cat([-score / 2, score / 2], 1)  # (0, s) would have the energy −log p of the first class
        values, output = "probabilities", torch.cat([1 - score, score], 1)
    if values == "probabilities":
        _check_probabilities(output.detach())
        return log_probabilities(output)
    return output.log_softmax(-1) if values == "log-probabilities" else output


def _check_probabilities(p: Tensor) -> None:
    """Raise `BadInput` for rows off the simplex. A graph cannot raise: its outputs are checked when it is written."""
    if not torch.compiler.is_exporting() and not on_simplex(p, 1e-2):
        low, high = (value.item() for value in p.float().aminmax())
        raise BadInput(
            f"rows from {low:.3g} to {high:.3g}, which are no probabilities", "rows that sum to 1",
            "feint inspect looks at them and writes the adapter",
        )  # fmt: skip


def label_text(value: Any) -> str:
    """Return a label as text: 1.0 is "1", so that numbers match whatever their type."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return value.decode() if isinstance(value, bytes) else str(value)


def _one_hot_logits(output: Any, labels: tuple[str, ...]) -> Tensor:
    if isinstance(output, Tensor) and all(label.removeprefix("-").isdigit() for label in labels):
        numbers = torch.tensor([int(label) for label in labels], device=output.device)
        rows = output.reshape(len(output), 1) == numbers
    else:
        values = [label_text(value) for value in np.asarray(output).reshape(len(output)).tolist()]
        rows = torch.tensor([[value == label for label in labels] for value in values])
    if not torch.compiler.is_exporting() and not rows.any(1).all():
        value = np.asarray(output).reshape(len(output))[int(rows.any(1).int().argmin())]
        known = ", ".join(labels[:12])
        raise BadInput(f"the label {label_text(value)!r}", f"one of {known}", "feint inspect writes the adapter anew")
    return finite_log(rows.float())
