"""ActiveThief: active learning, in which the surrogate selects the inputs of a pool to ask next."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_in_rounds
from feint.attacks.pool.selection import Candidates, Selection, Uncertainty
from feint.attacks.probing import check, draw_rows
from feint.attacks.surrogates import logits, logits_of_rows
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class ActiveThief(Attack):
    """ActiveThief (Pal et al., AAAI 2020): pool-based active learning with the victim as the annotator.

    The attack asks a random share `first` of the budget and trains a surrogate on the answers. In each of `rounds` more
    rounds, `selection` chooses the next inputs by the surrogate's probabilities, and a new surrogate is trained on all
    answers so far with their cross-entropy. The rounds share the rest of the budget equally.

    The paper has 10 rounds after 10 % at first. It holds a fifth of the answers out to end the training, which
    `Training(holdout=0.2)` does here.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training.
        selection: `Uncertainty()`, `KCentre()`, `DFAL()` or `DFALThenKCentre()`.
        first: Share of the budget in the first round, between 0 and 1.
        rounds: Number of rounds after the first.
        among: Number of unasked inputs among which a round selects, or as many as it must choose, if those are more. A
            pass over a million images would cost more than the training.
    """

    cite: ClassVar[str] = "pal2020activethief"
    pool: Split
    surrogate: Network
    training: Training = Training()
    selection: Selection = Uncertainty()
    first: float = 0.1
    rounds: int = 9
    among: int = 20_000

    def __post_init__(self) -> None:
        if not 0 < self.first < 1 or self.rounds < 1 or self.among < 1:
            raise BadRecipe(repr(self), "0 < first < 1, rounds ≥ 1, among ≥ 1", "change them")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        self.selection.require_surrogate(self.surrogate)
        order = draw_rows(self.pool, len(self.pool), seed)
        count = max(1, round(oracle.left * self.first))
        unasked, rest = _UnaskedRows(order[count:]), oracle.left - count

        def propose(surrogate: Classifier, left: int) -> Tensor:
            count = min(left, math.ceil(rest / self.rounds))
            rows = unasked.rows[: max(self.among, count)]
            asked, p = logits(surrogate, oracle.transcript.x), logits_of_rows(surrogate, self.pool, rows)
            candidates = Candidates(surrogate, p.softmax(-1), asked.softmax(-1), lambda i: self.pool.inputs(rows[i]))
            return self.pool.inputs(unasked.take(self.selection.choose(count, candidates), len(rows)))

        first = self.pool.inputs(order[:count])
        return train_in_rounds(
            oracle,
            first,
            network=self.surrogate,
            training=self.training,
            propose=propose,
            seed=seed,
            progress=progress,
        )


class _UnaskedRows:
    """Rows of the pool that were not yet asked, in the order in which they are considered."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def take(self, chosen: Tensor, considered: int) -> Tensor:
        """Remove and return the `chosen` of the first `considered` rows; the other considered ones go to the end."""
        rows, others = self.rows[chosen], torch.ones(considered, dtype=torch.bool)
        others[chosen] = False
        self.rows = torch.cat([self.rows[considered:], self.rows[:considered][others]])
        return rows
