"""Statistics of claims: a paired test against each control, false positives by exact bounds, several suspects."""

import math
from collections.abc import Sequence

import numpy as np

STEPS = np.linspace(0.505, 0.995, 99)  # shares of disagreements won that the bets are made for


def paired_log_e(wins: int, losses: int) -> float:
    """Return the logarithm of the e-value against "the suspect agrees no more often than the control".

    The suspect wins where it agrees with the evidence and the control does not. Where it agrees no more often, a win is
    no likelier than a loss, whatever the inputs, the classes and the control's rate of agreement. The e-value is the
    mean over θ of the likelihood ratio of θ to 1/2, which is a test martingale: it holds after any number of questions
    (Ville 1939; Ramdas et al., Statistical Science 2023).

    Args:
        wins: Inputs on which the suspect alone agrees.
        losses: Inputs on which the control alone agrees.

    Returns:
        log e.
    """
    logs = wins * np.log(2 * STEPS) + losses * np.log(2 * (1 - STEPS))
    return float(np.logaddexp.reduce(logs) - math.log(len(STEPS)))


def sign_test(wins: int, losses: int) -> float:
    """Return the p-value of the exact sign test: the probability of so many wins of all, each with probability 1/2."""
    return binomial_tail(wins, wins + losses, 0.5)


def binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X ≥ k) for X binomial with n draws of probability p."""
    if k <= 0 or p >= 1:
        return 1.0
    if p <= 0:
        return 0.0
    i = np.arange(k, n + 1)
    chosen = math.lgamma(n + 1) - np.array([math.lgamma(j + 1) + math.lgamma(n - j + 1) for j in i])
    return min(1.0, float(np.exp(np.logaddexp.reduce(chosen + i * math.log(p) + (n - i) * math.log1p(-p)))))


def upper_bound(count: int, n: int, *, confidence: float = 0.95) -> float:
    """Return the exact upper bound of a probability of which `count` of `n` independent cases were seen.

    Of 59 innocents of which none was accused, at most 4.95 % are, with a confidence of 95 % (Clopper and Pearson,
    Biometrika 1934).
    """
    if count >= n:
        return 1.0
    low, high = count / n, 1.0
    for _ in range(60):  # bisection: P(X ≤ count) falls with the probability
        middle = (low + high) / 2
        if 1 - binomial_tail(count + 1, n, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Return which hypotheses are rejected with familywise error at most `level` (Holm, Scand. J. Statist. 1979)."""
    order = np.argsort(p_values, kind="stable")
    rejected = [False] * len(p_values)
    for rank, i in enumerate(order):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected
