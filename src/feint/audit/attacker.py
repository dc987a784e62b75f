"""Attacker of an audit: the network and the training that learn the model's answers best, tried before the plan.

An audit that trains one network, and that one badly, would report the training's failure as the model's safety.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from feint.attacks import Surrogate, default_surrogates, default_training, tune
from feint.attacks.probing import draw_rows
from feint.attacks.seeds import attacker_seed
from feint.attacks.tuning import Tuning, alike, fullness
from feint.data import Split
from feint.models.networks import Classifier
from feint.models.stored import Trained
from feint.models.training import Training, learn
from feint.progress import ProgressCallback
from feint.signature import Domain, Pixels

ROWS = 1000  # answers on which attackers are tried, where the pool has so many
TRIED_SHARE = 0.3  # of a training's steps that a trial takes
LARGE = 24  # pixels of a side from which on images are shifted at random
FLOOR = 0.2  # of the time for `ROWS` answers that a network takes at least which scikit-learn fits
TIMED = 2  # batches of a training that is timed


@dataclass(frozen=True)
class Attacker:
    """Attacker that was tried.

    Attributes:
        surrogate: What they train, and how.
        agreement: Share of the answers set aside whose label the trained network gives.
        seconds: Seconds of a whole training on `rows` answers.
        rows: Number of answers.
    """

    surrogate: Surrogate
    agreement: float
    seconds: float
    rows: int = ROWS

    @property
    def name(self) -> str:
        """Name of the surrogate."""
        return self.surrogate.name

    @property
    def inputs(self) -> int:
        """Number of inputs that the training sees, repeats included."""
        return self.surrogate.training.inputs_seen(self.rows)

    def seconds_for(self, budget: int) -> float:
        """Estimate the seconds of a training on the answers to `budget` queries."""
        if self.surrogate.network.architecture.at_once:
            return self.seconds * max(FLOOR, budget / self.rows)
        return self.seconds * self.surrogate.training.inputs_seen(budget) / self.inputs


@dataclass(frozen=True)
class AttackerChoice:
    """Choice of the audit's attacker.

    Attributes:
        attackers: All attackers that were tried, the best first.
        baselines: Agreement of answers that take next to no training, by name.
        answers: Number of answers set aside.
        learned: Whether the best one learned more than the most frequent answer.
        left_out: Surrogates that could not be tried in time.
    """

    attackers: tuple[Attacker, ...]
    baselines: Mapping[str, float]
    answers: int
    learned: bool = True
    left_out: tuple[str, ...] = ()

    @property
    def best(self) -> Attacker:
        """The quickest of the attackers that agree as often as the best one, as far as chance allows to say."""
        return min(self._near, key=lambda attacker: attacker.seconds)

    @property
    def fullest(self) -> Attacker:
        """The attacker with the network of `best` and the fullest training, among those that agree as often."""
        same = [attacker for attacker in self._near if attacker.name == self.best.name]
        return max(same, key=lambda each: (fullness(each.surrogate.training, each.rows), each.agreement))

    @property
    def _near(self) -> list[Attacker]:
        most = self.attackers[0].agreement
        return [attacker for attacker in self.attackers if alike(attacker.agreement, most, self.answers)]

    @property
    def tried(self) -> dict[str, float]:
        """Highest agreement of each network, by name, the best first."""
        highest: dict[str, float] = {}
        for attacker in self.attackers:
            highest.setdefault(attacker.name, attacker.agreement)
        return highest


def contenders(victim: nn.Module, domain: Domain, classes: int) -> list[Surrogate]:
    """Return what attackers try on a domain, the cheapest first, and last the victim's network, where it is known."""
    tried = list(default_surrogates(domain, classes))
    if isinstance(victim, Classifier) and next(victim.parameters(), None) is not None:
        tried.append(Surrogate(victim.network, default_training(victim.network)))
    return [replace(surrogate, training=_augmented(surrogate.training, domain)) for surrogate in dict.fromkeys(tried)]


def pretrained(surrogates: Sequence[Surrogate], start: Trained) -> list[Surrogate]:
    """Return the surrogates of a pretrained network's architecture, beginning with its weights.

    Args:
        surrogates: What attackers try with new weights.
        start: Network that learned another task.

    Returns:
        One for each training of that architecture, or else its default training.
    """
    domain, classes = surrogates[0].network.domain, surrogates[0].network.classes
    network = replace(start.network, domain=domain, classes=classes)
    trainings = [surrogate.training for surrogate in surrogates if surrogate.network == network]
    chosen = trainings or [_augmented(default_training(network), domain)]
    return [Surrogate(network, replace(training, start=start)) for training in dict.fromkeys(chosen)]


def _augmented(training: Training, domain: Domain) -> Training:
    large = isinstance(domain, Pixels) and len(domain.shape) == 3 and min(domain.shape[1:]) >= LARGE
    return replace(training, crop=max(training.crop, 2)) if large else training


def first_asked(pool: Split) -> Split:
    """Return up to `ROWS` inputs of the pool that the first theft asks as well: a paid model is asked once."""
    rows = draw_rows(pool, min(ROWS, len(pool)), attacker_seed(0))
    return pool.take(rows.numpy(), part=f"{pool.part}, tried")


def choose(
    surrogates: Sequence[Surrogate], pool: Split, p: Tensor, *, seconds: float, progress: ProgressCallback
) -> AttackerChoice:
    """Try surrogates on answers to the pool.

    Args:
        surrogates: What to try, the cheapest first.
        pool: Inputs that were asked.
        p: Answers (N, K) to them.
        seconds: Time for all trials. The first surrogate is tried in any case.
        progress: Callback of the trials.

    Returns:
        The attackers, with those left out that would take too long.
    """
    x, spent = pool.inputs(), 0.0
    whole: dict[Surrogate, float] = {}
    left_out: dict[str, None] = {}
    for surrogate in surrogates:
        estimate = 0.0 if surrogate.network.architecture.at_once else _timed(surrogate, x, p)
        spent += estimate * TRIED_SHARE
        if whole and spent > seconds:
            spent -= estimate * TRIED_SHARE
            left_out[surrogate.name] = None
        else:
            whole[surrogate] = estimate
    tuning = tune(x, p, list(whole), share=TRIED_SHARE, progress=progress)
    attackers = [
        Attacker(trial.surrogate, trial.agreement, whole[trial.surrogate] or trial.seconds, len(x))
        for trial in tuning.trials
    ]
    skipped = tuple(name for name in left_out if name not in {attacker.name for attacker in attackers})
    return AttackerChoice(
        tuple(sorted(attackers, key=lambda attacker: -attacker.agreement)), _baselines(tuning), tuning.answers,
        tuning.learned, skipped,
    )  # fmt: skip


def _baselines(tuning: Tuning) -> dict[str, float]:
    """Return the baselines without the linear classifier, which is among the attackers."""
    return {name: share for name, share in tuning.baselines.items() if name != "linear"}


def _timed(surrogate: Surrogate, x: Tensor, p: Tensor) -> float:
    """Measure a few steps of a training, and return the seconds of the whole."""
    training = surrogate.training
    rows = slice(0, TIMED * training.batch_size)
    short = replace(training, epochs=1, least_steps=0, holdout=0.0, patience=None)
    learn(surrogate.network, x[rows], p[rows], short)  # the first training also sets up
    started = time.perf_counter()
    learn(surrogate.network, x[rows], p[rows], short)
    return (time.perf_counter() - started) / len(x[rows]) * training.inputs_seen(len(x))
