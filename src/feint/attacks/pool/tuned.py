"""Tuned: random inputs of a pool, and a surrogate and its training chosen for the answers."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from feint.attacks.attack import Attack
from feint.attacks.lenses.labels import HardLabels, Sharpened
from feint.attacks.probing import ask_all, check, draw_rows, in_batches
from feint.attacks.seeds import attacker_seed
from feint.attacks.surrogates import Surrogate, default_training, logits
from feint.attacks.tuning import shortened, tune
from feint.data import Split
from feint.errors import BadRecipe, Diverged
from feint.models.networks import Classifier, Network
from feint.models.stored import Trained
from feint.models.training import Pretrained, Training, learn
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback

RATES = 3  # tenths of the learning rate that are tried where the whole training diverges


@dataclass(frozen=True)
class Choice:
    """Candidate of the tuning.

    Attributes:
        temperature: Temperature that sharpens the answers.
        network: Recipe of the surrogate.
        training: Recipe of its training.
    """

    temperature: float
    network: Network
    training: Training


@dataclass(frozen=True)
class Tuned(Attack):
    """KnockoffNets (Orekondy et al., CVPR 2019) with its training tuned to the defense.

    The tuning is not a method of that paper. Near-uniform answers make gradients about ten times smaller, so that an
    attacker who trains as if there were no defense overstates it.

    The attack asks random inputs of `pool`, as many as the budget pays for. First `feint.attacks.tune` chooses among
    `surrogate` with its `training` and other `surrogates`, if there are any. Then a share `holdout` of the answers is
    set aside, and short trainings on the rest, of a share `trial` of the epochs, try one after the other

    - `starts`, pretrained networks whose weights are the first ones, if there are any;
    - `temperatures` T that sharpen the answers to p^(1/T), normalised; 0 is the limit, the label alone;
    - `learning_rates`, where SGD trains the surrogate;
    - `augmentations`, each (crop, flip), of images,
    - `lengths`, multiples of the number of steps, if there are any,

    each beside the value that is best so far, starting from `training` as it is and T = 1. The score of a trial is how
    often its label is the returned one on the answers set aside, which can be compared across temperatures. A candidate
    must score more to win: ties change nothing, and neither do answers too few to set one aside. A training that
    diverges scores nothing. Last, the choice is trained on all answers; if that diverges, with a tenth of the rate.

    With the defaults that costs 1 + 0.3 × 9 trainings of KnockoffNets, fewer where a candidate repeats an earlier one.
    Where answers are few, trials take up to 200 steps, since short ones decide nothing (3 epochs of 6 steps left the
    toy of the tests as it was). `progress` reports the choice, and `choose` makes it again from a transcript.

    Args:
        pool: Inputs of the attacker.
        surrogate: Architecture of the surrogate.
        training: Recipe from which the tuning starts; None for `default_training`.
        temperatures: Temperatures to try, each 0 or at least 1e-6.
        learning_rates: Learning rates to try.
        augmentations: Pairs of crop in pixels and mirroring to try.
        holdout: Share of the answers on which trials are scored, between 0 and 1.
        trial: Share of the training's epochs that a trial takes, above 0 and at most 1.
        surrogates: Further surrogates to try, like those of `feint.attacks.default_surrogates`; None for no other.
        lengths: Multiples of the training's number of steps to try; None for no other number. A trial, and the training
            if it is the choice, take as much longer.
        starts: Pretrained networks of the surrogate's architecture to try as its first weights; None for no other.
    """

    cite: ClassVar[str] = "orekondy2019knockoff"
    is_naive: ClassVar[bool] = False
    pool: Split
    surrogate: Network
    training: Training | None = None
    temperatures: tuple[float, ...] = (0.3, 0.1, 0.0)
    learning_rates: tuple[float, ...] = (0.03, 0.3)
    augmentations: tuple[tuple[int, bool], ...] = ((0, False), (2, False), (4, True))
    holdout: float = 0.2
    trial: float = 0.3
    surrogates: tuple[Surrogate, ...] | None = None
    lengths: tuple[float, ...] | None = None
    starts: tuple[Pretrained | Trained, ...] | None = None

    def __post_init__(self) -> None:
        if not (0 < self.holdout < 1 and 0 < self.trial <= 1):
            raise BadRecipe(
                f"holdout={self.holdout}, trial={self.trial}", "0 < holdout < 1, 0 < trial ≤ 1", "change it"
            )
        if not all(value == 0 or 1e-6 <= value < math.inf for value in self.temperatures):
            raise BadRecipe(
                f"temperatures={self.temperatures}", "each 0, for the label alone, or 1e-6 or more", "change them"
            )
        if not all(0 < rate < math.inf for rate in self.learning_rates) or any(
            crop < 0 for crop, _ in self.augmentations
        ):
            raise BadRecipe(repr(self), "learning rates above 0, augmentations (pixels, mirrored)", "change them")
        if not all(0 < length < math.inf for length in self.lengths or ()):
            raise BadRecipe(f"lengths={self.lengths}", "multiples above 0", "change them")

    def readings(self, p: Tensor) -> tuple[Tensor, ...]:
        return tuple(sharpened(p, temperature) for temperature in (1.0, *self.temperatures))

    def steal_from(self, oracle: Oracle, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Classifier:
        check(oracle, self.pool, self.surrogate)
        rows = draw_rows(self.pool, oracle.left, seed)
        ask_all(oracle, in_batches(self.pool, rows), len(rows), progress)
        x, p = oracle.transcript.x, oracle.transcript.p
        choice = self._choose(x, p, seed, progress)
        return self._learn(x, sharpened(p, choice.temperature), choice, seed, progress)

    def choose(self, x: Tensor, p: Tensor, *, seed: int = 0, progress: ProgressCallback = NO_PROGRESS) -> Choice:
        """Tune the training on answers, as `steal` with the same seed does.

        Args:
            x: Inputs (N, …).
            p: Answers (N, K) to them.
            seed: Seed of the attack.
            progress: Callback for the trials and for the choice.

        Returns:
            The temperature, the surrogate and the training that scored best.
        """
        return self._choose(x, p, attacker_seed(seed), progress)

    def _choose(self, x: Tensor, p: Tensor, seed: int, progress: ProgressCallback) -> Choice:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        cut = len(x) - round(len(x) * self.holdout)
        trials = _Trials(
            self, x[order[:cut]], p[order[:cut]], x[order[cut:]], p[order[cut:]].argmax(-1), seed, progress
        )
        best = Choice(1.0, self.surrogate, self.training or default_training(self.surrogate))
        if cut == len(x) or not cut:
            return best
        if self.surrogates:
            tried = (Surrogate(best.network, best.training), *self.surrogates)
            chosen = tune(x, p, tried, share=self.trial, pool=self.pool, seed=seed, progress=progress).surrogate
            best = Choice(1.0, chosen.network, chosen.training)
        for start in () if best.network.architecture.at_once else self.starts or ():
            best = trials.better(best, replace(best, training=replace(best.training, start=start)))
        for temperature in self.temperatures:
            best = trials.better(best, replace(best, temperature=temperature))
        sgd = best.training.optimizer is None and not best.network.architecture.at_once
        for rate in self.learning_rates if sgd else ():
            best = trials.better(best, replace(best, training=replace(best.training, learning_rate=rate)))
        for crop, flip in self.augmentations if best.network.augmentable else ():
            best = trials.better(best, replace(best, training=replace(best.training, crop=crop, flip=flip)))
        for length in () if best.network.architecture.at_once else self.lengths or ():
            best = trials.better(best, replace(best, training=lengthened(best.training, length)))
        progress.step(f"chosen: {best}", 1, 1)
        return best

    def _learn(self, x: Tensor, targets: Tensor, choice: Choice, seed: int, progress: ProgressCallback) -> Classifier:
        """Train the choice on all answers; with a tenth of the learning rate as long as that diverges."""
        training = choice.training
        for _ in range(RATES):
            try:
                return learn(choice.network, x, targets, training, pool=self.pool, seed=seed, progress=progress)
            except Diverged:
                training = replace(training, learning_rate=training.learning_rate / 10)
        return learn(choice.network, x, targets, training, pool=self.pool, seed=seed, progress=progress)


class _Trials:
    """Short trainings on one part of the answers, scored on the other; each choice is tried once."""

    def __init__(
        self,
        tuned: Tuned,
        x: Tensor,
        p: Tensor,
        held_out: Tensor,
        labels: Tensor,
        seed: int,
        progress: ProgressCallback,
    ) -> None:
        self._tuned, self._x, self._p, self._held_out, self._labels = tuned, x, p, held_out, labels
        self._seed, self._progress = seed, progress
        self._scores: dict[Choice, int] = {}

    def better(self, best: Choice, other: Choice) -> Choice:
        """Return `other` if it scores more than `best`, else `best`."""
        if other == best or _same_targets(self._p, best, other):
            return best
        return other if self._score(other) > self._score(best) else best

    def _score(self, choice: Choice) -> int:
        """Return for how many of the inputs set aside a short training by `choice` gives the returned label."""
        if choice not in self._scores:
            short = shortened(choice.training, self._tuned.trial, len(self._x))
            targets = sharpened(self._p, choice.temperature)
            try:
                model = learn(
                    choice.network, self._x, targets, short, pool=self._tuned.pool, seed=self._seed,
                    progress=self._progress,
                )  # fmt: skip
                self._scores[choice] = int((logits(model, self._held_out).argmax(-1) == self._labels).sum())
            except Diverged:
                self._scores[choice] = -1
        return self._scores[choice]


def lengthened(training: Training, length: float) -> Training:
    """Return a training of this multiple of the steps."""
    epochs, least_steps = (math.ceil(length * number) for number in (training.epochs, training.least_steps))
    return replace(training, epochs=epochs, least_steps=least_steps)


def sharpened(p: Tensor, temperature: float) -> Tensor:
    """Return the answers `p` (N, K) to the power of 1 / `temperature`, normalised; at 0 the label alone."""
    if temperature == 1:
        return p
    return Sharpened(temperature).read(p) if temperature else HardLabels().read(p)


def _same_targets(p: Tensor, one: Choice, other: Choice) -> bool:
    """Return whether the two differ in temperature alone without effect, since the answers are labels."""
    return replace(one, temperature=1) == replace(other, temperature=1) and torch.equal(
        sharpened(p, one.temperature), sharpened(p, other.temperature)
    )
