"""Comparison of a suspect with controls, on the inputs of one mark."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feint.ownership.mark import NO_TRUTH, Mark
from feint.ownership.statistics import paired_log_e


@dataclass(frozen=True)
class Evidence:
    """Evidence of one mark.

    Attributes:
        method: Method of the mark.
        asked: Number of its inputs that the suspect answered.
        compared: Number of inputs that count: for mistakes, those that suspect and control both get wrong.
        agreed: On how many of these the suspect gives the mark's label.
        control: Name of the control that comes nearest to the suspect.
        control_agreed: On how many of these that control gives the mark's label.
        wins: Inputs on which the suspect alone agrees.
        losses: Inputs on which this control alone agrees.
        log_e: Logarithm of the e-value, of this control.
        highest: Highest share of the asked inputs on which a control gives the mark's label.
        highest_control: Name of that control.
    """

    method: str
    asked: int
    compared: int
    agreed: int
    control: str
    control_agreed: int
    wins: int
    losses: int
    log_e: float
    highest: float = 0.0
    highest_control: str = ""


def compare(mark: Mark, suspect: np.ndarray, controls: Mapping[str, np.ndarray]) -> Evidence:
    """Return the evidence of a mark: the comparison with the control that comes nearest to the suspect.

    Args:
        mark: The mark.
        suspect: Labels (m,) of the suspect for its first m inputs.
        controls: Labels (n,) of each control.

    Returns:
        The evidence.
    """
    m, names = len(suspect), [*controls]
    counts, agrees, others, shares = _agreement(mark, suspect, controls)
    wins, losses = (agrees & ~others).sum(1), (others & ~agrees).sum(1)
    logs = paired_log_e(wins, losses)
    i, highest = int(logs.argmin()), int(shares.argmax())
    return Evidence(
        mark.method, m, int(counts[i].sum()), int(agrees[i].sum()), names[i], int(others[i].sum()),
        int(wins[i]), int(losses[i]), float(logs[i]), float(shares[highest]), names[highest],
    )  # fmt: skip


def log_e_after(
    mark: Mark, suspect: np.ndarray, controls: Mapping[str, np.ndarray], questions: np.ndarray
) -> np.ndarray:
    """Return the logarithms (L,) of the e-value of `compare` after each of these numbers (L,) of questions."""
    _, agrees, others, _ = _agreement(mark, suspect, controls)
    won, lost = (
        np.pad(alone.cumsum(1), ((0, 0), (1, 0)))[:, questions] for alone in (agrees & ~others, others & ~agrees)
    )
    return paired_log_e(won, lost).min(0)


class _Agreement(NamedTuple):
    """How suspect and controls agree with a mark, on its first m inputs.

    Attributes:
        counts: Whether an input counts (C, m), for each control.
        agrees: Whether it counts, and the suspect gives the mark's label (C, m).
        others: Whether it counts, and the control gives the mark's label (C, m).
        shares: Share (C,) of all m inputs to which the control gives the mark's label.
    """

    counts: np.ndarray
    agrees: np.ndarray
    others: np.ndarray
    shares: np.ndarray


def _agreement(mark: Mark, suspect: np.ndarray, controls: Mapping[str, np.ndarray]) -> _Agreement:
    m = len(suspect)
    labels, truth, known = mark.labels[:m], mark.truth[:m], np.stack([answered[:m] for answered in controls.values()])
    counts, same = (truth == NO_TRUTH) | ((suspect != truth) & (known != truth)), known == labels
    return _Agreement(counts, counts & (suspect == labels), counts & same, same.mean(1))
