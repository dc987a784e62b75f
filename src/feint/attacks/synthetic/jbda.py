"""JBDA: a few inputs, augmented along the gradients of the surrogate so far."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import check_between, train_in_rounds
from feint.attacks.probing import BATCH, check, draw_rows, require_weights
from feint.attacks.synthetic.augmentations import Augmentation, JacobianRow, KnownAnswers
from feint.attacks.synthetic.descent import RECOMBINED, SLOPED, require_slope
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain
from feint.transcript import Transcript


@dataclass(frozen=True)
class JBDA(Attack):
    """Jacobian-based dataset augmentation (Papernot et al., ASIA CCS 2017).

        S_0 = seeds from the pool;  S_(r+1) = S_r ∪ augmentation(a part of S_r, with the surrogate of S_r)

    The part is all of S_r in the first `reservoir_after` rounds, and a random choice of `reservoir` inputs in those
    that follow. Without the reservoir the queries double in every round, as they do if `reservoir_after` is at least
    the number of rounds. Before each round, and after the last one, a new surrogate is trained from scratch on all
    answers: ρ + 1 trainings, which are 14 for 5,000 queries by default.

    The other methods of the family are augmentations: `JacobianRow` (the paper's, and jb-self), `LogitRow`,
    `AwayFromLabel` (jbda in the code of MAD and ModelGuard), `RandomTargets` (JBDA-TR), `NextClasses` (jb-top3). The
    settings of others: 150 seeds and 5 augmentations without a reservoir (adaptive misinformation), 100 seeds (MAZE),
    1,000 seeds up to 50,000 queries (ModelGuard).

    Fewer seeds in the pool or the budget than `seeds` are `BadInput`.

    Args:
        pool: Inputs of the attacker, from which the seeds are drawn.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
        augmentation: Recipe of the new inputs.
        seeds: Number of seeds, 2 or more.
        rounds: ρ, the number of rounds. None, as in no paper, means as many as the budget pays for; the last one is
            then cut to a random part.
        reservoir: κ, inputs that are augmented in a round once the reservoir is in use.
        reservoir_after: σ, rounds before the reservoir is in use.
        between: Cheaper recipe for all surrogates but the last: each continues from the one before.
    """

    cite: ClassVar[str] = "papernot2017practical"
    domains: ClassVar[tuple[type[Domain], ...]] = SLOPED
    instead: ClassVar[Mapping[type[Domain], str]] = RECOMBINED
    pool: Split
    surrogate: Network
    training: Training | None = None
    augmentation: Augmentation = JacobianRow()
    seeds: int = 150
    rounds: int | None = None
    reservoir: int = 400
    reservoir_after: int = 3
    between: Training | None = None

    def __post_init__(self) -> None:
        if self.seeds < 2 or (self.rounds or 0) < 0:
            raise BadRecipe(repr(self), "2 seeds or more, and 0 rounds or more", "change it")
        if self.reservoir < 1 or self.reservoir_after < 0:
            raise BadRecipe(repr(self), "a reservoir of 1 input or more, after 0 rounds or more", "change it")
        if self.surrogate.classes < self.augmentation.least_classes:
            least = self.augmentation.least_classes
            raise BadRecipe(
                f"{self.augmentation!r} for {self.surrogate.classes} classes", f"at least {least}", "change it"
            )
        check_between(self.between)
        require_weights(self.surrogate)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate, least=self.seeds, most=self.seeds)
        require_slope(self.surrogate, "KnockoffNets")
        generator, rounds = torch.Generator().manual_seed(seed), itertools.count()

        def propose(surrogate: Classifier, left: int) -> Tensor:
            return self._augment(surrogate, oracle.transcript, next(rounds), left, generator)

        return train_in_rounds(
            oracle,
            self.pool.inputs(draw_rows(self.pool, self.seeds, seed)),
            network=self.surrogate,
            training=self.training,
            between=self.between,
            propose=propose,
            seed=seed,
            progress=progress,
        )

    def _augment(
        self, surrogate: Classifier, transcript: Transcript, rounds_done: int, left: int, generator: torch.Generator
    ) -> Tensor:
        """Return the inputs of the next round, at most `left` of them."""
        x, copies = transcript.x, self.augmentation.copies
        if self.rounds is not None and rounds_done >= self.rounds:
            return x[:0]
        limit = len(x) if rounds_done < self.reservoir_after else self.reservoir
        part = torch.randperm(len(x), generator=generator)[: min(limit, math.ceil(left / copies))]
        label = transcript.p.argmax(-1)
        new = [
            self.augmentation.augment(surrogate, KnownAnswers(x[rows], label[rows]), rounds_done, generator)
            for rows in part.split(math.ceil(BATCH / copies))
        ]
        return torch.cat(new)[:left]
