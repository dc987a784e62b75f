"""Evasive: queries that look ordinary, mixed with natural ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_in_rounds
from feint.attacks.probing import check, draw_rows
from feint.attacks.surrogates import logits_of_rows
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class Evasive(Attack):
    """Pool inputs that look ordinary to the attacker's surrogate, mixed with natural queries.

    It evades detectors that look for queries of low energy or confidence (Liu et al., NeurIPS 2020); not a method of
    that paper. The first round asks `natural` inputs only, so that there is a surrogate. In each of `rounds` rounds
    after that, a `share` of the queries is `natural` again. The rest are the most ordinary of unasked inputs of `pool`,
    drawn at random, `among` times as many as needed. They are ranked by the worse of two ranks: by energy log Σ exp z_k
    and by the largest probability, of the surrogate's logits z. Both kinds are shuffled, and the surrogate is trained
    anew on all answers after each round.

    Without `natural` the first round asks random inputs of `pool`, and all later queries are ordinary ones of `pool`.
    Raises `BadInput` if `natural` has too few inputs: one that is asked twice counts once for a detector, and teaches
    nothing.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training.
        natural: Inputs like those of honest clients, or None.
        share: Share of natural queries in a round, at least 0 and below 1.
        rounds: Number of rounds after the first.
        among: Candidates for each query on the pool.
    """

    cite: ClassVar[str] = "liu2020energy"
    pool: Split
    surrogate: Network
    training: Training = Training()
    natural: Split | None = None
    share: float = 0.5
    rounds: int = 4
    among: int = 10

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.rounds < 1 or self.among < 1:
            raise BadRecipe(repr(self), "0 ≤ share < 1, rounds ≥ 1, among ≥ 1", "change them")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        size = -(-oracle.left // (self.rounds + 1))
        self._check_natural(oracle.left, size)
        rows = draw_rows(self.pool, len(self.pool), seed)
        natural = rows[:0] if self.natural is None else draw_rows(self.natural, len(self.natural), seed + 1)
        unasked = _Pool(self, natural, rows, torch.Generator().manual_seed(seed))

        def propose(surrogate: Classifier, left: int) -> Tensor:
            return unasked.draw(surrogate, min(size, left))

        return train_in_rounds(
            oracle,
            unasked.draw_first(size),
            network=self.surrogate,
            training=self.training,
            propose=propose,
            seed=seed,
            progress=progress,
        )

    def _check_natural(self, budget: int, size: int) -> None:
        needed = min(budget, size) + self.rounds * round(size * self.share)
        if self.natural is not None and (self.natural.shape != self.pool.shape or len(self.natural) < needed):
            raise BadInput(
                f"{len(self.natural)} natural inputs {self.natural.shape}",
                f"{needed} of shape {self.pool.shape} for this budget and share",
                "bring more, ask for less, or lower the share",
            )


class _Pool:
    """Rows that were not yet asked, of the natural inputs and of the pool."""

    def __init__(self, attack: Evasive, natural: Tensor, rows: Tensor, generator: torch.Generator) -> None:
        self._attack, self._natural, self._rows, self._generator = attack, natural, rows, generator

    def draw_first(self, count: int) -> Tensor:
        """Return the inputs of the first round: natural ones if there are any."""
        if self._attack.natural is not None:
            return self._draw_natural(count)
        taken, self._rows = self._rows[:count], self._rows[count:]
        return self._attack.pool.inputs(taken)

    def draw(self, surrogate: Classifier, count: int) -> Tensor:
        """Return the inputs of a round of `count` queries."""
        natural = self._draw_natural(round(count * self._attack.share))
        needed = count - len(natural)
        rows, rest = self._rows[: needed * self._attack.among], self._rows[needed * self._attack.among :]
        order = ordinariness(logits_of_rows(surrogate, self._attack.pool, rows)).argsort(stable=True)
        self._rows = torch.cat([rest, rows[order[needed:]]])  # the ones not chosen come up again after the rest
        x = torch.cat([natural, self._attack.pool.inputs(rows[order[:needed]])])
        return x[torch.randperm(len(x), generator=self._generator)]

    def _draw_natural(self, count: int) -> Tensor:
        """Return `count` natural inputs; none without a set of natural ones."""
        if self._attack.natural is None:
            return self._attack.pool.inputs(slice(0, 0))
        taken, self._natural = self._natural[:count], self._natural[count:]
        return self._attack.natural.inputs(taken)


def ordinariness(z: Tensor) -> Tensor:
    """Rank inputs by how ordinary they look to the surrogate, 0 the most ordinary.

    Args:
        z: Logits (n, K).

    Returns:
        The worse (n,) of the ranks by energy log Σ exp z_k and by the largest probability.
    """
    scores = z.logsumexp(-1), z.softmax(-1).amax(-1)
    return torch.maximum(*(score.argsort(descending=True, stable=True).argsort() for score in scores))
