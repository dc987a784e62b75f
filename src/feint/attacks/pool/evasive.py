"""The evasive attacker: he asks what looks ordinary, and hides it among natural queries."""

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
    """Pool inputs that the attacker's own surrogate finds ordinary, mixed with natural queries: against detectors that
    look for queries of low energy or confidence (Liu et al., NeurIPS 2020). Not a method of that paper.

    The first round asks as many inputs of `natural`, which are like those of honest clients, as a round has, so that
    there is a surrogate to ask. In each of `rounds` rounds after that, a `share` of the queries is of `natural` again,
    and the rest is what looks most ordinary among unasked inputs of `pool`, drawn at random, `among` times as many as
    are needed: by the worse of their two ranks, by energy log Σ exp z_k and by the largest probability, of the
    surrogate's logits z. Both kinds are shuffled, and the surrogate is trained anew on all answers after each round.
    Without `natural` inputs the first round is of random ones of `pool`, and nothing hides the others. Raises
    `BadInput` where `natural` has fewer inputs than that takes: one that is asked twice counts once for a detector,
    and teaches nothing.
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

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        size = -(-oracle.left // (self.rounds + 1))
        self._check_natural(oracle.left, size)
        odd = draw_rows(self.pool, len(self.pool), seed)
        ordinary = odd[:0] if self.natural is None else draw_rows(self.natural, len(self.natural), seed + 1)
        deck = _Deck(self, ordinary, odd, torch.Generator().manual_seed(seed))

        def proposed(surrogate: Classifier, left: int) -> Tensor:
            return deck.deal(surrogate, min(size, left))

        return train_in_rounds(
            oracle,
            deck.first(size),
            network=self.surrogate,
            training=self.training,
            propose=proposed,
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


class _Deck:
    """What was not asked yet: natural rows, and rows of the pool."""

    def __init__(self, attack: Evasive, natural: Tensor, odd: Tensor, generator: torch.Generator) -> None:
        self._attack, self._natural, self._odd, self._generator = attack, natural, odd, generator

    def first(self, count: int) -> Tensor:
        """The inputs of the first round: natural ones, where there are any."""
        if self._attack.natural is not None:
            return self._ordinary(count)
        taken, self._odd = self._odd[:count], self._odd[count:]
        return self._attack.pool.inputs(taken)

    def deal(self, surrogate: Classifier, count: int) -> Tensor:
        """The inputs of a round of `count` queries."""
        natural = self._ordinary(round(count * self._attack.share))
        wanted = count - len(natural)
        seen, rest = self._odd[: wanted * self._attack.among], self._odd[wanted * self._attack.among :]
        order = ordinariness(logits_of_rows(surrogate, self._attack.pool, seen)).argsort(stable=True)
        self._odd = torch.cat([rest, seen[order[wanted:]]])  # what was seen waits behind the rest
        x = torch.cat([natural, self._attack.pool.inputs(seen[order[:wanted]])])
        return x[torch.randperm(len(x), generator=self._generator)]

    def _ordinary(self, count: int) -> Tensor:
        """Natural inputs: `count` of them, where there are any at all."""
        if self._attack.natural is None:
            return self._attack.pool.inputs(slice(0, 0))
        taken, self._natural = self._natural[:count], self._natural[count:]
        return self._attack.natural.inputs(taken)


def ordinariness(z: Tensor) -> Tensor:
    """The place (n,) of each row of logits `z` (n, K), 0 the most ordinary: the worse of its ranks by energy and by the
    largest probability."""
    scores = z.logsumexp(-1), z.softmax(-1).amax(-1)
    return torch.maximum(*(it.argsort(descending=True, stable=True).argsort() for it in scores))
