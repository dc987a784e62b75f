"""Dilution of evidence: the share of attack queries that a test never accuses, among the most ordinary others."""

import torch
from torch import Tensor

from feint.defenses.access.sequential_test import SequentialTest

RANKS, MIXES, HALVINGS = 60, 20, 16


def unaccused_share(test: SequentialTest, attack: Tensor, filler: Tensor | None = None) -> float:
    """Return the largest share of attack queries with which no bet of a test grows.

    A bet b grows by π E_attack[log b] + (1 − π) E_filler[log b] a query. A client whose share is below the returned one
    is accused by a fluctuation only. No test of p-values finds a share below min_θ θ / F(θ), F being the distribution
    of the attack's p-values, since a client can make the p-values of all its queries uniform.

    Args:
        test: A fitted test.
        attack: Scores of the attack's queries, (N,).
        filler: Scores of the other queries, (M,); None for those that serve the attacker best, of one or two values. An
            attacker has to know the test to make these.

    Returns:
        The share, in [0, 1].
    """
    gained = test.wins(attack)[0].mean(0)
    lost = _fillers(test) if filler is None else test.wins(filler)[0].mean(0)[None]
    if gained.amax() <= 0:
        return 1.0
    least, most = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (least + most) / 2
        growth = (share * gained + (1 - share) * lost).amax(-1).min()
        least, most = (share, most) if growth <= 0 else (least, share)
    return least


def _fillers(test: SequentialTest) -> Tensor:
    """Return what mixtures of two queries lose on average, (mixtures, bets)."""
    scores = test.learned["inputs"]
    chosen = scores[torch.linspace(0, len(scores) - 1, RANKS).long()]
    lost = test.wins(chosen)[0]
    first, second = torch.triu_indices(RANKS, RANKS)
    part = torch.linspace(0, 1, MIXES + 1, dtype=lost.dtype)[:, None, None]
    return (part * lost[first] + (1 - part) * lost[second]).flatten(0, 1)
