"""AugmentedSeeds: varied copies of a few inputs of the victim's task."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import train_once
from feint.attacks.probing import BATCH, check
from feint.attacks.variation import varied
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback


@dataclass(frozen=True)
class AugmentedSeeds(Attack):
    """Varied copies of a few inputs of the victim's task, all of which are asked (after Papernot et al., 2017).

    The seeds themselves are asked first. Images are then shifted, turned, zoomed and mirrored; rows, sequences and
    texts are mixed (`feint.attacks.variation`). That paper moves its seeds along gradients; random variations need no
    surrogate.

    The copies look less ordinary than their seeds. Of 100 images of CIFAR-10, against a ResNet-20, they are accused by
    the sequential test after a median of 126 queries, or 1,274 with the slice "classes" (100 streams, one seed);
    images of CIFAR-100 after 13 and 22.

    Args:
        pool: Inputs of the victim's task.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
        seeds: Number of inputs of the pool that are used, 2 or more.
        flip: Whether images may be mirrored.
    """

    cite: ClassVar[str] = "papernot2017practical"
    pool: Split
    surrogate: Network
    training: Training | None = None
    seeds: int = 100
    flip: bool = True

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise BadRecipe(repr(self), "two or more seeds", "change it")

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate, most=min(self.seeds, oracle.left))
        total, generator = oracle.left, torch.Generator().manual_seed(seed)
        rows = torch.randperm(len(self.pool), generator=generator)[: self.seeds]
        batches = self._queries(self.pool.inputs(rows), total, generator)
        return train_once(
            oracle, batches, total, network=self.surrogate, training=self.training, seed=seed, progress=progress
        )

    def _queries(self, seeds: Tensor, count: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield `count` inputs in batches: the seeds, then copies of them."""
        yield seeds[:count]
        for start in range(len(seeds), count, BATCH):
            yield varied(seeds, min(BATCH, count - start), self.pool.domain, generator, flip=self.flip)
