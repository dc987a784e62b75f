"""Attacks whose queries are drawn without any data: from published statistics, or uniformly."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_once
from feint.attacks.probing import BATCH, require_budget
from feint.errors import BadInput
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Columns, Domain, Pixels, Text, Tokens

WITHOUT_DATA: Mapping[type[Domain], str] = {Columns: "Marginals", Tokens: "Uniform", Text: "Uniform"}


@dataclass(frozen=True)
class Uniform(Attack):
    """Uniformly random inputs of the domain, for attackers who hold no data at all (Tramèr et al., USENIX Sec. 2016).

    Numbers of a table are uniform in the range that is usual, and categories uniform among theirs; tokens, characters
    of a text and pixels are independent of each other. The surrogate is trained with the cross-entropy to the answers.

    Args:
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
    """

    cite: ClassVar[str] = "tramer2016stealing"
    surrogate: Network
    training: Training | None = None

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_budget(oracle, self.surrogate, 1)
        return _learn_from_draws(self, oracle, published=False, seed=seed, progress=progress)


@dataclass(frozen=True)
class Marginals(Attack):
    """TEMPEST: rows drawn from the published statistics of each column (Tasumi et al., arXiv 2021).

    Each number is normal with the published mean and deviation and clipped into the range that is usual, each category
    follows the published shares, and values are missing as often as published. Columns are independent of each other.
    The paper draws numbers either so or uniformly in their range, and finds mean and variance better; it also finds
    that the copy should normalise as the victim does, which the surrogate does by the same statistics.

    Raises `BadInput` if the domain publishes neither mean nor shares of any column.

    Args:
        surrogate: Architecture of the surrogate, whose domain holds the statistics.
        training: Recipe of the surrogate's training; None for `default_training`.
    """

    cite: ClassVar[str] = "tasumi2021first"
    domains: ClassVar[tuple[type[Domain], ...]] = (Columns,)
    instead: ClassVar[Mapping[type[Domain], str]] = dict.fromkeys((Pixels, Tokens, Text), "Uniform")
    surrogate: Network
    training: Training | None = None

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        require_budget(oracle, self.surrogate, 1)
        domain = self.surrogate.domain
        if isinstance(domain, Columns) and all(c.mean is None and c.shares is None for c in domain.columns):
            raise BadInput("columns without statistics", "the mean or the shares of one or more", "use Uniform instead")
        return _learn_from_draws(self, oracle, published=True, seed=seed, progress=progress)


def _learn_from_draws(
    attack: Uniform | Marginals, oracle: Oracle, *, published: bool, seed: int, progress: ProgressCallback
) -> Classifier:
    """Spend the budget on draws of the domain, and train the surrogate on the answers."""
    domain, total = attack.surrogate.domain, oracle.left
    batches = draws(domain, total, seed, published=published)
    return train_once(
        oracle, batches, total, network=attack.surrogate, training=attack.training, seed=seed, progress=progress
    )


def draws(domain: Domain, count: int, seed: int, *, published: bool) -> Iterator[Tensor]:
    """Yield `count` inputs of the domain in batches; see `Domain.sample`."""
    yield from torch.from_numpy(domain.sample(count, seed, published=published)).split(BATCH)
