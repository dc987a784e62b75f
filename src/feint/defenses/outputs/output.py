"""Base of the output defenses: maps of the simplex that check their arguments."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses.served_mark import ServedMark
from feint.errors import BadInput


class Output(ABC):
    """Output defense, `(p, x) -> p`. A method is a frozen dataclass that defines `preserves` and `perturb`.

    Attributes:
        cite: Key of the paper in docs/references.bib.
        randomised: Whether an answer is drawn at random, keyed by the input.
        labels_only: Whether answers hold the label and nothing else.
        countermeasures: Lenses of attackers who know the method, as recipes by the names that an audit gives them; a
            lens's missing field `defense` or `noise` is filled with the defense itself.
    """

    cite: ClassVar[str]
    randomised: ClassVar[bool] = False
    labels_only: ClassVar[bool] = False
    countermeasures: ClassVar[Mapping[str, str]] = {}

    @property
    @abstractmethod
    def preserves(self) -> str:
        """What stays exactly as it was, ties included: "order", "top-3" (…), "label", or "" for nothing."""

    def beside(self) -> ServedMark | None:
        """Return what Feint's gateway applies in its place after a graph, without its key, which no file may hold.

        None where there is no such step.
        """
        return None

    @abstractmethod
    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        """Return the perturbed answers.

        Args:
            p: Answers, (N, K), N ≥ 1, on the simplex.
            x: Their inputs, (N, …) of any domain, or None.

        Returns:
            Answers on the simplex, (N, K), in the type of `p`.
        """

    @torch.no_grad()
    def __call__(self, p: Tensor, x: Tensor | None = None) -> Tensor:
        """Check and perturb `p`. `BadInput` is raised for anything but rows on the simplex."""
        check_simplex(p)
        return self.perturb(p, x) if torch.compiler.is_exporting() or len(p) else p


def check_simplex(p: Tensor) -> None:
    """Raise `BadInput` unless `p` (N, K) holds finite rows ≥ 0 that sum to 1 within 1e-4, in float32 or float64."""
    if p.ndim != 2 or p.shape[1] < 2 or p.dtype not in (torch.float32, torch.float64):
        raise BadInput(
            f"answers of shape {tuple(p.shape)} and type {p.dtype}",
            "(N, K) in float32 or float64, K ≥ 2",
            "convert them",
        )
    if torch.compiler.is_exporting() or not len(p):  # a graph cannot raise: its caller checks
        return
    low = p.amin().item()
    least, most = (total.item() for total in p.sum(-1).aminmax())
    if not (low >= 0 and least >= 1 - 1e-4 and most <= 1 + 1e-4):  # written so that NaN is refused as well
        raise BadInput(
            f"rows from {low:.3g} up, with sums from {least:.3g} to {most:.3g}",
            "probabilities: rows ≥ 0 with sum 1",
            "apply softmax to logits first, or mend the model",
        )


def check_examples(p: Tensor) -> None:
    """Raise `BadInput` unless `p` (N, K), N ≥ 1, are answers that a defense can learn from; see `check_simplex`."""
    check_simplex(p)
    if not len(p):
        raise BadInput("no answers to learn from", "at least one row", "give the victim some inputs")


def onto_simplex(values: Tensor) -> Tensor:
    """Return `values` (N, K), in place, clipped at 0 and scaled to sum to 1; else the largest alone."""
    empty = (values.amax(-1) <= 0).nonzero()[:, 0]
    if len(empty):
        values[empty] = torch.zeros_like(values[empty]).scatter_(-1, values[empty].argmax(-1, keepdim=True), 1.0)
    values.clamp_min_(0)
    return values.div_(values.sum(-1, keepdim=True))
