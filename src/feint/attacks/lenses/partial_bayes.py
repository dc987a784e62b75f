"""Partial Bayes: the mean of the clean answers that the defense turns into the returned one, by table look-up."""

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
    clean_answers,
    labelled_split,
    random_subset,
)
from feint.attacks.lenses.lens import DefenseLike
from feint.attacks.lenses.recovered import LEAST
from feint.attacks.probing import require_classes
from feint.attacks.seeds import attacker_seed
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext
from feint.models.networks import Network
from feint.models.stored import Trained
from feint.models.training import Training, learn
from feint.progress import NO_PROGRESS, ProgressCallback

NEAR = 0.01  # the L1 distance within which two perturbed answers count as the same
CHUNK = 2**24  # distances in memory at a time, 64 MiB


@dataclass(frozen=True)
class PartialBayes(FittedLens):
    """Mean of the clean answers that are perturbed to the returned one (Tang et al., USENIX Security 2024).

        q̂ = mean of all p with |D(p) − q|₁ ≤ max(0.01, the least such distance) and argmax p = argmax q
        p ~ Dirichlet(concentration · K · centre),  several around each centre

    In the published code the centres are the victim's own clean answers, which no attacker has: `PartialBayesBound`.
    Here they are those of the attacker's surrogate, trained on the labels of the `first` answers; on one half for the
    centres of the other, since a network is too sure of what it was trained on. D is the suspected defense, the output
    defenses of `rehearsal`, fitted to a surrogate. An answer whose label no sample has is left as it is. Where D may
    move the label, all samples are compared, as in the published code.

    Raises `BadInput` for labels only, fewer than 8 answers, a surrogate of another number of classes, or a defense with
    input defenses.

    Args:
        rehearsal: The suspected defense.
        pool: Inputs of the attacker, for defenses that need outliers.
        surrogate: Architecture of the models that give the centres.
        training: Recipe of their training.
        samples: Clean vectors around each centre.
        concentration: Concentration of the vectors, above 0.
        first: Answers that the decoder is fitted to, 8 or more.
        seed: Seed of models and vectors.
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

    def incompatible(self, defense: DefenseLike) -> str | None:
        return super().incompatible(defense) or input_defense_conflict(defense)

    def fit_decoder(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """Return the decoder by a table, around the clean answers of surrogates trained on labels."""
        require_classes(p, self.surrogate.classes, "a surrogate")
        if len(x) < LEAST:
            raise BadInput(f"{len(x)} answers", f"at least {LEAST}", "raise the budget")
        labels, centres, seed = p.argmax(-1), torch.empty_like(p), attacker_seed(self.seed)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        halves, simulation = (order[: len(x) // 2], order[len(x) // 2 :]), None
        for half, other in (halves, halves[::-1]):
            model = learn(self.surrogate, x[half], labels[half], self.training, seed=seed, progress=progress)
            centres[other] = clean_answers(model, x[other])
            outliers = random_subset(self.pool, len(half), seed)
            inputs = labelled_split(x[half], labels[half], self.surrogate.domain)
            simulation = self.rehearsal.on(FitContext(model, inputs, outliers, seed, progress))
        assert simulation is not None
        return table_decoder(
            simulation, x, centres, samples=self.samples, concentration=self.concentration, seed=self.seed
        )


@dataclass(frozen=True)
class PartialBayesBound(FittedLens):
    """`PartialBayes` in its published form (Tang et al., USENIX Security 2024): an upper bound, no attack.

    The centres are the clean answers of the victim itself, and the suspected defense is run on the victim.

    Args:
        rehearsal: The suspected defense.
        victim: The victim.
        samples: Clean vectors around each centre.
        concentration: Concentration of the vectors, above 0.
        first: Answers that the decoder is fitted to.
        seed: Seed of the vectors.
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

    def incompatible(self, defense: DefenseLike) -> str | None:
        return super().incompatible(defense) or input_defense_conflict(defense)

    def fit_decoder(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """Return the decoder by a table, around the victim's clean answers."""
        require_classes(p, self.victim.network.classes, "a victim")
        model = self.victim.model
        inputs = labelled_split(x, p.argmax(-1), self.victim.network.domain)
        simulation = self.rehearsal.on(FitContext(model, inputs, seed=self.seed, progress=progress))
        centres = clean_answers(model, x)
        return table_decoder(
            simulation, x, centres, samples=self.samples, concentration=self.concentration, seed=self.seed
        )


def input_defense_conflict(defense: DefenseLike) -> str | None:
    """Return why input defenses cannot be read through a table of answers; None if there are none."""
    return "a table of clean answers cannot show what an input defense changes" if defense.inputs else None


def table_decoder(
    simulation: Simulation, x: Tensor, centres: Tensor, *, samples: int, concentration: float, seed: int
) -> Decoder:
    """Return a decoder by a table of clean vectors and their perturbed form.

    Args:
        simulation: The suspected defense before a model.
        x: Inputs (N, …).
        centres: Clean answers (N, K) around which vectors are drawn.
        samples: Vectors around each centre.
        concentration: Concentration of the vectors.
        seed: Seed of the vectors.

    Returns:
        The decoder, from answers (n, K) to clearer ones (n, K).
    """
    generator = np.random.default_rng(seed)
    clean, perturbed = [], []
    for rows in torch.arange(len(x)).split(max(1, 2000 // samples)):
        around = centres[rows].double().numpy().repeat(samples, 0)
        drawn = generator.standard_gamma(np.maximum(concentration * around.shape[1] * around, 1e-3))
        drawn[np.arange(len(drawn)), around.argmax(1)] += 1e-300  # no row of zeros
        p = torch.from_numpy(drawn / drawn.sum(1, keepdims=True)).float()
        clean.append(p)
        perturbed.append(simulation.perturb(p, x[rows].repeat_interleave(samples, 0)))
    q, truth = torch.cat(perturbed), torch.cat(clean)
    labels_kept = bool((q.argmax(-1) == truth.argmax(-1)).all())
    return lambda p: look_up(p, q, truth, same_label=labels_kept)


def look_up(p: Tensor, perturbed: Tensor, clean: Tensor, *, same_label: bool = True) -> Tensor:
    """Look up answers in a table of perturbed vectors.

    Args:
        p: Answers (N, K).
        perturbed: Perturbed vectors (M, K).
        clean: The clean vectors (M, K) that they are made of.
        same_label: Whether only clean vectors with the label of an answer are compared with it.

    Returns:
        For each answer the mean (N, K) of the clean vectors whose perturbed form is nearest, or within 0.01, among
        those compared; the answer itself if there are none.
    """
    means, labels, clean_labels = p.clone(), p.argmax(-1), clean.argmax(-1)
    if not same_label:
        labels, clean_labels = torch.zeros_like(labels), torch.zeros_like(clean_labels)
    for label in labels.unique():
        here, among = (clean_labels == label).nonzero()[:, 0], (labels == label).nonzero()[:, 0]
        if not len(here):
            continue
        candidates, truth = perturbed[here].to(p), clean[here].to(p)
        for rows in among.split(max(1, CHUNK // len(here))):
            distance = torch.cdist(p[rows], candidates, p=1)
            same = (distance <= distance.amin(1, keepdim=True).clamp_min(NEAR)).to(p)
            means[rows] = same @ truth / same.sum(1, keepdim=True)
    return means
