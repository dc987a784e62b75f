"""What an owner may promise: how soon a test in front of the model accuses attackers, and how often honest clients."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import nn

from feint.attacks.probing import draw_rows
from feint.audit import attacker
from feint.audit.candidates import Candidate
from feint.audit.samples import Samples
from feint.data import Split
from feint.defense import Ladder
from feint.defenses.access import SequentialTest
from feint.defenses.access.detector import EProcessDetector
from feint.defenses.access.sequential_test import SliceRisk
from feint.defenses.scores import scores
from feint.errors import BadInput
from feint.evaluation.detection import Accusations, accusations
from feint.progress import ProgressCallback
from feint.victims import FromAnswers

CALIBRATION, HONEST, SLICED = 5000, 2000, 500  # inputs, at most
ATTACKERS, CLIENTS, LENGTH = 100, 300, 2000  # simulated accounts, and their queries: 5 s
SELECTED = 0.1  # of the pool, by the test's own scores
SHARES = 0.5, 0.25, 0.1  # of attackers who hide among inputs of the task
ACCOUNTS = 1, 10, 100, 1000
WANTED = 10_000  # answers


@dataclass(frozen=True)
class EvasionResult:
    """Outcome of one attacker.

    Attributes:
        name: "pool" for inputs of the pool at random, "selected" for the tenth of it that the test finds most ordinary,
            "mixed" for inputs of the pool among inputs of the task, "task" for inputs of the task alone.
        outcome: Accusations of the accounts.
    """

    name: str
    outcome: Accusations

    @property
    def answers(self) -> dict[int, float | None]:
        """Answers bought by so many accounts, of `WANTED`; None where no end was found in the queries replayed."""
        return {accounts: self.outcome.bought(accounts, WANTED) for accounts in ACCOUNTS}


@dataclass(frozen=True)
class Promise:
    """What is known of a test in front of the model.

    Attributes:
        name: Name of the candidate that has the test, None for a test that the audit fitted.
        alpha: Probability with which the test may ever accuse an honest client, by construction.
        calibrated: Number of inputs of its calibration, None where the audit did not fit it.
        honest: Accusations of simulated clients who send samples that the test was not fitted to.
        risks: What becomes of clients who send one slice alone; None where that would cost queries of a remote model,
            or the test has no slices.
        attackers: The attackers tried: the naive one first, and last the one with inputs of the task.
    """

    name: str | None
    alpha: float
    calibrated: int | None
    honest: Accusations
    risks: tuple[SliceRisk, ...] | None
    attackers: tuple[EvasionResult, ...]

    @property
    def naive(self) -> EvasionResult:
        """Attacker who asks about the pool at random."""
        return self.attackers[0]

    @property
    def strongest(self) -> EvasionResult:
        """Attacker without more inputs of the task than to hide among, whose one account buys most."""
        return max(self.attackers[:-1], key=lambda tried: [*map(_bought, tried.answers.values())])

    @property
    def accused_slices(self) -> tuple[SliceRisk, ...]:
        """Slices whose clients would be accused within the queries replayed."""
        return tuple(risk for risk in self.risks or () if risk.queries <= self.honest.length)


def _bought(answers: float | None) -> float:
    return float("inf") if answers is None else answers


@dataclass(frozen=True)
class NoPromise:
    """Reason why nothing is known of a test in front of the model."""

    reason: str


def promise(
    victim: nn.Module, samples: Samples, candidates: Mapping[str, Candidate], progress: ProgressCallback
) -> Promise | NoPromise:
    """Replay a test in front of a model: the test of a candidate, or one that is fitted to the samples.

    Inputs are drawn with replacement and count as different ones. A model is asked about samples, and inputs of the
    pool, that the audit asks in any case. One that is not remote is also asked about slices of samples.

    Args:
        victim: Model to defend.
        samples: Samples of the audit.
        candidates: Candidates of the audit.
        progress: Callback of the fit.

    Returns:
        What is known, or why nothing is: for models of labels alone, or with fewer than 100 samples to fit a test to.
    """
    try:
        return _promise(victim, samples, *_test(victim, samples, candidates, progress), progress)
    except BadInput as error:
        return NoPromise(str(error))


def _test(
    victim: nn.Module, samples: Samples, candidates: Mapping[str, Candidate], progress: ProgressCallback
) -> tuple[EProcessDetector, str | None]:
    """Return the test, and the name of the candidate that has it."""
    for name, candidate in candidates.items():
        if isinstance(candidate.defense, Ladder):
            for detector in candidate.defense.detectors:
                if isinstance(detector, EProcessDetector):
                    return detector, name
    return SequentialTest().fit(victim, _first(samples.fit, CALIBRATION), progress=progress), None


def _promise(
    victim: nn.Module, samples: Samples, test: EProcessDetector, name: str | None, progress: ProgressCallback
) -> Promise:
    asked = draw_rows(samples.pool, min(attacker.ROWS, len(samples.pool)), 0).numpy()
    pool, judge = samples.pool.take(asked, part=f"{samples.pool.part}, tried"), _first(samples.judge, HONEST)
    odd, ordinary = (scores(test.ranked_score, victim, split, progress).numpy() for split in (pool, judge))

    def replayed(kind: str, attack: np.ndarray, share: float = 1.0) -> EvasionResult:
        return EvasionResult(kind, accusations(test, attack, ordinary, share, clients=ATTACKERS, length=LENGTH))

    honest = accusations(test, ordinary, ordinary, 0.0, clients=CLIENTS, length=LENGTH)
    attackers = (
        replayed("pool", odd),
        replayed("selected", _most_ordinary(odd)),
        *(replayed("mixed", odd, share) for share in SHARES),
        EvasionResult("task", honest),
    )
    risks = None
    if isinstance(test, SequentialTest) and not isinstance(victim, FromAnswers):
        risks = tuple(test.risks(victim, _first(samples.judge, SLICED), progress))
    calibrated = None if name else min(CALIBRATION, len(samples.fit))
    return Promise(name, test.process.alpha, calibrated, honest, risks, attackers)


def _first(split: Split, n: int) -> Split:
    return split if len(split) <= n else split.take(slice(0, n), part=f"{split.part}, first {n:,}")


def _most_ordinary(statistics: np.ndarray) -> np.ndarray:
    """Return the queries of the highest ranks, on average over the columns of statistics (n,) or (n, d)."""
    ranks = statistics.reshape(len(statistics), -1).argsort(0).argsort(0).mean(1)
    return statistics[ranks.argsort()[-max(1, round(SELECTED * len(statistics))) :]]
