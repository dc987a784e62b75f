"""The seed-sample family: inputs of a pool, asked in chunks and moved toward the surrogate's boundary first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.iterative import check_between, train_in_rounds
from feint.attacks.probing import BATCH, check, draw_rows, require_weights
from feint.attacks.surrogates import logits
from feint.attacks.synthetic.descent import RECOMBINED, SLOPED, descend, require_slope
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.perturbation import GradientStep, margin_of
from feint.models.training import Training
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain


@dataclass(frozen=True)
class SeedSamples(Attack):
    """RS, FGSM, PGD and CW, the attacks in the evaluation of APMSA.

    They are one loop with four values of `step` (after Yu et al., NDSS 2020; Zhang et al., IEEE TIFS 2023):

        ask a chunk of random inputs of the pool, and train; again and again: move the next chunk by steps down the
        surrogate's margin z_m − max_{j≠m} z_j of its label m until m is lost, ask those, and train

    - RS, random samples as they are: no step, the default.
    - FGSM with ε = 8/255: `FGSM(8/255)`.
    - PGD: `PGD(2/255, 8/255), steps=10, start=8/255`, which begins at a random point within `start` in every pixel.
    - CW in L2: `CW(0.01, weight=1.0), steps=200`; weight is 1/c.

    After every chunk a surrogate is trained from scratch on all answers: together as much as (chunks + 1)/2 trainings
    on everything.

    All constants are unknown in APMSA and were chosen here. That a row stops as soon as its label is lost is what code
    of the field does for PGD, and what CW's κ = 0 means. The pool must hold `candidates` inputs for each query after
    the first chunk.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe of the surrogate's training; None for `default_training`.
        step: Recipe of one step toward the boundary, or None.
        steps: Most steps for an input.
        start: Largest random change of a number before the first step, as a share of its usual range.
        chunk: Queries in a round, 2 or more.
        candidates: Inputs that are moved for each query. With more than 1, those are asked of which the surrogate is
            least confident.
        between: Cheaper recipe for all surrogates but the last: each continues from the one before.
    """

    cite: ClassVar[str] = "yu2020cloudleak"
    domains: ClassVar[tuple[type[Domain], ...]] = SLOPED
    instead: ClassVar[Mapping[type[Domain], str]] = RECOMBINED
    pool: Split
    surrogate: Network
    training: Training | None = None
    step: GradientStep | None = None
    steps: int = 1
    start: float = 0.0
    chunk: int = 1000
    candidates: int = 1
    between: Training | None = None

    def __post_init__(self) -> None:
        if min(self.steps, self.candidates) < 1 or self.chunk < 2 or not 0 <= self.start <= 1:
            raise BadRecipe(
                repr(self), "1 or more steps and candidates, a chunk of 2 or more, a start from 0 to 1", "change it"
            )
        check_between(self.between)
        require_weights(self.surrogate)

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        first = min(self.chunk, oracle.left)
        needed = first + (oracle.left - first) * self.candidates
        check(oracle, self.pool, self.surrogate, most=needed)
        if self.step is not None:
            require_slope(self.surrogate, "SeedSamples without a step")
        order, generator = draw_rows(self.pool, needed, seed), torch.Generator().manual_seed(seed)
        chunks = iter(order[first:].split(self.chunk * self.candidates))

        def propose(surrogate: Classifier, left: int) -> Tensor:
            rows = next(chunks)
            moved = [self._perturb(surrogate, self.pool.inputs(batch), generator) for batch in rows.split(BATCH)]
            return least_confident(surrogate, torch.cat(moved), len(rows) // self.candidates)

        return train_in_rounds(
            oracle,
            self.pool.inputs(order[:first]),
            network=self.surrogate,
            training=self.training,
            between=self.between,
            propose=propose,
            seed=seed,
            progress=progress,
        )

    def _perturb(self, surrogate: Classifier, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return the queries that are made of the pool inputs `x` (N, …)."""
        if self.step is None:
            return x
        with torch.no_grad():
            label = surrogate(x).argmax(-1)
        noise = (torch.rand(x.shape, generator=generator) * 2 - 1) * self.start

        def margin(z: Tensor, rows: Tensor) -> Tensor:
            return margin_of(z, label[rows])

        return descend(surrogate, x, margin, self.step, steps=self.steps, noise=noise, floor=0.0)


def least_confident(surrogate: Classifier, x: Tensor, count: int) -> Tensor:
    """Return the `count` inputs of `x` (N, …) of which the surrogate is least confident, in their order there."""
    if count >= len(x):
        return x
    confidence = logits(surrogate, x).softmax(-1).amax(-1)
    return x[confidence.topk(count, largest=False).indices.sort().values]
