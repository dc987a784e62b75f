"""ActiveThief: ask a few inputs, and let the surrogate choose which of the pool to ask next."""

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

    Asks a random share `first` of the budget, trains `surrogate` on the answers, and in each of `rounds` more rounds
    asks as many inputs of `pool` as its share of the rest, which `selection` chooses by what the surrogate says of
    them; each surrogate is trained anew, on all answers so far, by their cross-entropy. `selection` is `Uncertainty()`,
    `KCentre()`, `DFAL()` or `DFALThenKCentre()`.

    Selection looks at `among` inputs of the pool in each round, drawn from those not yet asked (at least as many as it
    must choose): a pass over a million images would cost more than the training. The paper has 10 rounds after 10 %
    at first, and holds a fifth of the answers out to end the training, which `Training(holdout=0.2)` does here.
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

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        order = draw_rows(self.pool, len(self.pool), seed)
        count = max(1, round(oracle.left * self.first))
        waiting, rest = _Waiting(order[count:]), oracle.left - count

        def proposed(surrogate: Classifier, left: int) -> Tensor:
            count = min(left, math.ceil(rest / self.rounds))
            seen = waiting.rows[: max(self.among, count)]
            asked, p = logits(surrogate, oracle.transcript.x), logits_of_rows(surrogate, self.pool, seen)
            candidates = Candidates(surrogate, p.softmax(-1), asked.softmax(-1), lambda it: self.pool.inputs(seen[it]))
            return self.pool.inputs(waiting.take(self.selection.choose(count, candidates), len(seen)))

        first = self.pool.inputs(order[:count])
        return train_in_rounds(
            oracle,
            first,
            network=self.surrogate,
            training=self.training,
            propose=proposed,
            seed=seed,
            progress=progress,
        )


class _Waiting:
    """The rows that were not yet asked, in the order in which they are looked at."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def take(self, places: Tensor, seen: int) -> Tensor:
        """The rows at these of the first `seen` places, which are gone then; the other ones seen go to the end."""
        taken, others = self.rows[places], torch.ones(seen, dtype=torch.bool)
        others[places] = False
        self.rows = torch.cat([self.rows[seen:], self.rows[:seen][others]])
        return taken
