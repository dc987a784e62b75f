"""Campaigns of 1,000 accounts among honest newcomers, on CIFAR-10: queries until the alarm, and whose answers change.

The victim is the published ResNet-20. Newcomers of the last period, of each of whom one query calibrates, use a quarter
of the test images. Those of today use another, as do those who are recorded, which sets the level of probation.
Attackers ask about CIFAR-100. A copy is trained on what a campaign was answered, labels alone.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.tables.evidence import setting_of_cifar10
from benchmarks.tables.ladder import POLICIES, STRONG, SURROGATE
from benchmarks.tables.newcomers import Population, population, returned, scored
from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import data, victims
from feint.data import Split
from feint.defenses.access import Campaign, SequentialTest
from feint.defenses.access.clients import probation_level
from feint.defenses.access.cohort import ALARMS, fisher
from feint.defenses.access.e_bh import e_bh
from feint.defenses.access.e_process import NOW, mixed
from feint.defenses.access.martingale import places, wealth
from feint.defenses.feature_scores import LearnedScore
from feint.evaluation import metrics
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Ledger
from feint.models import networks
from feint.models.training import learn
from feint.progress import ProgressCallback

ACCOUNTS, QUERIES, DAYS, SEEDS = 1000, 10, 1000, 3
HONEST = 1000, 10_000
PROBATION = 0.01, 0.02, 0.05
SHARE = 0.01  # of the honest newcomers' answers that may change
LEVELS = 0.01, 0.02, 0.05, 0.2
PERIOD = 5000  # newcomers of the last period, of each of whom one query calibrates
LAST, OTHERS, TODAY, TO_LEARN = range(4)  # the quarters of the test images that newcomers have
TESTS = {  # by score: the test, and the outliers that it learns from
    "energy": (SequentialTest(), None),
    "learned from GTSRB": (SequentialTest(LearnedScore()), lambda: data.load("gtsrb").train.share(0, 4)),
    "learned from CIFAR-100": (SequentialTest(LearnedScore()), lambda: data.load("cifar10").pool.share(1, 4)),
}


@functools.cache
def fitted(score: str = "energy") -> Campaign:
    """Return the campaign fitted to one query of each newcomer of the last period.

    Every third trains a score that learns, and has images of another quarter: newcomers share none.
    """
    test, outliers = TESTS[score]
    last, others = population(LAST), population(TO_LEARN if outliers else LAST)
    cameras, rows = last.draw(np.random.default_rng(0), PERIOD, 1)
    who = [others if i % 3 == 0 else last for i in range(PERIOD)]
    x, y = zip(*map(_asked, who, cameras[:, 0], rows[:, 0]), strict=True)
    inputs = Split.of(np.stack(x), np.array(y), domain=last.splits[0].domain, name="newcomers")
    return Campaign(test).fit(published_resnet20().eval(), inputs, outliers=outliers and outliers())


def _asked(of: Population, camera: int, row: int) -> tuple[np.ndarray, int]:
    """Return an image as a camera takes it, and its label."""
    return of.splits[camera].arrays[0][row], int(of.splits[0].labels[row])


@functools.cache
def calibrated(score: str, quarter: int = TODAY) -> Campaign:
    """Return the campaign at whose probation at most `SHARE` of a newcomer's answers change.

    The newcomers that are recorded for it have images of this quarter, as today's have or others.
    """
    campaign = fitted(score)
    inputs = campaign.test.martingale().inputs
    recorded = honest(np.random.default_rng(1), PERIOD, QUERIES, score, quarter)
    p_values = [campaign.cohort().levels(ranks, np.arange(1, 1 + len(ranks))) for ranks in places(inputs, recorded)]
    return Campaign(campaign.test, probation=probation_level(p_values, SHARE).level)


def at_level(probation: float) -> Campaign:
    """Return the campaign with this level of probation."""
    return Campaign(fitted().test, probation=probation)


@functools.cache
def pool() -> Split:
    """Return the attacker's images, a quarter of CIFAR-100."""
    return data.load("cifar10").pool.share(0, 4)


@functools.cache
def attack(score: str = "energy") -> np.ndarray:
    """Return their scores."""
    return scored(fitted(score), pool())


def honest(rng: np.random.Generator, n: int, queries: int, score: str = "energy", quarter: int = TODAY) -> np.ndarray:
    """Return the scores (n, queries) of honest newcomers."""
    cameras, rows = population(quarter).draw(rng, n, queries)
    return _scores(score, quarter)[cameras, rows]


@functools.cache
def _scores(score: str, quarter: int) -> np.ndarray:
    return population(quarter).scores(fitted(score))


class Changed(NamedTuple):
    """Campaign of one seed.

    Attributes:
        rows: Rows of `pool()` that each account of the attacker asks about, (1,000, queries).
        attacker: Which of these answers are those of the harsh rung, (1,000, queries).
        honest: The same of honest newcomers, (n, queries).
        alarm: Queries of the attacker until the alarm; None for none.
    """

    rows: np.ndarray
    attacker: np.ndarray
    honest: np.ndarray
    alarm: int | None


def changed_labels(campaign: Campaign, score: str, n: int, seed: int, queries: int = QUERIES) -> Changed:
    """Return whose answers change in a campaign among n honest newcomers; all queries arrive in random order."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(pool()), size=(ACCOUNTS, queries), replace=False)
    s = np.concatenate([attack(score)[rows], honest(rng, n, queries, score)])
    order = rng.permutation(np.repeat(np.arange(len(s)), queries))
    codes = rng.integers(2**48, size=s.shape, dtype=np.uint64)  # of inputs that are no near copies
    cohort, ledger = campaign.cohort(), Ledger()
    log_e, changed, alarm, asked = e_process(s, score), np.zeros(s.shape, bool), None, 0
    for who in order.tolist():
        account = ledger[str(who)]
        at = int(account.queries)
        account.add(NOW, log_e[who, at] - account.total(NOW))
        asked += who < ACCOUNTS
        query = ArrayQuery(np.zeros((1, 1)), account.client, time=0.0)
        query.near = codes[who, at : at + 1]
        changed[who, at] = cohort.assign(s[who, at : at + 1], query, account, 0)[0] > 0
        account.add("queries", 1)
        if alarm is None and ledger.shared.total(ALARMS):
            alarm = asked
    return Changed(rows, changed[:ACCOUNTS], changed[ACCOUNTS:], alarm)


def e_process(s: np.ndarray, score: str = "energy") -> np.ndarray:
    """Return log E of accounts after each query, (n, queries), of a test fitted as the campaign's."""
    martingale = fitted(score).test.martingale()
    wins = martingale.won[places(martingale.inputs, s.ravel())].reshape(*s.shape, -1)
    return mixed(wealth(wins, np.full(wins.shape[-1], -np.inf), 0), martingale.weights)


def jobs(progress: ProgressCallback) -> Jobs:
    """False alarms, copies by calibrated probation, campaigns by level of probation, named accounts, and rules."""
    yield "theft-none", partial(theft, 0, "", progress)
    for single in (True, False):
        for level in LEVELS:
            yield f"rule-{'single' if single else 'combined'}-{level}", partial(rule, level, single=single)
    for n in HONEST:
        yield f"days-{n}", partial(days, n)
        for score in TESTS:
            yield f"calibrated-{n}-{score}", partial(campaign, n, score, partial(calibrated, score))
        others = partial(calibrated, "energy", OTHERS)
        yield f"calibrated-{n}-energy-others", partial(campaign, n, "energy", others)
        for score in ("energy", "learned from CIFAR-100"):
            yield f"theft-{n}-{score}", partial(theft, n, score, progress)
        for probation in PROBATION:
            yield f"campaign-{n}-{probation}", partial(campaign, n, "energy", partial(at_level, probation))
        for queries in (10, 20):
            yield f"named-{n}-{queries}", partial(named, n, queries)


def days(n: int) -> Row:
    """Return on how many honest days with n newcomers there is an alarm."""
    rng, cohort, highest = np.random.default_rng(0), fitted().cohort(), []
    limit, turns = np.log(cohort.run_length * len(cohort.turns)), np.array(cohort.turns)
    payments, weights = np.exp(cohort.martingale.won).astype(np.float32), cohort.martingale.weights
    for _ in range(DAYS):
        paid = payments[places(cohort.martingale.inputs, honest(rng, n, max(turns)))]
        sums = np.log(paid.cumsum(1)[:, turns - 1] / turns[:, None]).cumsum(0, dtype=np.float64)
        before = np.concatenate([np.zeros_like(sums[:1]), sums])
        cusums = sums - np.minimum.accumulate(before)[:-1]
        highest.append(np.log(np.exp(cusums) @ weights).max())
    return {
        "kind": "days", "honest": n, "days": DAYS, "run_length": fitted().run_length,
        "alarms": int((np.array(highest) >= limit).sum()), "highest": float(np.max(highest) / limit), "seed": 0,
    }  # fmt: skip


def campaign(n: int, score: str, made: Callable[[], Campaign]) -> Row:
    """Return what campaigns are answered."""
    tested = made()
    seen = [changed_labels(tested, score, n, seed) for seed in range(SEEDS)]
    return {
        "kind": "campaign", "honest": n, "accounts": ACCOUNTS, "queries": QUERIES, "score": score,
        "probation": tested.probation, "alarms": [one.alarm for one in seen],
        "attacker_changed": float(np.mean([one.attacker.mean() for one in seen])),
        "honest_changed": float(np.mean([one.honest.mean() for one in seen])),
        "honest_touched": float(np.mean([one.honest.any(1).mean() for one in seen])), "seeds": SEEDS,
    }  # fmt: skip


def theft(n: int, score: str, progress: ProgressCallback) -> Row:
    """Return what a copy is worth that is trained on what a campaign was answered, or undefended answers."""
    probation = calibrated(score) if score else None
    if probation is None:
        rows = np.random.default_rng(0).choice(len(pool()), size=(ACCOUNTS, QUERIES), replace=False)
        answers = Changed(rows, np.zeros(rows.shape, bool), np.zeros((0, QUERIES), bool), None)
    else:
        answers = changed_labels(probation, score, n, 0)
    chosen, flipped = torch.from_numpy(answers.rows.ravel()), torch.from_numpy(answers.attacker.ravel())
    p, (flip,) = returned(pool()).z[chosen].softmax(-1), POLICIES["flipped labels"].outputs
    p[flipped] = flip(p[flipped], pool().inputs(chosen[flipped]))
    targets = nn.functional.one_hot(p.argmax(-1), p.shape[1]).float()
    network, x = networks.get(SURROGATE, data.load("cifar10")), torch.from_numpy(pool().values[chosen.numpy()])
    stolen, setting = learn(network, x, targets, STRONG, progress=progress), setting_of_cifar10()
    judged = setting.calibration
    truth = victims.answers(setting.victim, judged)
    return {
        "kind": "theft", "honest": n, "accounts": ACCOUNTS, "queries": QUERIES, "score": score,
        "probation": probation.probation if probation else None, "alarm": answers.alarm,
        "attacker_changed": float(flipped.float().mean()), "by_query": answers.attacker.mean(0).tolist(),
        "honest_changed": float(answers.honest.mean()) if n else None,
        "attack": "KnockoffNets, labels only", "surrogate": SURROGATE, "epochs": STRONG.epochs, "seed": 0,
        **metrics.theft(metrics.StolenAnswers(victims.answers(stolen, judged), truth, judged.labels)),
    }  # fmt: skip


def named(n: int, queries: int) -> Row:
    """Return which accounts e-BH rejects once each has asked so often."""
    shares, false = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        rows = rng.integers(len(attack()), size=(ACCOUNTS, queries))
        s = np.concatenate([attack()[rows], honest(rng, n, queries)])
        rejects = e_bh(np.exp(e_process(s)[:, -1]), fitted().fdr)
        shares.append(rejects[:ACCOUNTS].mean())
        false.append(rejects[ACCOUNTS:].sum() / max(1, rejects.sum()))
    return {
        "kind": "named", "honest": n, "accounts": ACCOUNTS, "queries": queries, "fdr": fitted().fdr,
        "named": float(np.mean(shares)), "false": float(np.mean(false)), "seeds": SEEDS,
    }  # fmt: skip


def rule(level: float, *, single: bool) -> Row:
    """Return whose queries are improbable at a level: by their own p-value, or by those of the account until then."""
    rng, inputs = np.random.default_rng(0), fitted().test.martingale().inputs
    rows = rng.choice(len(attack()), size=(ACCOUNTS, QUERIES), replace=False)
    hit = {}
    for who, s in (("attacker", attack()[rows]), ("honest", honest(rng, 3 * ACCOUNTS, QUERIES))):
        surprise = -np.log((places(inputs, s) + 1) / (len(inputs) + 1))
        counts = np.ones_like(surprise, int) if single else np.broadcast_to(np.arange(1, QUERIES + 1), s.shape)
        sums = surprise if single else surprise.cumsum(1)
        tails = [fisher(at, n) for at, n in zip(sums.ravel().tolist(), counts.ravel().tolist(), strict=True)]
        hit[who] = float(np.mean(np.array(tails) < level))
    return {
        "kind": "rule", "level": level, "single": single, **hit,
        "accounts": ACCOUNTS, "honest_accounts": 3 * ACCOUNTS, "queries": QUERIES, "seed": 0,
    }  # fmt: skip
