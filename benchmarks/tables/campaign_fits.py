"""Campaigns fitted to newcomers of the last period, and the scores of what attackers and newcomers of today ask.

The victims and what attackers ask are those of `detectors`. Newcomers of the last period, of each of whom one query
calibrates, use a quarter of the test inputs. Those of today use another, as do those who are recorded, which sets the
level of probation.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from benchmarks.tables.attacked import VICTIMS
from benchmarks.tables.drawn_rows import sent
from benchmarks.tables.newcomers import Population, population, scored
from feint.data import Split
from feint.defenses.access import Campaign, SequentialTest
from feint.defenses.access.clients import probation_level
from feint.defenses.access.martingale import places
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.scores import Energy, Score
from feint.fitting import Fittable

QUERIES = 10  # of each account
SHARE = 0.01  # of the honest newcomers' answers that may change
PERIOD = 5000  # newcomers of the last period, of each of whom one query calibrates
LAST, OTHERS, TODAY, TO_LEARN = range(4)  # the quarters of the test inputs that newcomers have
RIDGE = 1e-3  # of the distance of rows: combinations of values that never occur have a small variance
SLICED = ", slices declared"  # what follows the name of a score whose test has the owner's slices


class Scored(NamedTuple):
    """A score, and what loads the outliers that it learns from; None for one that learns from none."""

    score: Score
    outliers: Callable[[], Split] | None = None


def learned(victim: str) -> Mapping[str, Scored]:
    """Return the scores that learn from outliers."""
    attacked = VICTIMS[victim]
    score = LearnedScore(attacked.reads)
    return {
        f"learned from {attacked.outliers_name}": Scored(score, lambda: attacked.parts.outliers),
        f"learned from {attacked.pool_name}": Scored(score, lambda: attacked.parts.pool.share(1, 4)),
    }


def of_inputs(victim: str) -> Mapping[str, Scored]:
    """Return the scores that read rows of a table."""
    attacked = VICTIMS[victim]
    if attacked.reads == "features":
        return {}
    return {
        f"of rows, learned from {attacked.pool_name}": Scored(
            LearnedScore("inputs"), lambda: attacked.parts.pool.share(1, 4)
        ),
        "of rows, Mahalanobis": Scored(Mahalanobis("inputs", ridge=RIDGE)),
    }


def best(victim: str) -> str:
    """Return the score that an owner would take: of rows the learned one, else the energy."""
    return next(iter(of_inputs(victim)), "energy")


def scores(victim: str) -> Mapping[str, Scored]:
    """Return all scores by name."""
    return {"energy": Scored(Energy()), **learned(victim), **of_inputs(victim)}


@functools.cache
def fitted(victim: str, score: str = "energy") -> Campaign:
    """Return the campaign fitted to one query of each newcomer of the last period.

    Every third trains a score that learns, and has inputs of another quarter: newcomers share none.
    """
    attacked, (read, outliers) = VICTIMS[victim], scores(victim)[score.removesuffix(SLICED)]
    test = SequentialTest(read)
    if score.endswith(SLICED):
        test = replace(test, slices=attacked.parts.setting.slices)
    last, others = population(victim, LAST), population(victim, TO_LEARN if isinstance(read, Fittable) else LAST)
    cameras, rows = last.draw(np.random.default_rng(0), PERIOD, 1)
    who = [others if i % 3 == 0 else last for i in range(PERIOD)]
    x, y = zip(*map(_asked, who, cameras[:, 0], rows[:, 0]), strict=True)
    inputs = Split.of(np.stack(x), np.array(y), domain=last.splits[0].domain, name="newcomers")
    return Campaign(test).fit(attacked.parts.setting.victim, inputs, outliers=outliers and outliers())


def _asked(of: Population, camera: int, row: int) -> tuple[np.ndarray, int]:
    """Return an input as a camera takes it, and its label."""
    return of.splits[camera].arrays[0][row], int(of.splits[0].labels[row])


@functools.cache
def calibrated(victim: str, score: str, quarter: int = TODAY) -> Campaign:
    """Return the campaign at whose probation at most `SHARE` of a newcomer's answers change.

    The newcomers that are recorded for it have inputs of this quarter, as today's have or others.
    """
    campaign = fitted(victim, score)
    inputs = campaign.test.martingale().inputs
    recorded = honest(victim, np.random.default_rng(1), PERIOD, QUERIES, score, quarter)
    p_values = [campaign.cohort().levels(ranks, range(1, 1 + len(ranks))) for ranks in places(inputs, recorded)]
    return Campaign(campaign.test, probation=probation_level(p_values, SHARE).level)


def at_level(victim: str, probation: float) -> Campaign:
    """Return the campaign with this level of probation."""
    return Campaign(fitted(victim).test, probation=probation)


@functools.cache
def pool(victim: str, attacker: str = "") -> Split:
    """Return the attacker's inputs."""
    return sent(victim, attacker)


@functools.cache
def attack(victim: str, score: str = "energy", attacker: str = "") -> np.ndarray:
    """Return their scores."""
    return scored(victim, fitted(victim, score), pool(victim, attacker))


def honest(
    victim: str, rng: np.random.Generator, n: int, queries: int, score: str = "energy", quarter: int = TODAY
) -> np.ndarray:
    """Return the scores (n, queries) of honest newcomers."""
    cameras, rows = population(victim, quarter).draw(rng, n, queries)
    return _scores(victim, score, quarter)[cameras, rows]


@functools.cache
def _scores(victim: str, score: str, quarter: int) -> np.ndarray:
    """Return the scores (cameras, inputs) of what newcomers of a quarter may ask."""
    campaign = fitted(victim, score)
    return np.stack([scored(victim, campaign, split) for split in population(victim, quarter).splits])
