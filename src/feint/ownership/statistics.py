"""Statistics of claims: a paired test against each control, and several suspects."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

STEPS = np.linspace(0.505, 0.995, 99)  # shares of disagreements won that the bets are made for


def paired_log_e(wins: ArrayLike, losses: ArrayLike) -> np.ndarray:
    """Return the logarithms of e-values against "the suspect agrees no more often than the control".

    The suspect wins where it agrees with the evidence and the control does not. Where it agrees no more often, a win is
    no likelier than a loss, whatever the inputs, the classes and the control's rate of agreement. The e-value is the
    mean over θ of the likelihood ratio of θ to 1/2, which is a test martingale: it holds after any number of questions
    (Ville 1939; Ramdas et al., Statistical Science 2023).

    Args:
        wins: Numbers (…) of inputs on which the suspect alone agrees.
        losses: Numbers (…) of inputs on which the control alone agrees.

    Returns:
        log e (…).
    """
    won, lost = np.asarray(wins)[..., None], np.asarray(losses)[..., None]
    logs = won * np.log(2 * STEPS) + lost * np.log(2 * (1 - STEPS))
    return np.logaddexp.reduce(logs, axis=-1) - math.log(len(STEPS))


def mean_log_e(logs: Sequence[float]) -> float:
    """Return the logarithm of the mean of e-values, by their own logarithms; 0 for none.

    The mean is an e-value under any dependence (Vovk and Wang, Annals of Statistics 2021).
    """
    return float(np.logaddexp.reduce(logs) - math.log(len(logs))) if len(logs) else 0.0


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Return which hypotheses are rejected with familywise error at most `level` (Holm, Scand. J. Statist. 1979)."""
    order = np.argsort(p_values, kind="stable")
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected
