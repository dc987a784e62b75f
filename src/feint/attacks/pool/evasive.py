"""Evasive: queries that look ordinary, mixed with natural ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_in_rounds, train_once
from feint.attacks.pool.disguise import Disguise
from feint.attacks.probing import BATCH, check, draw_rows, require_like
from feint.attacks.surrogates import logits_of_rows
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.stored import Trained
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain
from feint.signature.support import ANY


@dataclass(frozen=True)
class Evasive(Attack):
    """Pool inputs that look ordinary to a model of the attacker's, mixed with natural queries.

    It evades detectors that look for queries of low energy or confidence (Liu et al., NeurIPS 2020); not a method of
    that paper. The most ordinary inputs of `pool` among `among` times as many as needed, drawn at random, are changed
    by the `disguise` and asked. A `share` of the queries is `natural` instead; both kinds are shuffled.

    With a `proxy` everything is chosen before the first query, by the proxy's energy log Σ exp z_k of its logits z.
    Without one the first round asks `natural` inputs only, or random ones of `pool`; the model of each of `rounds` more
    rounds is the surrogate, trained anew on all answers so far, and ranks by the worse of two ranks: by energy and by
    the largest probability. Such a surrogate hardly knows what is ordinary to the victim: on CIFAR-10 its energy has a
    rank correlation of .06 to .16 with the victim's after 500 answers, .47 after 10,000, and that of a published
    ResNet-56 has .57.

    Against the sequential test on CIFAR-10, CIFAR-100 as it is is accused after a median of 13 queries, the best fifth
    by a ResNet-56 after 65 and the best 6 % after 590; by the worse of two ranks after 53 and 250 (100 streams of a
    published ResNet-20, one seed).

    Raises `BadInput` if `natural` has too few inputs: one that is asked twice counts once for a detector, and teaches
    nothing.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
        natural: Inputs like those of honest clients, or None.
        share: Share of natural queries, at least 0 and below 1.
        rounds: Number of rounds after the first, without a proxy.
        among: Candidates for each query on the pool, as far as it has so many; with 1 nothing is chosen.
        proxy: Model of the victim's task, such as a public one, or None.
        disguise: Change of the chosen inputs of the pool: `RaisedEnergy()`, `Blended(…)` or `Pasted(…)`; or None.
    """

    cite: ClassVar[str] = "liu2020energy"
    pool: Split
    surrogate: Network
    training: Training | None = None
    natural: Split | None = None
    share: float = 0.5
    rounds: int = 4
    among: int = 10
    proxy: Trained | None = None
    disguise: Disguise | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1 or self.rounds < 1 or self.among < 1:
            raise BadRecipe(repr(self), "0 ≤ share < 1, rounds ≥ 1, among ≥ 1", "change them")

    @property
    def domains(self) -> tuple[type[Domain], ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Domains that the disguise takes."""
        return ANY if self.disguise is None else self.disguise.domains

    def require_domain(self, domain: Domain) -> None:
        if self.disguise is not None:
            self.disguise.require_domain(domain)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        self._check_model()
        size = -(-oracle.left // (self.rounds + 1))
        later = self.rounds * round(size * self.share) + min(oracle.left, size)
        self._check_natural(oracle.left, later if self.proxy is None else round(oracle.left * self.share))
        rows = draw_rows(self.pool, len(self.pool), seed)
        natural = rows[:0] if self.natural is None else draw_rows(self.natural, len(self.natural), seed + 1)
        unasked = _Pool(self, natural, rows, torch.Generator().manual_seed(seed))
        if self.proxy is not None:
            chosen = unasked.draw(self.proxy.model, oracle.left)
            return train_once(
                oracle, chosen.split(BATCH), len(chosen),
                network=self.surrogate, training=self.training, seed=seed, progress=progress,
            )  # fmt: skip

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

    def _check_model(self) -> None:
        """Raise `BadInput` unless pool, proxy and disguise fit each other."""
        model = self.surrogate if self.proxy is None else self.proxy.network
        require_like(self.pool, model.domain, "a pool", "the proxy takes")
        if self.disguise is not None:
            self.disguise.require(self.pool, model)

    def _check_natural(self, budget: int, needed: int) -> None:
        """Raise `BadInput` if `natural` has not as many inputs as are needed for the budget."""
        if self.natural is not None and (self.natural.shape != self.pool.shape or len(self.natural) < needed):
            raise BadInput(
                f"{len(self.natural)} natural inputs {self.natural.shape}",
                f"{needed} of shape {self.pool.shape} for a budget of {budget} and this share",
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
        return self._disguised(taken, None)

    def draw(self, model: Classifier, count: int) -> Tensor:
        """Return the inputs of a round of `count` queries, chosen by the model."""
        natural = self._draw_natural(round(count * self._attack.share))
        needed = count - len(natural)
        rows, rest = self._rows[: needed * self._attack.among], self._rows[needed * self._attack.among :]
        z = logits_of_rows(model, self._attack.pool, rows)
        rank = ordinariness(z) if self._attack.proxy is None else -z.logsumexp(-1)
        order = rank.argsort(stable=True)
        self._rows = torch.cat([rest, rows[order[needed:]]])  # the ones not chosen come up again after the rest
        x = torch.cat([natural, self._disguised(rows[order[:needed]], model)])
        return x[torch.randperm(len(x), generator=self._generator)]

    def _disguised(self, rows: Tensor, model: Classifier | None) -> Tensor:
        """Return these inputs of the pool as they are asked."""
        x, disguise = self._attack.pool.inputs(rows), self._attack.disguise
        return x if disguise is None else disguise.apply(x, model, self._generator)

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
