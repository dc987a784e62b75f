"""Campaigns of 1,000 accounts among honest newcomers, on CIFAR-10: queries until the alarm, and whose answers change.

The victim is the published ResNet-20. Newcomers of the last period use a quarter of the test images, those of today
another. Each has a mix of classes of their own (Dirichlet, 0.5), and every second one a camera of their own. Attackers
ask about CIFAR-100. Each score is computed once, and newcomers draw from them.
"""

import functools
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.tables.rows import Jobs, Row, published_resnet20, slug
from feint import data
from feint.data import Split
from feint.defenses.access import Campaign, slices
from feint.defenses.access.cohort import ALARMS, fisher
from feint.defenses.access.e_bh import e_bh
from feint.defenses.access.e_process import NOW, mixed
from feint.defenses.access.martingale import places, wealth
from feint.defenses.scores import scores
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Ledger
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes.store import atomic_write

CAMERAS = (
    "jpeg:95", "jpeg:90", "jpeg:75", "scale:0.875", "scale:0.75", "noise:0.02", "brightness:0.7", "brightness:1.3",
    "shift:2", "grey",
)  # fmt: skip
ACCOUNTS, QUERIES, DAYS, SEEDS = 1000, 10, 1000, 3
HONEST = 1000, 10_000
PROBATION = 0.01, 0.02, 0.05
LEVELS = 0.01, 0.02, 0.05, 0.2
PERIOD = 5000  # newcomers of the last period, of each of whom one query calibrates


class Population:
    """Honest newcomers who draw from some images.

    Args:
        images: The images.
        cameras: Share of newcomers with a camera of their own.
    """

    def __init__(self, images: Split, cameras: float = 0.5) -> None:
        self.cameras = cameras
        changed = [part for name in CAMERAS for _, part in slices.slices(name, images)]
        self.splits = [images, *changed]
        self._of_class = [np.flatnonzero(images.labels.numpy() == label) for label in range(10)]

    def draw(self, rng: np.random.Generator, n: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the camera (n, 1) of each newcomer and the images (n, queries) that they ask about."""
        mixes = rng.dirichlet(np.full(10, 0.5), n)
        classes = (rng.random((n, queries, 1)) > mixes.cumsum(1)[:, None, :-1]).sum(-1)
        rows = np.empty((n, queries), int)
        for label, members in enumerate(self._of_class):
            at = classes == label
            rows[at] = members[rng.integers(len(members), size=int(at.sum()))]
        own = rng.random((n, 1)) < self.cameras
        return np.where(own, rng.integers(1, len(self.splits), size=(n, 1)), 0), rows

    @functools.cached_property
    def scores(self) -> np.ndarray:
        """The victim's scores, (cameras, images)."""
        return np.stack([scored(split) for split in self.splits])


def scored(split: Split) -> np.ndarray:
    """Return the campaign's scores of all inputs of a split, which are kept for the next run."""
    place = Path("feint-bench") / "tables" / "campaign" / f"{slug(split.name + split.part).replace('/', '-')}.npy"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        s = scores(fitted().test.ranked_score, published_resnet20().eval(), split, NO_PROGRESS)
        with atomic_write(place) as partial_file, partial_file.open("wb") as file:
            np.save(file, s.numpy())
    return np.load(place)


@functools.cache
def fitted() -> Campaign:
    """Return the campaign fitted to one query of each newcomer of the last period."""
    last = Population(data.load("cifar10").test.share(0, 4))
    cameras, rows = last.draw(np.random.default_rng(0), PERIOD, 1)
    x = np.stack([last.splits[camera].arrays[0][row] for camera, row in zip(cameras[:, 0], rows[:, 0], strict=True)])
    y = last.splits[0].labels.numpy()[rows[:, 0]]
    inputs = Split.of(x, y, domain=last.splits[0].domain, name="newcomers")
    return Campaign().fit(published_resnet20().eval(), inputs)


@functools.cache
def today() -> Population:
    """Return the honest newcomers of today."""
    return Population(data.load("cifar10").test.share(2, 4))


@functools.cache
def pool() -> Split:
    """Return the attacker's images, a quarter of CIFAR-100."""
    return data.load("cifar10").pool.share(0, 4)


@functools.cache
def attack() -> np.ndarray:
    """Return their scores."""
    return scored(pool())


def honest(rng: np.random.Generator, n: int, queries: int) -> np.ndarray:
    """Return the scores (n, queries) of honest newcomers."""
    cameras, rows = today().draw(rng, n, queries)
    return today().scores[cameras, rows]


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


def changed_labels(n: int, probation: float, seed: int, queries: int = QUERIES) -> Changed:
    """Return what a campaign among n honest newcomers is answered; all queries arrive in random order.

    What the harsh rung does with an answer is not part of it: a copy is trained on the pool's rows with their labels,
    those that are changed as `LabelFlip` changes them.
    """
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(attack()), size=(ACCOUNTS, queries), replace=False)
    s = np.concatenate([attack()[rows], honest(rng, n, queries)])
    order = rng.permutation(np.repeat(np.arange(len(s)), queries))
    cohort, ledger = Campaign(fitted().test, probation=probation).cohort(), Ledger()
    log_e, changed, alarm, asked = e_process(s), np.zeros(s.shape, bool), None, 0
    for who in order.tolist():
        account = ledger[str(who)]
        at = int(account.queries)
        account.add(NOW, log_e[who, at] - account.total(NOW))
        asked += who < ACCOUNTS
        query = ArrayQuery(np.zeros((1, 1)), account.client, time=0.0)
        changed[who, at] = cohort.assign(s[who, at : at + 1], query, account, 0)[0] > 0
        account.add("queries", 1)
        if alarm is None and ledger.shared.total(ALARMS):
            alarm = asked
    return Changed(rows, changed[:ACCOUNTS], changed[ACCOUNTS:], alarm)


def e_process(s: np.ndarray) -> np.ndarray:
    """Return log E of accounts after each query, (n, queries), of a test fitted as the campaign's."""
    martingale = fitted().test.martingale()
    wins = martingale.won[places(martingale.inputs, s.ravel())].reshape(*s.shape, -1)
    return mixed(wealth(wins, np.full(wins.shape[-1], -np.inf), 0), martingale.weights)


def jobs(progress: ProgressCallback) -> Jobs:
    """False alarms on honest days, campaigns by honest newcomers and level of probation, named accounts, and rules."""
    for single in (True, False):
        for level in LEVELS:
            yield f"rule-{'single' if single else 'combined'}-{level}", partial(rule, level, single=single)
    for n in HONEST:
        yield f"days-{n}", partial(days, n)
        for probation in PROBATION:
            yield f"campaign-{n}-{probation}", partial(campaign, n, probation)
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


def campaign(n: int, probation: float) -> Row:
    """Return what campaigns are answered."""
    seen = [changed_labels(n, probation, seed) for seed in range(SEEDS)]
    alarms = [one.alarm for one in seen]
    return {
        "kind": "campaign", "honest": n, "accounts": ACCOUNTS, "queries": QUERIES, "probation": probation,
        "alarms": alarms, "attacker_changed": float(np.mean([one.attacker.mean() for one in seen])),
        "honest_changed": float(np.mean([one.honest.mean() for one in seen])),
        "honest_touched": float(np.mean([one.honest.any(1).mean() for one in seen])), "seeds": SEEDS,
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
