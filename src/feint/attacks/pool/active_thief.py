"""ActiveThief: active learning, in which the surrogate selects the inputs of a pool to ask next."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_in_rounds, train_once
from feint.attacks.pool.selection import Candidates, Selection, Uncertainty
from feint.attacks.probing import BATCH, check, draw_rows, require_like
from feint.attacks.surrogates import logits, logits_of_rows
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.stored import Trained
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

    With a `proxy`, such as a public model or one that learned the pool's own labels, the rest is chosen at once and
    before the first query: there is one training.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
        selection: `Uncertainty()`, `KCentre()`, `DFAL()` or `DFALThenKCentre()`.
        first: Share of the budget in the first round, between 0 and 1.
        rounds: Number of rounds after the first.
        among: Number of unasked inputs among which a round selects, or as many as it must choose, if those are more. A
            pass over a million images would cost more than the training.
        proxy: Model that chooses in place of the surrogate, or None.
    """

    cite: ClassVar[str] = "pal2020activethief"
    pool: Split
    surrogate: Network
    training: Training | None = None
    selection: Selection = Uncertainty()
    first: float = 0.1
    rounds: int = 9
    among: int = 20_000
    proxy: Trained | None = None

    def __post_init__(self) -> None:
        if not 0 < self.first < 1 or self.rounds < 1 or self.among < 1:
            raise BadRecipe(repr(self), "0 < first < 1, rounds ≥ 1, among ≥ 1", "change them")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        self._check_model()
        order = draw_rows(self.pool, len(self.pool), seed)
        count = max(1, round(oracle.left * self.first))
        first, unasked, rest = self.pool.inputs(order[:count]), _UnaskedRows(order[count:]), oracle.left - count
        if self.proxy is not None:
            x = torch.cat([first, self._choose(rest, unasked, self.proxy.model, first)])
            return train_once(
                oracle, x.split(BATCH), len(x), network=self.surrogate, training=self.training, pool=self.pool,
                seed=seed, progress=progress,
            )  # fmt: skip

        def propose(surrogate: Classifier, left: int) -> Tensor:
            return self._choose(min(left, math.ceil(rest / self.rounds)), unasked, surrogate, oracle.transcript.x)

        return train_in_rounds(
            oracle,
            first,
            network=self.surrogate,
            training=self.training,
            propose=propose,
            seed=seed,
            progress=progress,
        )

    def _check_model(self) -> None:
        """Raise `BadInput` unless pool and selection fit the model that chooses."""
        model = self.surrogate if self.proxy is None else self.proxy.network
        require_like(self.pool, model.domain, "a pool", "the proxy takes")
        self.selection.require_surrogate(model)

    def _choose(self, count: int, unasked: "_UnaskedRows", model: Classifier, asked: Tensor) -> Tensor:
        """Return `count` inputs of the pool that the model chooses, beside those `asked` (n, …) so far."""
        rows = unasked.rows[: max(self.among, count)]
        p, p_asked = (z.softmax(-1) for z in (logits_of_rows(model, self.pool, rows), logits(model, asked)))
        candidates = Candidates(model, p, p_asked, lambda chosen: self.pool.inputs(rows[chosen]))
        return self.pool.inputs(unasked.take(self.selection.choose(count, candidates), len(rows)))


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
