"""Partial Bayes: which clean answers does the defense turn into what was returned? Their mean, by table look-up."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from feint.attacks.lenses.fitted_lens import (
    Decoder,
    FittedLens,
    Simulation,
    Simulator,
    clean,
    labelled,
    part,
    same_classes,
)
from feint.attacks.lenses.lens import Suspected
from feint.attacks.lenses.recovered import LEAST
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext
from feint.models.networks import Network
from feint.models.stored import Trained
from feint.models.training import Training, learn
from feint.progress import NO_PROGRESS, ProgressCallback

NEAR = 0.01  # the L1 distance within which two perturbed answers count as the same
AT_ONCE = 2**24  # distances in memory at a time, 64 MiB


@dataclass(frozen=True)
class PartialBayes(FittedLens):
    """An answer becomes the mean of the clean ones that are perturbed to it (Tang et al., USENIX Security 2024).

        q̂ = mean of all p with |D(p) − q|₁ ≤ max(0.01, the least such distance) and argmax D(p) = argmax q
        p ~ Dirichlet(concentration · K · centre),  `samples` around each centre

    In the published code the centres are the victim's own clean answers, which no attacker has: `PartialBayesBound`.
    Here they are those of the attacker's `surrogate`, trained on the labels of the `first` answers; on one half for the
    centres of the other, since a network is too sure of what it was trained on. D is the suspected defense, the output
    defenses of `rehearsal`, fitted to a surrogate. An answer whose label no perturbed sample has is left as it is.

    Raises `BadInput` for labels only, fewer than 8 answers, a surrogate of another number of classes, or a defense with
    input defenses.
    """

    cite: ClassVar[str] = "tang2024modelguard"
    rehearsal: Simulator
    pool: Split
    surrogate: Network
    training: Training = Training()
    samples: int = 20
    concentration: float = 8.0
    first: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.first < LEAST or self.concentration <= 0:
            raise BadRecipe(repr(self), f"samples ≥ 1, first ≥ {LEAST} and concentration > 0", "change it")

    def incompatible(self, defense: Suspected) -> str | None:
        return super().incompatible(defense) or no_inputs(defense)

    def study(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """The table, made of what the answers `p` (N, K) to `x` (N, C, H, W) tell."""
        same_classes(p, self.surrogate.classes, "a surrogate")
        if len(x) < LEAST:
            raise BadInput(f"{len(x)} answers", f"at least {LEAST}", "raise the budget")
        labels, centres = p.argmax(-1), torch.empty_like(p)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))
        halves, line = (order[: len(x) // 2], order[len(x) // 2 :]), None
        for own, other in (halves, halves[::-1]):
            model = learn(self.surrogate, x[own], labels[own], self.training, seed=self.seed, progress=progress)
            centres[other] = clean(model, x[other])
            outliers = part(self.pool, len(own), self.seed)
            line = self.rehearsal.on(FitContext(model, labelled(x[own], labels[own]), outliers, self.seed, progress))
        assert line is not None
        return table(line, x, centres, samples=self.samples, concentration=self.concentration, seed=self.seed)


@dataclass(frozen=True)
class PartialBayesBound(FittedLens):
    """`PartialBayes` in its published form (Tang et al., USENIX Security 2024): an upper bound, no attack.

    The centres are the clean answers of the `victim` itself, and the suspected defense is run on the victim.
    """

    cite: ClassVar[str] = "tang2024modelguard"
    upper_bound: ClassVar[bool] = True
    rehearsal: Simulator
    victim: Trained
    samples: int = 20
    concentration: float = 8.0
    first: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.first < 1 or self.concentration <= 0:
            raise BadRecipe(repr(self), "samples ≥ 1, first ≥ 1 and concentration > 0", "change it")

    def incompatible(self, defense: Suspected) -> str | None:
        return super().incompatible(defense) or no_inputs(defense)

    def study(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """The table, made of the victim's clean answers to `x` (N, …)."""
        same_classes(p, self.victim.network.classes, "a victim")
        model = self.victim.model
        line = self.rehearsal.on(FitContext(model, labelled(x, p.argmax(-1)), seed=self.seed, progress=progress))
        centres = clean(model, x)
        return table(line, x, centres, samples=self.samples, concentration=self.concentration, seed=self.seed)


def no_inputs(defense: Suspected) -> str | None:
    """Return why input defenses cannot be read through a table of answers; None where there are none."""
    return "no clean answer tells what an input defense makes of it" if defense.inputs else None


def table(line: Simulation, x: Tensor, centres: Tensor, *, samples: int, concentration: float, seed: int) -> Decoder:
    """What reads answers by the clean vectors drawn around `centres` (N, K), perturbed as answers to `x` (N, …)."""
    generator = np.random.default_rng(seed)
    kept, perturbed = [], []
    for rows in torch.arange(len(x)).split(max(1, 2000 // samples)):
        around = centres[rows].double().numpy().repeat(samples, 0)
        drawn = generator.standard_gamma(np.maximum(concentration * around.shape[1] * around, 1e-3))
        drawn[np.arange(len(drawn)), around.argmax(1)] += 1e-300  # no row of zeros
        p = torch.from_numpy(drawn / drawn.sum(1, keepdims=True)).float()
        kept.append(p)
        perturbed.append(line.perturb(p, x[rows].repeat_interleave(samples, 0)))
    return lambda p: look_up(p, torch.cat(perturbed), torch.cat(kept))


def look_up(p: Tensor, perturbed: Tensor, clean: Tensor) -> Tensor:
    """For each answer of `p` (N, K) the mean of the rows of `clean` (M, K) whose perturbed form is nearest, or within
    0.01, among those with the same label; the answer itself where there is none."""
    found, labels, theirs = p.clone(), p.argmax(-1), perturbed.argmax(-1)
    for label in labels.unique():
        here, among = (theirs == label).nonzero()[:, 0], (labels == label).nonzero()[:, 0]
        if not len(here):
            continue
        candidates, truth = perturbed[here].to(p), clean[here].to(p)
        for rows in among.split(max(1, AT_ONCE // len(here))):
            distance = torch.cdist(p[rows], candidates, p=1)
            same = (distance <= distance.amin(1, keepdim=True).clamp_min(NEAR)).to(p)
            found[rows] = same @ truth / same.sum(1, keepdim=True)
    return found
