"""D-DAE: a restorer that learns, on models of the attacker, to undo the suspected defense."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from feint.attacks.lenses.fitted_lens import (
    Decoder,
    FittedLens,
    Simulator,
    clean_answers,
    labelled_split,
    random_subset,
)
from feint.attacks.probing import draw_rows, in_batches, require_classes
from feint.attacks.seeds import attacker_seed
from feint.attacks.surrogates import logits
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext
from feint.models.cache import cached_tensors
from feint.models.networks import Network
from feint.models.training import Training, learn, train
from feint.progress import NO_PROGRESS, ProgressCallback

# Least steps of the surrogates that decide: shorter ones favour sharp answers, which are learned faster. Behind APGP
# top-1 on Fashion-MNIST restored answers predict 16.8 % of the labels set aside after 400 steps and answers as they are
# 12.9 %, after 1,600 steps 19.8 and 27.0 %, and that is their order after the whole training of 5,000 as well.
DECIDING = 1600
FEW = 500  # answers up to which each is set aside once
LEAST = 8  # fewest answers: fewer do not give two halves to train on and to compare


@dataclass(frozen=True)
class Recovered(FittedLens):
    """D-DAE: a restorer that was trained to undo the suspected defense (Chen et al., IEEE S&P 2023).

        minimise  mean |R(D(f(x))) − f(x)|₁   over shadow models f and inputs x of the pool

    The defense D is run on `shadows` models of the attacker, each trained from new weights. With `own_labels` each
    learns as many random classes of the pool as the victim has, by the pool's own labels, as in the port of Tang et al.
    (USENIX Security 2024), whose 20 shadows begin with the weights of ImageNet. Where the pool has fewer classes, or
    without `own_labels`, each learns the labels that the victim returned, on a random half of the `first` answers. D is
    `rehearsal`; what learns in it is fitted to each shadow. Shadows that learn the pool's labels depend on no answer:
    within `feint.models.cache.cached_in` they are trained, and the defense is run on them, once for all thefts. Behind
    APGP on digits the first theft's lens takes 92 seconds of a processor, and each other's 6.

    With few shadows the outcome is chance: behind MAD on digits, restored answers have an L1 distance of .15 from the
    clean ones with 20 shadows, .17 and .19 with 10, .19 and .46 with 5 (4,000 pairs in all, two sets of shadows), and
    the answers as they are .90.

    The restorer is used only if it helps on the victim: a surrogate that learned restored answers must agree with the
    returned labels of a third of the `first` answers, which it did not learn, more often than one that learned the
    answers as they are. Of up to 500 answers, each third is set aside once. Otherwise answers stay as they are.

    R is a perceptron K-128-64-K with batch normalisation, LeakyReLU 0.2 and softmax, wider from 100 classes on (1024,
    512) and from 200 on (2048, 1024); the port has 512-256 for 43 classes, and normalises the last layer, too. Its
    inputs are standardised, since nearly uniform answers differ by less than what batch normalisation adds to a
    variance. It is trained with Adam for `steps` batches of 256, a choice of ours; a third party's port takes 200
    epochs over a million pairs. The published attack first finds out which defense it faces, with a classifier of
    models; here the defense is an argument.

    Raises `BadInput` for labels only, fewer than 8 answers, or a surrogate of another number of classes.

    Args:
        rehearsal: The suspected defense.
        pool: Inputs of the attacker, with labels.
        surrogate: Architecture of the shadow models, and of the surrogates that decide whether the restorer helps.
        training: Recipe of their training.
        shadows: Number of shadow models.
        first: Answers that the decoder is fitted to, 8 or more.
        pairs: Pairs of perturbed and clean answers to train on, of all shadows.
        steps: Batches of the restorer's training.
        seed: Seed of shadows and restorer.
        own_labels: Whether shadows learn the pool's own labels.
    """

    cite: ClassVar[str] = "chen2023ddae"
    rehearsal: Simulator
    pool: Split
    surrogate: Network
    training: Training = Training()
    shadows: int = 20
    first: int = 1000
    pairs: int = 20_000
    steps: int = 3000
    seed: int = 0
    own_labels: bool = True

    def __post_init__(self) -> None:
        if min(self.shadows, self.steps) < 1 or self.first < LEAST or self.pairs < 2 * self.shadows:
            known = f"shadows and steps ≥ 1, first ≥ {LEAST}, and two or more pairs for each shadow"
            raise BadRecipe(repr(self), known, "change it")

    def fit_decoder(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """Return the restorer, or the identity if it does not help."""
        require_classes(p, self.surrogate.classes, "a surrogate")
        if len(x) < LEAST:
            raise BadInput(f"{len(x)} answers", f"at least {LEAST}", "raise the budget")
        perturbed, truth = self._pairs(x, p.argmax(-1), progress)
        decoder = restorer(perturbed, truth, steps=self.steps, seed=self.seed)
        return decoder if self._helps(x, decoder(p), p, progress) else _identity

    def _pairs(self, x: Tensor, labels: Tensor, progress: ProgressCallback) -> tuple[Tensor, Tensor]:
        """Return perturbed and clean answers of all shadows, which are cached if they depend on no answer."""

        def make() -> dict[str, Tensor]:
            first = attacker_seed(self.seed)
            seeds = range(first, first + self.shadows)
            pairs = [self._pairs_of(self._shadow_inputs(x, labels, seed), seed, progress) for seed in seeds]
            perturbed, truth = (torch.cat(answers) for answers in zip(*pairs, strict=True))
            return {"perturbed": perturbed, "truth": truth}

        # Neither number changes the pairs, so that thefts with other budgets share them.
        pairs = cached_tensors(replace(self, first=LEAST, steps=1), make) if self.learns_the_pool else make()
        return pairs["perturbed"], pairs["truth"]

    @property
    def learns_the_pool(self) -> bool:
        """Whether shadows learn the pool's own labels."""
        return self.own_labels and len(self.pool.labels.unique()) >= self.surrogate.classes

    def _shadow_inputs(self, x: Tensor, labels: Tensor, seed: int) -> Split:
        """Return what a shadow learns: classes of the pool, or half of the answers."""
        generator = torch.Generator().manual_seed(seed)
        if self.learns_the_pool:
            classes = self.pool.labels.unique()
            chosen = classes[torch.randperm(len(classes), generator=generator)[: self.surrogate.classes]]
            rows = torch.isin(self.pool.labels, chosen).nonzero()[:, 0]
            number = torch.zeros(int(classes.max()) + 1, dtype=torch.int64)
            number[chosen] = torch.arange(len(chosen))
            return labelled_split(self.pool.inputs(rows), number[self.pool.labels[rows]], self.pool.domain)
        half = torch.randperm(len(x), generator=generator)[: len(x) // 2]
        return labelled_split(x[half], labels[half], self.surrogate.domain)

    def _pairs_of(self, inputs: Split, seed: int, progress: ProgressCallback) -> tuple[Tensor, Tensor]:
        """Return perturbed and clean answers, to inputs of the pool, of a shadow that learned `inputs`."""
        shadow = train(self.surrogate, inputs, training=self.training, seed=seed, progress=progress)
        outliers = random_subset(self.pool, len(inputs), seed)
        simulation = self.rehearsal.on(FitContext(shadow, inputs, outliers, seed, progress))
        batches = in_batches(self.pool, draw_rows(self.pool, self.pairs // self.shadows, seed))
        pairs = [(simulation.answer(batch), clean_answers(shadow, batch)) for batch in batches]
        perturbed, truth = zip(*pairs, strict=True)
        return torch.cat(perturbed), torch.cat(truth)

    def _helps(self, x: Tensor, restored: Tensor, p: Tensor, progress: ProgressCallback) -> bool:
        """Return whether a surrogate that learned restored answers predicts more labels than one that learned `p`.

        No margin is asked: with one of a standard error, MAD's answers on Fashion-MNIST stay as they are with one of
        three seeds, and its copies lose one to two points.
        """
        restored_agreement, agreement = (self._agreement(x, targets, p, progress) for targets in (restored, p))
        return restored_agreement > agreement

    def _agreement(self, x: Tensor, targets: Tensor, p: Tensor, progress: ProgressCallback) -> float:
        """Return how often a surrogate that learned `targets` gives the label of answers `p` that it did not learn."""
        training = replace(self.training, least_steps=max(self.training.least_steps, DECIDING))
        parts = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed)).tensor_split(3)
        agreed = list[Tensor]()
        for i, held_out in enumerate(parts if len(x) <= FEW else parts[:1]):
            fitted = torch.cat([*parts[:i], *parts[i + 1 :]])
            model = learn(
                self.surrogate, x[fitted], targets[fitted], training, seed=attacker_seed(self.seed), progress=progress
            )
            agreed.append(logits(model, x[held_out]).argmax(-1) == p[held_out].argmax(-1))
        return torch.cat(agreed).double().mean().item()


def _identity(p: Tensor) -> Tensor:
    return p


def restorer(perturbed: Tensor, truth: Tensor, *, steps: int, seed: int = 0) -> Decoder:
    """Train a network that maps perturbed answers to clean ones.

    Args:
        perturbed: Perturbed answers (N, K).
        truth: Clean answers (N, K).
        steps: Batches of the training.
        seed: Seed of weights and batches.

    Returns:
        The decoder, from answers (n, K) to clearer ones (n, K).
    """
    classes = truth.shape[1]
    wide, narrow = (128, 64) if classes < 100 else (1024, 512) if classes < 200 else (2048, 1024)
    mean, deviation = perturbed.mean(0), perturbed.std(0).clamp_min(1e-7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(classes, wide), nn.BatchNorm1d(wide), nn.LeakyReLU(0.2),
            nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.LeakyReLU(0.2),
            nn.Linear(narrow, classes), nn.Softmax(-1),
        )  # fmt: skip
        optimizer = torch.optim.Adam(network.parameters(), 1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            rows = torch.randint(len(truth), (256,))
            loss = F.l1_loss(network((perturbed[rows] - mean) / deviation), truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval().requires_grad_(False)
    return lambda p: network((p.float() - mean) / deviation).to(p.dtype)
