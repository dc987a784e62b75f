"""D-DAE: a restorer that learns, on models of the attacker, to undo the suspected defense."""

from dataclasses import dataclass
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
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.fitting import FitContext
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.progress import NO_PROGRESS, ProgressCallback

LEAST = 8  # fewest answers: fewer do not give two halves to train on and to compare


@dataclass(frozen=True)
class Recovered(FittedLens):
    """D-DAE: a restorer that was trained to undo the suspected defense (Chen et al., IEEE S&P 2023).

        minimise  mean |R(D(f(x))) − f(x)|₁   over shadow models f and inputs x of the pool

    The defense D is run on `shadows` models of the attacker, each trained from new weights on a random half of the
    `first` answers. The published attack has labelled data of the victim's task. This attacker has none: they take the
    labels that the victim returned, and the inputs of their `pool`. D is `rehearsal`; what learns in it is fitted to
    each shadow.

    R is a perceptron K-128-64-K with batch normalisation, LeakyReLU 0.2 and softmax, wider from 100 classes on (1024,
    512) and from 200 on (2048, 1024). Its inputs are standardised, since nearly uniform answers differ by less than
    what batch normalisation adds to a variance. It is trained with Adam for `steps` batches of 256, a choice of ours; a
    third party's port takes 200 epochs over a million pairs. The published attack first finds out which defense it
    faces, with a classifier of models; here the defense is an argument.

    Raises `BadInput` for labels only, fewer than 8 answers, or a surrogate of another number of classes.

    Args:
        rehearsal: The suspected defense.
        pool: Inputs of the attacker.
        surrogate: Architecture of the shadow models.
        training: Recipe of their training.
        shadows: Number of shadow models.
        first: Answers that the decoder is fitted to, 8 or more.
        pairs: Pairs of perturbed and clean answers to train on, of all shadows.
        steps: Batches of the restorer's training.
        seed: Seed of shadows and restorer.
    """

    cite: ClassVar[str] = "chen2023ddae"
    rehearsal: Simulator
    pool: Split
    surrogate: Network
    training: Training = Training()
    shadows: int = 2
    first: int = 1000
    pairs: int = 20_000
    steps: int = 3000
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.shadows, self.steps) < 1 or self.first < LEAST or self.pairs < 2 * self.shadows:
            known = f"shadows and steps ≥ 1, first ≥ {LEAST}, and two or more pairs for each shadow"
            raise BadRecipe(repr(self), known, "change it")

    def fit_decoder(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """Return the restorer, trained on shadow models of the answers' labels."""
        require_classes(p, self.surrogate.classes, "a surrogate")
        if len(x) < LEAST:
            raise BadInput(f"{len(x)} answers", f"at least {LEAST}", "raise the budget")
        pairs = [
            self._shadow_pairs(x, p.argmax(-1), self.seed * 1000 + shadow, progress) for shadow in range(self.shadows)
        ]
        perturbed, truth = (torch.cat(answers) for answers in zip(*pairs, strict=True))
        return restorer(perturbed, truth, steps=self.steps, seed=self.seed)

    def _shadow_pairs(self, x: Tensor, labels: Tensor, seed: int, progress: ProgressCallback) -> tuple[Tensor, Tensor]:
        """Return perturbed and clean answers of one shadow to inputs of the pool."""
        half = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[: len(x) // 2]
        x, labels = x[half], labels[half]
        shadow = learn(self.surrogate, x, labels, self.training, seed=seed, progress=progress)
        outliers = random_subset(self.pool, len(half), seed)
        inputs = labelled_split(x, labels, self.surrogate.domain)
        simulation = self.rehearsal.on(FitContext(shadow, inputs, outliers, seed, progress))
        batches = in_batches(self.pool, draw_rows(self.pool, self.pairs // self.shadows, seed))
        pairs = [(simulation.answer(batch), clean_answers(shadow, batch)) for batch in batches]
        perturbed, truth = zip(*pairs, strict=True)
        return torch.cat(perturbed), torch.cat(truth)


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
