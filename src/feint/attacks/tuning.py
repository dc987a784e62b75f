"""Tuning of an attacker's surrogate on answers: the best of several, beside baselines that learn next to nothing.

tuning = tune(x, p, default_surrogates(domain, classes))
tuning.learned     # whether the best surrogate knows more of the victim than its most frequent label
tuning.surrogate   # its network and training, for KnockoffNets and every other attack
tuning.baselines   # {"majority": 0.78, "nearest neighbour": 0.81, "linear": 0.84}
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from feint.attacks.surrogates import Surrogate, default_surrogates, logits
from feint.data import Split
from feint.errors import BadRecipe, Diverged
from feint.models.preprocessing import features
from feint.models.training import Training, learn
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain

FEW = 500  # answers up to which each is set aside once
FOLDS = 3
HELD_OUT = 0.2  # share of more answers
MOST_HELD_OUT = 2000
TRIAL_STEPS = 200  # least steps of a trial, where the training has so many: shorter ones decide nothing
LEAST = 1e-6  # probability of a class in the mean answer
CHUNK = 500  # inputs whose distances are in memory at once
ALIKE = 1.0  # standard errors within which two surrogates agree equally often
ERRORS = 3.0  # standard errors by which the best of several is ahead of the most frequent label, if it learned


@dataclass(frozen=True)
class SurrogateTrial:
    """Trial of a surrogate on answers that were set aside.

    Attributes:
        surrogate: The surrogate.
        agreement: Share of these answers whose label it gives.
        loss: Mean cross-entropy to them.
        seconds: Seconds that its trainings took.
        error: Why it failed, like a learning rate that is too large; None where it did not.
    """

    surrogate: Surrogate
    agreement: float
    loss: float
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Tuning:
    """Outcome of a tuning.

    Attributes:
        surrogate: The best surrogate: the network of the largest agreement and, among equals, the smallest loss, with
            the fullest of its trainings that agree as often, as far as chance allows to say (`fullness`).
        trials: All trials, in their order.
        baselines: Agreement of three baselines on the same answers: "majority", the most frequent label of the others;
            "nearest neighbour", the label of the nearest other input; "linear", a linear classifier.
        answers: Number of answers that were set aside.
        learned: Whether the best surrogate knows more of the victim than one answer for all, by three standard errors:
            it gives more labels right than the most frequent one is, or its cross-entropy is smaller than that of the
            mean answer. Without that nothing is known of what an attacker gets, since this one could not be trained.
    """

    surrogate: Surrogate
    trials: tuple[SurrogateTrial, ...]
    baselines: Mapping[str, float]
    answers: int
    learned: bool

    @property
    def agreement(self) -> float:
        """Largest agreement of all trials."""
        return max(trial.agreement for trial in self.trials)


def tune(
    x: Tensor,
    p: Tensor,
    surrogates: Sequence[Surrogate],
    *,
    share: float = 0.3,
    pool: Split | None = None,
    seed: int = 0,
    progress: ProgressCallback = NO_PROGRESS,
) -> Tuning:
    """Choose the surrogate that predicts answers best which it was not trained on, with its fullest training.

    Up to 500 answers are set aside in three parts, one after the other, so that each is predicted once. Of more, a
    fifth is set aside, and at most 2,000. A training that diverges is a failed trial.

    Args:
        x: Inputs (N, …), at least two.
        p: Answers (N, K) to them.
        surrogates: Surrogates to try, at least one.
        share: Share of its steps that a training takes in a trial, but at least 200 of them if it has so many.
        pool: Inputs of the attacker, for trainings with `rotation` or `auxiliary`.
        seed: Seed of the parts and of the trainings.
        progress: Callback for the trials.

    Returns:
        The choice, with the agreement of each trial and of the baselines.

    Raises:
        BadRecipe: There is no surrogate, or fewer than two answers.
        Diverged: All trials failed.
    """
    if not surrogates or len(x) < 2:
        raise BadRecipe(f"{len(surrogates)} surrogates and {len(x)} answers", "one, and two answers", "bring more")
    domain, parts = surrogates[0].network.domain, _parts(len(x), seed)
    linear = default_surrogates(domain, p.shape[1])[0]
    outcomes: dict[Surrogate, tuple[SurrogateTrial, Tensor]] = {}
    wanted = list(dict.fromkeys([*surrogates, linear]))
    for i, surrogate in enumerate(wanted):
        outcomes[surrogate] = _try(surrogate, x, p, parts, share, pool, seed, progress)
        progress.step("tuning", i + 1, len(wanted))
    trials = tuple(outcomes[surrogate][0] for surrogate in dict.fromkeys(surrogates))
    best = max(trials, key=lambda trial: (trial.agreement, -trial.loss))
    if best.error is not None:
        raise Diverged("no surrogate whose training ended", "one", f"try others: {best.error}")
    labels, rows = p.argmax(-1), torch.cat([held_out for _, held_out in parts])
    guesses = {
        name: torch.cat([guess(domain, x[fitted], labels[fitted], x[held_out]) for fitted, held_out in parts])
        for name, guess in BASELINES.items()
    }
    right = {name: (guess == labels[rows]).double() for name, guess in guesses.items()}
    baselines = {name: share.mean().item() for name, share in right.items()}
    z = outcomes[best.surrogate][1]
    mean = torch.cat([p[fitted].mean(0).clamp_min(LEAST).log().expand(len(held_out), -1) for fitted, held_out in parts])
    fewer_errors = (z.argmax(-1) == labels[rows]).double() - right["majority"]
    smaller_loss = _losses(mean, p[rows]) - _losses(z, p[rows])
    return Tuning(
        _fullest(trials, best, len(x), len(rows)),
        trials,
        baselines | {"linear": outcomes[linear][0].agreement},
        len(rows),
        learned=_is_positive(fewer_errors) or _is_positive(smaller_loss),
    )


def alike(agreement: float, most: float, answers: int) -> bool:
    """Return whether an agreement on so many answers is as large as the largest, as far as chance allows to say."""
    share = (most * answers + 0.5) / (answers + 1)
    return most - agreement <= ALIKE * math.sqrt(share * (1 - share) / answers)


def fullness(training: Training, count: int) -> tuple[int, bool]:
    """Return what tells trainings apart whose trials agree as often: the inputs seen, and whether images are mirrored.

    Trials are shorter than trainings, and hide what more steps and mirrored images teach. From 1,000 answers of a LeNet
    on Fashion-MNIST a LeNet learns 82.3 % in 600 steps of 32, and 86.4 % in 4,000 of 64. Of 5,000 labels of a ResNet-20
    on CIFAR-10 a ResNet-9 predicts 41.9 % of those set aside, and with mirrored images 40.6; after the whole training,
    of 1,600 steps, its copy is right on 56.3 %, and with mirrored images on 60.7 (seed 0 of each).

    Args:
        training: Recipe of a training.
        count: Number of answers to train on.

    Returns:
        The larger pair is the fuller training.
    """
    return training.inputs_seen(count), training.flip


def _fullest(trials: Sequence[SurrogateTrial], best: SurrogateTrial, count: int, answers: int) -> Surrogate:
    """Return the network of the best trial with the fullest training that agrees as often."""
    near = [
        trial
        for trial in trials
        if trial.surrogate.network == best.surrogate.network
        and trial.error is None
        and alike(trial.agreement, best.agreement, answers)
    ]
    return max(
        near, key=lambda trial: (fullness(trial.surrogate.training, count), trial.agreement, -trial.loss)
    ).surrogate


def _losses(z: Tensor, p: Tensor) -> Tensor:
    return F.cross_entropy(z.double(), p.double(), reduction="none")


def _is_positive(values: Tensor) -> bool:
    """Return whether the mean of values is above 0 by more than chance."""
    return bool(values.mean() > ERRORS * values.std(correction=0) / math.sqrt(len(values)))


def shortened(training: Training, share: float, rows: int) -> Training:
    """Return `training` with a `share` of its steps on `rows` inputs, at least `TRIAL_STEPS` if it has so many."""
    batches = math.ceil(rows / training.batch_size)
    steps = max(training.epochs * batches, training.least_steps)
    return replace(training, epochs=math.ceil(max(steps * share, min(steps, TRIAL_STEPS)) / batches), least_steps=0)


def _parts(count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return pairs of rows to train on and rows set aside."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    if count > FEW:
        held_out = min(round(HELD_OUT * count), MOST_HELD_OUT)
        return [(order[held_out:], order[:held_out])]
    parts = order.tensor_split(min(FOLDS, count))
    return [(torch.cat([*parts[:i], *parts[i + 1 :]]), part) for i, part in enumerate(parts)]


def _try(
    surrogate: Surrogate,
    x: Tensor,
    p: Tensor,
    parts: Sequence[tuple[Tensor, Tensor]],
    share: float,
    pool: Split | None,
    seed: int,
    progress: ProgressCallback,
) -> tuple[SurrogateTrial, Tensor]:
    """Return the trial of a surrogate, and its logits (n, K) of the rows set aside: none where it failed."""
    start, rows = time.perf_counter(), torch.cat([held_out for _, held_out in parts])
    try:
        z = torch.cat(
            [
                logits(
                    learn(
                        surrogate.network, x[fitted], p[fitted], shortened(surrogate.training, share, len(fitted)),
                        pool=pool, seed=seed, progress=progress,
                    ),
                    x[held_out],
                )
                for fitted, held_out in parts
            ]
        )  # fmt: skip
        if not z.isfinite().all():
            raise Diverged("logits that are not finite", "finite ones", "lower the learning rate")
    except Diverged as error:
        return SurrogateTrial(surrogate, 0.0, math.inf, time.perf_counter() - start, str(error)), p[:0]
    agreement = (z.argmax(-1) == p[rows].argmax(-1)).double().mean().item()
    return SurrogateTrial(surrogate, agreement, _losses(z, p[rows]).mean().item(), time.perf_counter() - start), z


def _majority(domain: Domain, x: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    """Return the most frequent label for each of the `others`."""
    return labels.mode().values.expand(len(others))


def _nearest(domain: Domain, x: Tensor, labels: Tensor, others: Tensor) -> Tensor:
    """Return the label of the input of `x` that is nearest in its features to each of the `others`."""
    layer = features(domain)
    layer.adapt(x)
    known, asked = (torch.cat([layer(part).flatten(1) for part in tensor.split(CHUNK)]) for tensor in (x, others))
    return labels[torch.cat([torch.cdist(part, known).argmin(1) for part in asked.split(CHUNK)])]


BASELINES: dict[str, Callable[[Domain, Tensor, Tensor, Tensor], Tensor]] = {
    "majority": _majority, "nearest neighbour": _nearest
}  # fmt: skip
