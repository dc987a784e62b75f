"""Comparison of a suspect with controls, on the inputs of one mark."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
    m = len(suspect)
    evidence = None
    shares = {name: float((answered[:m] == mark.labels[:m]).mean()) for name, answered in controls.items()}
    for name, answered in controls.items():
        counts, agrees, others = _agreement(mark, suspect, answered[:m])
        wins, losses = int((agrees & ~others).sum()), int((others & ~agrees).sum())
        log_e = paired_log_e(wins, losses)
        if evidence is None or log_e < evidence.log_e:
            evidence = Evidence(
                mark.method, m, int(counts.sum()), int(agrees.sum()), name, int(others.sum()), wins, losses, log_e
            )
    assert evidence is not None  # `claim` has controls
    highest = max(shares, key=shares.__getitem__)
    return replace(evidence, highest=shares[highest], highest_control=highest)


def _agreement(mark: Mark, suspect: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which inputs count, and on which of these suspect and control agree with the mark."""
    labels, truth = mark.labels[: len(suspect)], mark.truth[: len(suspect)]
    counts = (truth == NO_TRUTH) | ((suspect != truth) & (control != truth))
    return counts, counts & (suspect == labels), counts & (control == labels)
