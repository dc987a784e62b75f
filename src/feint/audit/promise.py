"""What an owner may promise: how soon a test in front of the model accuses attackers, and how often honest clients."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from feint.attacks.probing import BATCH
from feint.attacks.synthetic.descent import SLOPED, descend
from feint.attacks.variation import blended, drawn, varied
from feint.audit import attacker
from feint.audit.candidates import Candidate
from feint.audit.query_test import ChosenTest, choose_test
from feint.audit.samples import Samples
from feint.data import Split
from feint.defense import Ladder, bind
from feint.defenses.access import SequentialTest
from feint.defenses.access.detector import EProcessDetector
from feint.defenses.access.dilution import unaccused_share
from feint.defenses.access.sequential_test import SliceRisk
from feint.defenses.scores import Energy, Score, scores
from feint.errors import BadInput
from feint.evaluation.detection import Accusations, accusations
from feint.export.tracing import FixedLogits
from feint.ledger import Ledger
from feint.models.inference import last_linear, with_features
from feint.models.perturbation import PGD
from feint.progress import ProgressCallback
from feint.signature import Domain
from feint.victims import FromAnswers

CALIBRATION, HONEST, SLICED = 5000, 2000, 500  # inputs, at most
ATTACKERS, CLIENTS, LENGTH = 100, 300, 2000  # simulated accounts, and their queries: 5 s
SELECTED = 0.1  # of the pool, by the test's own scores
SHARES = 0.5, 0.25, 0.1  # of attackers who hide among inputs of the task, or among copies of a few
MODES, MADE = 20, 1000  # inputs of the task that an attacker has, and inputs made of them: a second for most models
BEST = 0.5  # of the copies, by the test's own scores
BLEND = 0.5  # of an input of the task in a blend: CIFAR-100 then looks as ordinary as the best fifth of it
STEP, STEPS = PGD(2 / 255, 8 / 255), 10  # towards scores that the test finds ordinary
ACCOUNTS = 1, 10, 100, 1000
WANTED = 10_000  # answers


@dataclass(frozen=True)
class EvasionResult:
    """Outcome of one attacker.

    Attributes:
        name: "pool" for inputs of the pool at random, "selected" for the tenth of it that the test finds most ordinary,
            "stepped" for inputs of the pool moved by gradient steps, on the model itself, to scores that the test finds
            ordinary (of a test that reads no single score, to the energy),
            "blended" for inputs of the pool blended with a few inputs of the task, "filled" for inputs of the pool
            among varied copies of a few inputs of the task, "mixed" for inputs of the pool among inputs of the task,
            "task" for inputs of the task alone.
        outcome: Accusations of the accounts.
    """

    name: str
    outcome: Accusations

    @property
    def answers(self) -> dict[int, float | None]:
        """Answers bought by so many accounts, of `WANTED`; None where no end was found in the queries replayed."""
        return {accounts: self.outcome.bought(accounts, WANTED) for accounts in ACCOUNTS}

    @property
    def least(self) -> list[float]:
        """Answers bought, or at least bought where no end was found."""
        return [self.outcome.least(n) if answers is None else answers for n, answers in self.answers.items()]


@dataclass(frozen=True)
class Promise:
    """What is known of a test in front of the model.

    Attributes:
        name: Name of the candidate that has the test, None for a test that the audit fitted.
        chosen: The test that the audit fitted, and the scores that it tried; None for the test of a candidate.
        drawn: Whether the pool of the attackers is rows drawn from the statistics of each column, instead of that of
            the audit, which is rows of the task.
        alpha: Probability with which the test may ever accuse an honest client, by construction.
        calibrated: Number of inputs of its calibration, None where the audit did not fit it.
        honest: Accusations of simulated clients who send samples that the test was not fitted to.
        risks: What becomes of clients who send one slice alone; None where that would cost queries of a remote model,
            or the test has no slices.
        attackers: The attackers tried: the naive one first, and last the one with inputs of the task.
        unaccused: Share of inputs of the pool below which only chance accuses an account that fills up with varied
            copies, None where it is not known.
    """

    name: str | None
    chosen: ChosenTest | None
    drawn: bool
    alpha: float
    calibrated: int | None
    honest: Accusations
    risks: tuple[SliceRisk, ...] | None
    attackers: tuple[EvasionResult, ...]
    unaccused: float | None

    @property
    def naive(self) -> EvasionResult:
        """Attacker who asks about the pool at random."""
        return self.attackers[0]

    @property
    def strongest(self) -> EvasionResult:
        """Attacker without more inputs of the task than to hide among, whose one account buys most."""
        return max(self.attackers[:-1], key=lambda tried: tried.least)

    @property
    def accused_slices(self) -> tuple[SliceRisk, ...]:
        """Slices whose clients would be accused within the queries replayed."""
        return tuple(risk for risk in self.risks or () if risk.queries <= self.honest.length)


@dataclass(frozen=True)
class NoPromise:
    """Reason why nothing is known of a test in front of the model."""

    reason: str


def promise(
    victim: nn.Module, samples: Samples, candidates: Mapping[str, Candidate], progress: ProgressCallback
) -> Promise | NoPromise:
    """Replay a test in front of a model: the test of a candidate, or the one by whose score most is seen.

    Where the pool of a table is rows of the task, attackers ask drawn rows: the one with the task's own is tried last.

    Inputs are drawn with replacement and count as different ones. A model is asked about samples, and inputs of the
    pool, that the audit asks in any case. One that is not remote is also asked about drawn rows, slices of samples, and
    inputs that evasive attackers make.

    Args:
        victim: Model to defend.
        samples: Samples of the audit.
        candidates: Candidates of the audit.
        progress: Callback of the fit.

    Returns:
        What is known, or why nothing is: for models of labels alone, or with fewer than 100 samples to fit a test to.
    """
    try:
        return _promise(victim, samples, candidates, progress)
    except BadInput as error:
        return NoPromise(str(error))


def test_of(candidates: Mapping[str, Candidate]) -> tuple[EProcessDetector | None, str | None]:
    """Return the first test of a candidate, and its name."""
    for name, candidate in candidates.items():
        if isinstance(candidate.defense, Ladder):
            for detector in candidate.defense.detectors:
                if isinstance(detector, EProcessDetector):
                    return detector, name
    return None, None


def _promise(
    victim: nn.Module, samples: Samples, candidates: Mapping[str, Candidate], progress: ProgressCallback
) -> Promise:
    remote = isinstance(victim, FromAnswers)
    outside = samples.pool if remote else samples.outside
    pool, judge = attacker.first_asked(outside), _first(samples.judge, HONEST)
    test, name = test_of(candidates)
    chosen = None
    if test is None:
        fit = _first(samples.fit, CALIBRATION)
        chosen = choose_test(victim, fit, pool, samples.outliers, remote=remote, progress=progress)
        test = chosen.test
    odd, ordinary = (scores(test.ranked_score, victim, split, progress).numpy() for split in (pool, judge))

    def replayed(kind: str, attack: np.ndarray, share: float = 1.0, hidden: np.ndarray = ordinary) -> EvasionResult:
        return EvasionResult(kind, accusations(test, attack, hidden, share, clients=ATTACKERS, length=LENGTH))

    honest = accusations(test, ordinary, ordinary, 0.0, clients=CLIENTS, length=LENGTH)
    naive = replayed("pool", odd)
    attackers = [replayed("selected", _most(odd, SELECTED)), *(replayed("mixed", odd, share) for share in SHARES)]
    risks = unaccused = None
    if not remote:
        made = _made(samples, pool, judge, ordinary)
        blends, copies = (scores(test.ranked_score, victim, split, progress).numpy() for split in made)
        copies = _most(copies, BEST)
        if (moved := _stepped(victim, pool, samples, test)) is not None:
            attackers.append(replayed("stepped", scores(test.ranked_score, victim, moved, progress).numpy()))
        attackers += [replayed("blended", blends), *(replayed("filled", odd, share, copies) for share in SHARES)]
        if isinstance(test, SequentialTest):
            risks = tuple(test.risks(victim, _first(samples.judge, SLICED), progress))
            unaccused = unaccused_share(test, torch.from_numpy(odd), torch.from_numpy(copies))
    calibrated = None if name else min(CALIBRATION, len(samples.fit))
    tried = naive, *attackers, EvasionResult("task", honest)
    drawn = outside is samples.drawn
    return Promise(name, chosen, drawn, test.process.alpha, calibrated, honest, risks, tried, unaccused)


def _made(samples: Samples, pool: Split, judge: Split, ordinary: np.ndarray) -> tuple[Split, Split]:
    """Return an attacker's blends of the pool with the most ordinary inputs of the task, and varied copies of these."""
    generator, domain = torch.Generator().manual_seed(0), samples.judge.domain
    modes = judge.inputs(torch.from_numpy(_rank(ordinary).argsort()[-MODES:].copy()))
    x = pool.inputs(slice(0, MADE))
    blends = blended(x, drawn(modes, len(x), generator), BLEND, domain, generator)
    return _split(blends, samples, "blends"), _split(
        varied(modes, MADE, domain, generator, flip=False), samples, "copies"
    )


@dataclass(frozen=True)
class _Copy:
    """Copy of the model that is as good as the model itself, and shows the score that its test reads.

    Attributes:
        model: The model.
        score: The score.
        domain: Domain of its inputs.
    """

    model: nn.Module
    score: Score
    domain: Domain

    def __call__(self, x: Tensor) -> Tensor:
        """Return the scores (N,) of inputs (N, …), with their slope where the model and the score have one."""
        z, features = with_features(self.model, x, last_linear(self.model), detach=False)
        return bind(self.score, FixedLogits(z, features), Ledger())(x, z)


def _stepped(victim: nn.Module, pool: Split, samples: Samples, test: EProcessDetector) -> Split | None:
    """Return inputs of the pool after gradient steps to ordinary scores; None where these have no slope in them."""
    x, domain = pool.inputs(slice(0, MADE)), samples.judge.domain
    if not isinstance(domain, SLOPED):
        return None
    copy = _Copy(victim, test.score if isinstance(test, SequentialTest) else Energy(), domain)
    with torch.enable_grad():
        if not copy(x[:2].clone().requires_grad_()).requires_grad:
            return None
    moved = [descend(copy, part, lambda s, _: -s, STEP, steps=STEPS) for part in x.split(BATCH)]
    return _split(torch.cat(moved), samples, "stepped")


def _split(x: Tensor, samples: Samples, part: str) -> Split:
    domain, labels = samples.judge.domain, np.zeros(len(x), np.int64)
    return Split.of(domain.encode(x.numpy()), labels, domain=domain, name=samples.judge.name, part=part)


def _first(split: Split, n: int) -> Split:
    return split if len(split) <= n else split.take(slice(0, n), part=f"{split.part}, first {n:,}")


def _most(statistics: np.ndarray, share: float) -> np.ndarray:
    """Return the share of the statistics (n,) or (n, d) that is most ordinary."""
    return statistics[_rank(statistics).argsort()[-max(1, round(share * len(statistics))) :]]


def _rank(statistics: np.ndarray) -> np.ndarray:
    """Return the ranks (n,) of queries, on average over the columns of statistics (n,) or (n, d)."""
    return statistics.reshape(len(statistics), -1).argsort(0).argsort(0).mean(1)
