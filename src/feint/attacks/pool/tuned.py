"""The strong simple attacker: random images of a pool, and a training that is chosen for the answers that came back."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.lenses.labels import HardLabels, Sharpened
from feint.attacks.probing import ask_all, check, draw_rows, in_batches
from feint.attacks.surrogates import logits
from feint.data import Split
from feint.errors import BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training, learn
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback

ENOUGH = 200  # steps of a trial


@dataclass(frozen=True)
class Choice:
    """What a trial tries: the temperature that the answers are sharpened by, and the training."""

    temperature: float
    training: Training


@dataclass(frozen=True)
class Tuned(Attack):
    """KnockoffNets (Orekondy et al., CVPR 2019) with its training tuned to the defense. The tuning is not a method of
    that paper: near-uniform answers make gradients about ten times smaller, so that an attacker who trains as if there
    were no defense overstates it.

    Asks random inputs of `pool`, as many as the budget pays for. Then `holdout` of the answers are set aside, and short
    trainings on the rest, of `trial` of the epochs, try one after the other

    - `temperatures` T that sharpen the answers to p^(1/T), normalised; 0 is the limit, the label alone;
    - `learning_rates`;
    - `augmentations`, each (crop, flip),

    each beside the value that is best so far, starting from `training` as it is and T = 1. A trial is judged by how
    often its label is the returned one on the answers set aside, which can be compared across temperatures, and must
    be right more often to win: ties leave things as they are, and so do answers too few to set one aside. Last, the
    choice is trained on all answers. With the defaults that costs 1 + 0.3 × 9 trainings of KnockoffNets, fewer where
    a candidate repeats what was tried; where answers are few, trials take up to 200 steps, as short ones tell nothing
    (3 epochs of 6 steps left the toy of the tests as it was). `progress` reports the choice, and `choose` makes
    it again from a transcript.
    """

    cite: ClassVar[str] = "orekondy2019knockoff"
    is_naive: ClassVar[bool] = False
    pool: Split
    surrogate: Network
    training: Training = Training()
    temperatures: tuple[float, ...] = (0.3, 0.1, 0.0)
    learning_rates: tuple[float, ...] = (0.03, 0.3)
    augmentations: tuple[tuple[int, bool], ...] = ((0, False), (2, False), (4, True))
    holdout: float = 0.2
    trial: float = 0.3

    def __post_init__(self) -> None:
        if not (0 < self.holdout < 1 and 0 < self.trial <= 1):
            raise BadRecipe(
                f"holdout={self.holdout}, trial={self.trial}", "0 < holdout < 1, 0 < trial ≤ 1", "change it"
            )
        if not all(it == 0 or 1e-6 <= it < math.inf for it in self.temperatures):
            raise BadRecipe(
                f"temperatures={self.temperatures}", "each 0, for the label alone, or 1e-6 or more", "change them"
            )
        if not all(0 < it < math.inf for it in self.learning_rates) or any(it[0] < 0 for it in self.augmentations):
            raise BadRecipe(repr(self), "learning rates above 0, augmentations (pixels, mirrored)", "change them")

    def steal(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        rows = draw_rows(self.pool, oracle.left, seed)
        ask_all(oracle, in_batches(self.pool, rows), len(rows), progress)
        x, p = oracle.transcript.x, oracle.transcript.p
        choice = self.choose(x, p, seed=seed, progress=progress)
        return learn(self.surrogate, x, sharpened(p, choice.temperature), choice.training, seed=seed, progress=progress)

    def choose(self, x: Tensor, p: Tensor, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Choice:
        """The choice that the answers `p` (N, K) to the inputs `x` (N, …) lead to."""
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        cut = len(x) - round(len(x) * self.holdout)
        trials = _Trials(
            self, x[order[:cut]], p[order[:cut]], x[order[cut:]], p[order[cut:]].argmax(-1), seed, progress
        )
        best = Choice(1.0, self.training)
        if cut == len(x) or not cut:
            return best
        for temperature in self.temperatures:
            best = trials.better(best, replace(best, temperature=temperature))
        for rate in self.learning_rates:
            best = trials.better(best, replace(best, training=replace(best.training, learning_rate=rate)))
        for crop, flip in self.augmentations:
            best = trials.better(best, replace(best, training=replace(best.training, crop=crop, flip=flip)))
        progress.step(f"chosen: {best}", 1, 1)
        return best


class _Trials:
    """Short trainings on one part of the answers, judged on the other; each choice is tried once."""

    def __init__(
        self, tuned: Tuned, x: Tensor, p: Tensor, held: Tensor, labels: Tensor, seed: int, progress: ProgressCallback
    ) -> None:
        self._tuned, self._x, self._p, self._held, self._labels = tuned, x, p, held, labels
        self._seed, self._watch = seed, progress
        self._known: dict[Choice, int] = {}

    def better(self, best: Choice, other: Choice) -> Choice:
        """`other` where it is right more often than `best`, else `best`."""
        if other == best or _same_targets(self._p, best, other):
            return best
        return other if self._right(other) > self._right(best) else best

    def _right(self, choice: Choice) -> int:
        """For how many of the inputs set aside a short training by `choice` gives the returned label."""
        if choice not in self._known:
            short = shortened(choice.training, self._tuned.trial, len(self._x))
            targets = sharpened(self._p, choice.temperature)
            model = learn(self._tuned.surrogate, self._x, targets, short, seed=self._seed, progress=self._watch)
            self._known[choice] = int((logits(model, self._held).argmax(-1) == self._labels).sum())
        return self._known[choice]


def shortened(training: Training, share: float, rows: int) -> Training:
    """A training on `rows` inputs of `share` of the steps, but of `ENOUGH` where it has so many."""
    batches = math.ceil(rows / training.batch_size)
    steps = max(training.epochs * batches, training.least_steps)
    return replace(training, epochs=math.ceil(max(steps * share, min(steps, ENOUGH)) / batches), least_steps=0)


def sharpened(p: Tensor, temperature: float) -> Tensor:
    """`p` (N, K) to the power of 1 / `temperature`, normalised; at 0 the label alone."""
    if temperature == 1:
        return p
    return Sharpened(temperature).read(p) if temperature else HardLabels().read(p)


def _same_targets(p: Tensor, one: Choice, other: Choice) -> bool:
    """Whether the two differ in temperature alone, and that changes nothing: the answers are labels."""
    return one.training == other.training and torch.equal(
        sharpened(p, one.temperature), sharpened(p, other.temperature)
    )
