"""Campaigns of 1,000 accounts among honest newcomers, on three victims: queries until the alarm, whose answers change.

`campaign_fits` says who the newcomers are. A copy is trained on what a campaign was answered, labels alone.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables.attacked import VICTIMS
from benchmarks.tables.campaign_fits import (
    OTHERS,
    QUERIES,
    SLICED,
    at_level,
    attack,
    best,
    calibrated,
    fitted,
    honest,
    learned,
    of_inputs,
    pool,
    scores,
)
from benchmarks.tables.drawn_rows import ATTACKERS, OWNERS
from benchmarks.tables.ladder import KEY
from benchmarks.tables.newcomers import returned
from benchmarks.tables.rows import Jobs, Row, prefix_of
from feint import victims
from feint.attacks import Surrogate, default_surrogates, tune
from feint.bench.demo import SETTINGS
from feint.defenses.access import Campaign
from feint.defenses.access.cohort import ALARMS, fisher
from feint.defenses.access.e_bh import e_bh
from feint.defenses.access.e_process import NOW, mixed
from feint.defenses.access.martingale import places, wealth
from feint.defenses.outputs import LabelFlip
from feint.evaluation import metrics
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Ledger
from feint.models.training import learn
from feint.progress import ProgressCallback

ACCOUNTS, DAYS, SEEDS = 1000, 1000, 3
HONEST = 1000, 10_000
PROBATION = 0.01, 0.02, 0.05
LEVELS = 0.01, 0.02, 0.05, 0.2


class Changed(NamedTuple):
    """Campaign of one seed.

    Attributes:
        rows: Rows of `pool` that each account of the attacker asks about, (1,000, queries).
        attacker: Which of these answers are those of the harsh rung, (1,000, queries).
        honest: The same of honest newcomers, (n, queries).
        alarm: Queries of the attacker until the alarm; None for none.
    """

    rows: np.ndarray
    attacker: np.ndarray
    honest: np.ndarray
    alarm: int | None


def changed_labels(victim: str, campaign: Campaign, score: str, n: int, seed: int, attacker: str = "") -> Changed:
    """Return whose answers change in a campaign among n honest newcomers; all queries arrive in random order."""
    rng, queries = np.random.default_rng(seed), QUERIES
    rows = rng.choice(len(pool(victim, attacker)), size=(ACCOUNTS, queries), replace=False)
    s = np.concatenate([attack(victim, score, attacker)[rows], honest(victim, rng, n, queries, score)])
    order = rng.permutation(np.repeat(np.arange(len(s)), queries))
    codes = rng.integers(2**48, size=s.shape, dtype=np.uint64)  # of inputs that are no near copies
    cohort, ledger = campaign.cohort(), Ledger()
    log_e, changed, alarm, asked = e_process(victim, s, score), np.zeros(s.shape, bool), None, 0
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


def e_process(victim: str, s: np.ndarray, score: str = "energy") -> np.ndarray:
    """Return log E of accounts after each query, (n, queries), of a test fitted as the campaign's."""
    martingale = fitted(victim, score).test.martingale()
    wins = martingale.won[places(martingale.inputs, s.ravel())].reshape(*s.shape, -1)
    return mixed(wealth(wins, np.full(wins.shape[-1], -np.inf), 0), martingale.weights)


def jobs(progress: ProgressCallback) -> Jobs:
    """Return the jobs of all victims."""
    for victim in VICTIMS:
        for name, job in of_victim(victim, progress):
            yield prefix_of(victim) + name, job


def of_victim(victim: str, progress: ProgressCallback) -> Jobs:
    """False alarms, copies by calibrated probation, campaigns by level of probation, named accounts, and rules."""
    yield "theft-none", partial(theft, victim, 0, "", progress)
    for single in (True, False):
        for level in LEVELS:
            yield f"rule-{'single' if single else 'combined'}-{level}", partial(rule, victim, level, single=single)
    for n in HONEST:
        yield f"days-{n}", partial(days, victim, n)
        yield from of_rows(victim, n)
        if victim != "CIFAR-10":  # its data set's pool is another task's
            yield from of_owners(victim, n, progress)
        yield from by_score(victim, n)
        yield from thefts(victim, n, progress)
        for probation in PROBATION:
            level = partial(at_level, victim, probation)
            yield f"campaign-{n}-{probation}", partial(campaign, victim, n, "energy", level)


def of_rows(victim: str, n: int) -> Jobs:
    """False alarms and attackers by the scores that read rows of a table."""
    for score in of_inputs(victim):
        yield f"days-{n}-{score}", partial(days, victim, n, score)
        for number, attacker in enumerate(ATTACKERS):
            made = partial(calibrated, victim, score)
            yield f"attacker-{number}-{n}-{score}", partial(campaign, victim, n, score, made, attacker)


def of_owners(victim: str, n: int, progress: ProgressCallback) -> Jobs:
    """Campaigns and copies of attackers who have inputs of the task."""
    score = best(victim)
    for attacker, share in OWNERS.items():
        made = partial(calibrated, victim, score)
        yield f"own-{share}-{n}-{score}", partial(campaign, victim, n, score, made, attacker)
        if n == HONEST[0]:
            label_flip = 0.5 if of_inputs(victim) else 1.0
            job = partial(theft, victim, n, score, progress, share=label_flip, attacker=attacker)
            yield f"theft-own-{share}-{n}-{score}", job
            undefended = partial(theft, victim, 0, "", progress, attacker=attacker)
            yield f"theft-own-{share}-none", undefended


def by_score(victim: str, n: int) -> Jobs:
    """Campaigns at the calibrated level of probation, and the accounts that e-BH names."""
    for score in scores(victim):
        yield f"calibrated-{n}-{score}", partial(campaign, victim, n, score, partial(calibrated, victim, score))
        for test in (score, score + SLICED):
            for queries in (10, 20):
                name = f"named-{n}-{queries}" + ("" if test == "energy" else f"-{test}")
                yield name, partial(named, victim, n, queries, test)
    others = partial(calibrated, victim, "energy", OTHERS)
    yield f"calibrated-{n}-energy-others", partial(campaign, victim, n, "energy", others)


def thefts(victim: str, n: int, progress: ProgressCallback) -> Jobs:
    """Copies of attackers who ask the pool."""
    _, pool_score = learned(victim)
    for score in ("energy", pool_score, *of_inputs(victim)):
        yield f"theft-{n}-{score}", partial(theft, victim, n, score, progress)
    for score in of_inputs(victim):  # of two classes
        yield f"theft-{n}-{score}-half", partial(theft, victim, n, score, progress, share=0.5)


def days(victim: str, n: int, score: str = "energy") -> Row:
    """Return on how many honest days with n newcomers there is an alarm."""
    rng, cohort, highest = np.random.default_rng(0), fitted(victim, score).cohort(), []
    limit, turns = np.log(cohort.run_length * len(cohort.turns)), np.array(cohort.turns)
    payments, weights = np.exp(cohort.martingale.won).astype(np.float32), cohort.martingale.weights
    for _ in range(DAYS):
        paid = payments[places(cohort.martingale.inputs, honest(victim, rng, n, max(turns), score))]
        sums = np.log(paid.cumsum(1)[:, turns - 1] / turns[:, None]).cumsum(0, dtype=np.float64)
        before = np.concatenate([np.zeros_like(sums[:1]), sums])
        cusums = sums - np.minimum.accumulate(before)[:-1]
        highest.append(np.log(np.exp(cusums) @ weights).max())
    return {
        "victim": victim, "kind": "days", "honest": n, "days": DAYS, "run_length": cohort.run_length, "score": score,
        "alarms": int((np.array(highest) >= limit).sum()), "highest": float(np.max(highest) / limit), "seed": 0,
    }  # fmt: skip


def campaign(victim: str, n: int, score: str, made: Callable[[], Campaign], attacker: str = "") -> Row:
    """Return what campaigns are answered."""
    tested = made()
    seen = [changed_labels(victim, tested, score, n, seed, attacker) for seed in range(SEEDS)]
    kind = {"kind": "attacker", "attacker": attacker} if attacker else {"kind": "campaign"}
    return {
        "victim": victim, **kind, "honest": n, "accounts": ACCOUNTS, "queries": QUERIES, "score": score,
        "probation": tested.probation, "alarms": [one.alarm for one in seen],
        "attacker_changed": float(np.mean([one.attacker.mean() for one in seen])),
        "honest_changed": float(np.mean([one.honest.mean() for one in seen])),
        "honest_touched": float(np.mean([one.honest.any(1).mean() for one in seen])), "seeds": SEEDS,
    }  # fmt: skip


def theft(
    victim: str, n: int, score: str, progress: ProgressCallback, *, share: float = 1.0, attacker: str = ""
) -> Row:
    """Return what a copy is worth that is trained on what a campaign was answered, or undefended answers.

    `share` is that of `LabelFlip`.
    """
    asked = pool(victim, attacker)
    probation = calibrated(victim, score) if score else None
    if probation is None:
        rows = np.random.default_rng(0).choice(len(asked), size=(ACCOUNTS, QUERIES), replace=False)
        answers = Changed(rows, np.zeros(rows.shape, bool), np.zeros((0, QUERIES), bool), None)
    else:
        answers = changed_labels(victim, probation, score, n, 0, attacker)
    chosen, flipped = torch.from_numpy(answers.rows.ravel()), torch.from_numpy(answers.attacker.ravel())
    p, flip = returned(victim, asked).z[chosen].softmax(-1), LabelFlip(KEY, share=share)
    p[flipped] = flip(p[flipped], asked.inputs(chosen[flipped]))
    targets = nn.functional.one_hot(p.argmax(-1), p.shape[1]).float()
    x, setting = asked.inputs(chosen), VICTIMS[victim].parts.setting
    tried, judged = surrogate(victim, x, targets), setting.calibration
    stolen = learn(tried.network, x, targets, tried.training, progress=progress)
    truth = victims.answers(setting.victim, judged)
    return {
        "victim": victim, "kind": "theft", "honest": n, "accounts": ACCOUNTS, "queries": QUERIES, "score": score,
        "probation": probation.probation if probation else None, "alarm": answers.alarm,
        "attacker_changed": float(flipped.float().mean()), "by_query": answers.attacker.mean(0).tolist(),
        "honest_changed": float(answers.honest.mean()) if n else None, "share": share,
        **({"attacker": attacker} if attacker else {}),
        "attack": "KnockoffNets, labels only", "surrogate": tried.network.name, "epochs": tried.training.epochs,
        "majority": float(judged.labels.bincount().max() / len(judged)), "seed": 0,
        **metrics.theft(metrics.StolenAnswers(victims.answers(stolen, judged), truth, judged.labels)),
    }  # fmt: skip


def surrogate(victim: str, x: Tensor, p: Tensor) -> Surrogate:
    """Return the strongest surrogate that attackers are known to have, or of rows the best by their answers."""
    images = VICTIMS[victim].parts.setting.images
    if images.name in SETTINGS:
        return SETTINGS[images.name].surrogate_on(images)
    return tune(x, p, default_surrogates(images.domain, p.shape[1])).surrogate


def named(victim: str, n: int, queries: int, score: str) -> Row:
    """Return which accounts e-BH rejects once each has asked so often."""
    shares, false, wrong, known, fdr = [], [], [], attack(victim, score), fitted(victim, score).fdr
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        rows = rng.integers(len(known), size=(ACCOUNTS, queries))
        s = np.concatenate([known[rows], honest(victim, rng, n, queries, score)])
        rejects = e_bh(np.exp(e_process(victim, s, score)[:, -1]), fdr)
        shares.append(rejects[:ACCOUNTS].mean())
        wrong.append(int(rejects[ACCOUNTS:].sum()))
        false.append(wrong[-1] / max(1, rejects.sum()))
    return {
        "victim": victim, "kind": "named", "honest": n, "accounts": ACCOUNTS, "queries": queries, "score": score,
        "fdr": fdr, "named": float(np.mean(shares)), "false": float(np.mean(false)), "wrong": wrong, "seeds": SEEDS,
    }  # fmt: skip


def rule(victim: str, level: float, *, single: bool) -> Row:
    """Return whose queries are improbable at a level: by their own p-value, or by those of the account until then."""
    rng, inputs, known = np.random.default_rng(0), fitted(victim).test.martingale().inputs, attack(victim)
    rows = rng.choice(len(known), size=(ACCOUNTS, QUERIES), replace=False)
    hit = {}
    for who, s in (("attacker", known[rows]), ("honest", honest(victim, rng, 3 * ACCOUNTS, QUERIES))):
        surprise = -np.log((places(inputs, s) + 1) / (len(inputs) + 1))
        counts = np.ones_like(surprise, int) if single else np.broadcast_to(np.arange(1, QUERIES + 1), s.shape)
        sums = surprise if single else surprise.cumsum(1)
        tails = [fisher(at, n) for at, n in zip(sums.ravel().tolist(), counts.ravel().tolist(), strict=True)]
        hit[who] = float(np.mean(np.array(tails) < level))
    return {
        "victim": victim, "kind": "rule", "level": level, "single": single, **hit,
        "accounts": ACCOUNTS, "honest_accounts": 3 * ACCOUNTS, "queries": QUERIES, "seed": 0,
    }  # fmt: skip
