"""Time and state of the evidence about clients, beside those of the sequential test alone; one thread."""

import numpy as np
import torch

from benchmarks.speed.clock import processor_seconds
from feint.data import Split
from feint.defenses.access import Campaign, Combined, MeanDiscrepancy, SequentialTest
from feint.defenses.access.cohort import UNTIL, Cohort
from feint.defenses.feature_scores import Mahalanobis
from feint.defenses.scores import Energy, scores
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Account, Ledger
from feint.models.networks import Network
from feint.progress import NO_PROGRESS
from feint.signature import Pixels

Row = dict[str, str | float]
CLIENTS, NEWCOMER, KNOWN = 10, 10, 200  # clients in a turn, and queries of each: of newcomers, and of others
REPEATS = 5


def cost() -> list[Row]:
    """Measure microseconds of the processor for a query that comes alone, and bytes of a client's state.

    A query's near code and scores are computed before, once for all that reads them.
    """
    torch.set_num_threads(1)
    victim, generator = Network("mlp", Pixels((1, 8, 8)), 10).build(0).eval(), np.random.default_rng(0)
    x = generator.integers(256, size=(1000, 1, 8, 8), dtype=np.uint8)
    inputs, codes = Split.of(x, np.zeros(len(x), int), name="noise"), generator.integers(2**48, size=KNOWN)
    single = SequentialTest().fit(victim, inputs)
    several = Combined([single, SequentialTest(Mahalanobis()), MeanDiscrepancy(score=Energy())]).fit(victim, inputs)
    read = {one: scores(one.ranked_score, victim, inputs, NO_PROGRESS).numpy() for one in (single, several)}
    cohort = Campaign(single).cohort()

    def send(
        test: SequentialTest | Combined, queries: int, pooled: Cohort | None = None, alarm: float = 0.0
    ) -> Account:
        """Send so many queries of each client, one by one, and return the last account."""
        ledger, process, statistics, pooled_scores = Ledger(), test.process, read[test], read[single]
        ledger.shared.add(UNTIL, alarm)
        for client in range(CLIENTS):
            account = ledger[f"{client}"]
            for i in range(queries):
                query = _query(codes[i : i + 1])
                process.observe(statistics[i : i + 1], query, account)
                if pooled is not None:
                    pooled.assign(pooled_scores[i : i + 1], query, account, 0)
                account.add("queries", 1)
        return ledger[f"{CLIENTS - 1}"]

    jobs = {
        "sequential test, newcomer": (single, NEWCOMER),
        "sequential test and campaign, newcomer": (single, NEWCOMER, cohort),
        "sequential test and campaign, newcomer during an alarm": (single, NEWCOMER, cohort, 3600.0),
        "sequential test": (single, KNOWN),
        "sequential test and campaign": (single, KNOWN, cohort),
        "mean of sequential tests of energy and Mahalanobis and a mean surprise": (several, KNOWN),
    }
    turns = [
        {name: processor_seconds(lambda job=job: send(*job))[0] for name, job in jobs.items()} for _ in range(REPEATS)
    ]
    seconds = {name: min(turn[name] for turn in turns) for name in jobs}
    return [
        {"what": name, "microseconds": seconds[name] / CLIENTS / job[1] * 1e6, "bytes": _bytes(send(*job))}
        for name, job in jobs.items()
    ]


def _query(codes: np.ndarray) -> ArrayQuery:
    query = ArrayQuery(np.zeros((1, 1)), "client", time=0.0)
    query.near = codes.astype(np.uint64)
    return query


def _bytes(account: Account) -> int:
    """Return the bytes of an account's numbers: 8 for a total, 4 for a number of a row."""
    state = vars(account)
    return 8 * len(state["_totals"]) + sum(rows.array.nbytes for rows in state["_rows"].values())
