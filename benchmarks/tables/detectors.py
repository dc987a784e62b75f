"""Detectors of attackers who look ordinary, on three victims: queries to accusation, alone and combined.

Half of the test inputs calibrates each detector, honest clients draw from the other half, and attackers from a pool of
other inputs: at random, or what a model of the same task is surest of.
"""

from functools import partial

import torch

from benchmarks.tables.attacked import ROWS, VICTIMS, detectors
from benchmarks.tables.rows import Jobs, Row, prefix_of
from feint.defenses.access import SequentialTest
from feint.defenses.access.dilution import unaccused_share
from feint.evaluation.detection import accusations
from feint.progress import ProgressCallback

SHARES = 1.0, 0.5, 0.25, 0.1, 0.05
STREAMS = 100  # clients
DETECTORS = tuple(detectors("features"))


def jobs(progress: ProgressCallback) -> Jobs:
    """How many queries until the accusation, by attack, share and what the other queries are; how many honest."""
    for victim, attacked in VICTIMS.items():
        prefix = prefix_of(victim)
        of_rows = (ROWS,) if attacked.reads == "logits" else ()
        for name in (*DETECTORS, *of_rows):
            yield f"{prefix}honest-{name}", partial(stream, victim, name, "honest", 1.0, "honest")
            for attack in attacked.attacks:
                for share in SHARES:
                    yield f"{prefix}{attack}-{share}-{name}", partial(stream, victim, name, attack, share, "honest")
                filler = partial(stream, victim, name, attack, 0.31, attacked.surest_name)
                yield f"{prefix}{attack}-filler-{name}", filler
        for name in ("energy", "Mahalanobis", "learned", *of_rows):
            for attack in attacked.attacks:
                yield f"{prefix}share-{attack}-{name}", partial(least_share, victim, name, attack)


def stream(victim: str, name: str, attack: str, share: float, others: str) -> Row:
    """Return when clients with this share of attack queries are accused."""
    attacked = VICTIMS[victim]
    odd, even = (attacked.statistics(name, which) for which in (attack, others))
    outcome = accusations(attacked.fitted(name), odd, even, share, clients=STREAMS, length=attacked.length)
    return {
        "victim": victim, "detector": name, "attack": attack, "share": share, "others": others, "streams": STREAMS,
        "length": attacked.length, "accused": outcome.rate, "median_queries": outcome.median, "seed": 0,
    }  # fmt: skip


def least_share(victim: str, name: str, attack: str) -> Row:
    """Return the share of attack queries that is never accused, by what the other queries are."""
    attacked = VICTIMS[victim]
    test = attacked.fitted(name)
    assert isinstance(test, SequentialTest)
    odd = torch.from_numpy(attacked.statistics(name, attack))
    others = attacked.surest_name, "honest"
    fillers = {"best": None} | {which: torch.from_numpy(attacked.statistics(name, which)) for which in others}
    shares = {which: round(unaccused_share(test, odd, filler), 4) for which, filler in fillers.items()}
    return {"victim": victim, "detector": name, "attack": attack, "unaccused_share": shares}
