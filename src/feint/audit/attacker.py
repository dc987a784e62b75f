"""Attacker of an audit: the network and the training that learn the model's answers best, tried before the plan.

An attacker can try as many trainings as they like on the answers that they have. An audit that trains a single one, and
that one badly, would report the training's failure as the model's safety.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from feint.data import Split
from feint.errors import BadInput
from feint.evaluation.training_time import images_seen
from feint.models.estimator_body import EstimatorBody
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.progress import ProgressCallback
from feint.signature import Columns, Pixels
from feint.victims import predict

ROWS = 1000  # answers on which attackers are tried, where the pool has so many
HELD_OUT = 0.25  # of these answers, on which the trials are scored
RATES = 1.0, 0.2, 0.04  # factors on the learning rate: an MLP on large images diverges at the first
ALIKE = 1.0  # standard errors within which the quicker of two attackers is taken
BEYOND_CHANCE = 2.0  # standard errors above the most frequent answer from which an attacker has learned


@dataclass(frozen=True)
class Trial:
    """Attacker that was tried.

    Attributes:
        network: What they train.
        training: How.
        agreement: Share of the answers set aside whose label the trained network gives.
        seconds: Seconds of the training.
        error: Standard error of the agreement.
        scoring: Seconds of an answer of the trained network.
    """

    network: Network
    training: Training
    agreement: float
    seconds: float
    error: float
    scoring: float = 0.0

    def seconds_for(self, budget: int, rows: int = ROWS) -> float:
        """Estimate the seconds of a training on the answers to `budget` queries."""
        if fits_at_once(self.network):
            return self.seconds * max(0.2, budget / rows)
        return self.seconds * images_seen(self.training, budget) / images_seen(self.training, rows)


@dataclass(frozen=True)
class AttackerChoice:
    """Choice of the audit's attacker.

    Attributes:
        trials: All trials, the best first.
        baselines: Agreement of answers that need no training, by name: the most frequent one, and that of the nearest
            input asked.
        rows: Number of answers that the trials had.
        left_out: Networks that could not be tried in time.
    """

    trials: tuple[Trial, ...]
    baselines: Mapping[str, float]
    rows: int
    left_out: tuple[str, ...] = ()

    @property
    def best(self) -> Trial:
        """The quickest of the trials that agree as often as the best one, as far as chance allows to say."""
        first = self.trials[0]
        near = [trial for trial in self.trials if first.agreement - trial.agreement <= ALIKE * first.error]
        return min(near, key=lambda trial: trial.seconds)

    @property
    def tried(self) -> dict[str, float]:
        """Highest agreement of each network, by name, the best first."""
        highest: dict[str, float] = {}
        for trial in self.trials:
            highest.setdefault(trial.network.name, trial.agreement)
        return highest

    @property
    def learned(self) -> bool:
        """Whether the best attacker learned anything: more than the most frequent answer."""
        return self.best.agreement - self.baselines["majority"] > BEYOND_CHANCE * self.best.error


def fits_at_once(network: Network) -> bool:
    """Return whether scikit-learn fits the network, at a cost that does not depend on the training."""
    return isinstance(network.build().body, EstimatorBody)


def contenders(victim: torch.nn.Module, samples: Split, classes: int) -> list[Network]:
    """Return the networks that attackers try, the quick ones first; the last is the victim's, where it is known."""
    domain, names = samples.domain, ["linear", "mlp"]
    if isinstance(domain, Columns):
        names = ["linear", "boosted_trees", "random_forest", "mlp"]
    elif isinstance(domain, Pixels) and len(domain.shape) == 3:
        side = min(domain.shape[1:])
        names += ["lenet"] * (side >= 8) + ["resnet20"] * (side >= 16)
    elif not isinstance(domain, Pixels):
        names = ["ngrams", "textcnn"]
    known = getattr(victim, "network", None)
    if isinstance(known, Network) and next(victim.parameters(), None) is not None:
        names.append(known.name)
    return [Network(name, domain, classes) for name in dict.fromkeys(names)]


def choose(
    networks: Sequence[Network], pool: Split, p: Tensor, training: Training, *, seconds: float,
    progress: ProgressCallback,
) -> AttackerChoice:
    """Try networks and learning rates on answers to the pool, and score them on answers set aside.

    Args:
        networks: Networks to try, the quick ones first.
        pool: Inputs that were asked.
        p: Answers (N, K) to them.
        training: Recipe from which the learning rates are scaled.
        seconds: Time for all trials. The first network is tried in any case.
        progress: Callback of the trainings.

    Returns:
        The trials.
    """  # fmt: skip
    x, cut = pool.inputs(), min(len(pool) - 1, max(1, round(len(pool) * (1 - HELD_OUT))))
    labels, until = p.argmax(1), time.monotonic() + seconds
    trials: list[Trial] = []
    left_out: dict[str, None] = {}
    for rate in RATES:
        for network in networks:
            recipe = replace(training, learning_rate=training.learning_rate * rate)
            at_once = fits_at_once(network)
            if at_once and rate != RATES[0]:
                continue
            known = next((trial.seconds for trial in trials if trial.network == network), None)
            if known is None:
                known = 0.0 if at_once else _estimate(network, x[:cut], p[:cut], recipe)
            if trials and time.monotonic() + known > until:
                left_out |= {} if any(trial.network == network for trial in trials) else {network.name: None}
                continue
            trials.append(_trial(network, recipe, x, p, cut, progress))
    ordered = sorted(trials, key=lambda trial: -trial.agreement)
    return AttackerChoice(tuple(ordered), _baselines(networks[0], x, labels, cut), len(x), tuple(left_out))


def _trial(
    network: Network, training: Training, x: Tensor, p: Tensor, cut: int, progress: ProgressCallback
) -> Trial:
    started = time.perf_counter()
    model = learn(network, x[:cut], p[:cut], training, progress=progress)
    seconds = time.perf_counter() - started
    held_out, started = p[cut:].argmax(1), time.perf_counter()
    try:
        agreement = (_labels(model, x[cut:]) == held_out).double().mean().item()
    except BadInput:  # a training that diverged: its logits are not finite
        agreement = 0.0
    smoothed = (agreement * len(held_out) + 0.5) / (len(held_out) + 1)
    error = (smoothed * (1 - smoothed) / len(held_out)) ** 0.5
    return Trial(network, training, agreement, seconds, error, (time.perf_counter() - started) / len(held_out))


def _labels(model: torch.nn.Module, x: Tensor) -> Tensor:
    return torch.cat([predict(model, part).argmax(1) for part in x.split(500)])


def _estimate(network: Network, x: Tensor, p: Tensor, training: Training) -> float:
    """Measure a few steps of a training, and return the seconds of the whole."""
    few = slice(0, 2 * training.batch_size)
    short = replace(training, epochs=1, least_steps=0, holdout=0.0, patience=None)
    learn(network, x[few], p[few], short)  # the first training also sets up
    started = time.perf_counter()
    learn(network, x[few], p[few], replace(short, epochs=2))
    return (time.perf_counter() - started) / (2 * len(x[few])) * images_seen(training, len(x))


@torch.no_grad()
def _baselines(network: Network, x: Tensor, labels: Tensor, cut: int) -> dict[str, float]:
    """Return the agreement, on the answers set aside, of the most frequent answer and of the nearest input."""
    held_out, most = labels[cut:], labels[:cut].mode().values
    baselines = {"majority": (held_out == most).double().mean().item()}
    if isinstance(network.domain, Pixels | Columns):
        preprocessing = network.architecture.preprocessing(network.domain)
        preprocessing.adapt(x[:cut])
        features = preprocessing(x).flatten(1)
        nearest = torch.cdist(features[cut:], features[:cut]).argmin(1)
        baselines["nearest"] = (labels[:cut][nearest] == held_out).double().mean().item()
    return baselines
