"""Access rules and detectors: PRADA beside the published procedure, query by query; one thread."""

import time
from collections.abc import Callable
from statistics import fmean

import numpy as np
import torch

from benchmarks.speed.clock import Result, least
from feint import Query, data, hashcash
from feint.defenses.access import PRADA, SEAT, PrivacyCost, ProofOfWork, RateLimit, TwoSample
from feint.defenses.access._shapiro import coefficients, shapiro_w
from feint.errors import ProofRequired
from feint.hashcash import Puzzle
from feint.ledger import Account
from feint.models.networks import get
from feint.models.training import Training, train
from feint.victims import logits

Row = dict[str, str | float]
QUERIES = 3000


def procedure(x: np.ndarray, predicted: list[int], delta: float) -> float:
    """PRADA's evidence by its listing: each query is compared with each member of its class's growing set."""
    members: dict[int, list[np.ndarray]] = {}
    joined, threshold, distances, worst = {}, {}, {}, 1.0
    for i, (row, c) in enumerate(zip(x, predicted, strict=True)):
        if c not in members:
            members[c], joined[c], threshold[c], distances[c] = [row], [0.0], 0.0, []
        else:
            d = min(float(np.linalg.norm(row - other)) for other in members[c])
            distances[c].append(d)
            if d > threshold[c]:
                members[c].append(row)
                joined[c].append(d)
                threshold[c] = max(threshold[c], float(np.mean(joined[c]) - np.std(joined[c])))
        if (i + 1) % 10 == 0:
            pool = np.array([d for own in distances.values() if len(own) >= 10 for d in own])
            pool = pool[np.abs(pool - pool.mean()) < 3 * pool.std()] if len(pool) else pool
            if len(pool) > 100:
                worst = min(worst, shapiro_w(np.sort(pool)))
    return (1 - worst) / (1 - delta)


def once(job: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of wall time of one run, with no coefficients kept from an earlier one, and what it returned."""
    coefficients.cache_clear()
    started = time.perf_counter()
    found = job()
    return time.perf_counter() - started, found


def speed() -> list[Row]:
    """Seconds for the first 3,000 Fashion-MNIST images; microseconds a query; seconds to solve a puzzle."""
    torch.set_num_threads(1)
    images = data.load("fashion_mnist")
    victim = train(get("lenet", images), images.train, training=Training(epochs=1))
    x = images.train.inputs(slice(0, QUERIES))
    z = logits(victim, x)
    return [*prada(x, z), *queries(victim, images.test, x, z), *puzzles()]


def prada(x: torch.Tensor, z: torch.Tensor) -> list[Row]:
    """Both on the same queries; the least of three runs, the two taking turns."""
    flat, predicted = x.flatten(1).double().numpy(), z.argmax(-1).tolist()
    jobs: dict[str, Callable[[], float]] = {
        "the procedure, query by query": lambda: procedure(flat, predicted, 0.9),
        "PRADA, one batch": lambda: PRADA().observe(Query(x), z, Account("a")),
        "PRADA, query by query": lambda: one_by_one(PRADA(), x, z),
    }
    runs = [{name: once(job) for name, job in jobs.items()} for _ in range(3)]
    return [
        {"what": f"{name}, {QUERIES} queries", "seconds": min(it[name][0] for it in runs), "evidence": runs[0][name][1]}
        for name in jobs
    ]


def one_by_one(detector, x: torch.Tensor, z: torch.Tensor) -> float:
    """Return a detector's evidence after each query was observed by itself."""
    account, found = Account("a"), 0.0
    for i in range(len(x)):
        found = detector.observe(Query(x[i : i + 1]), z[i : i + 1], account)
    return found


def queries(victim, held, x: torch.Tensor, z: torch.Tensor) -> list[Row]:
    """Microseconds of each detector and rule for a query that comes alone, over the first 1,000; `Query` included."""
    fitted = {
        "SEAT": SEAT().fit(victim, held),
        "TwoSample": TwoSample().fit(victim, held),
        "PrivacyCost": PrivacyCost().fit(victim, held),
    }
    rows: list[Row] = []
    for name, detector in fitted.items():
        seconds, found = once(lambda detector=detector: one_by_one(detector, x[:1000], z[:1000]))
        rows.append({"what": f"{name}, a query alone", "microseconds": seconds * 1e3, "evidence": found})
    account, rule, query = Account("a"), RateLimit(1e9, burst=10), Query(x[:1])
    rows.append({"what": "RateLimit.admit", "microseconds": best(lambda: rule.admit(query, account))})
    work = ProofOfWork(cost=fitted["PrivacyCost"])
    puzzle = asked_of(work, query, account)
    stamped = [Query(x[:1], stamp=hashcash.solve(puzzle), time=query.time) for _ in range(50)]
    seconds, _ = once(lambda: [work.admit(it, account) for it in stamped])
    return [*rows, {"what": "ProofOfWork.admit, a valid stamp", "microseconds": seconds / 50 * 1e6}]


def asked_of(work: ProofOfWork, query: Query, account: Account) -> Puzzle:
    """Return the puzzle that a query without a stamp is answered with."""
    try:
        work.admit(query, account)
    except ProofRequired as error:
        if error.puzzle is not None:
            return error.puzzle
    raise ValueError("no proof is asked for")


def best(job: Callable[[], object]) -> float:
    """Return the least time of a job in microseconds."""
    return least({"it": job}, repeats=5000)["it"] * 1e6


def puzzles() -> list[Row]:
    """Mean seconds to solve, and hashes a second; times scatter as widely as their mean."""
    rows: list[Row] = []
    for bits, times in ((10, 400), (16, 40), (20, 6)):
        puzzle, seconds, tries = hashcash.Puzzle(bits, "0" * 32, "1" * 32, 2**31), [], 0
        for i in range(times):
            took, stamp = once(lambda puzzle=puzzle, i=i: hashcash.solve(puzzle, salt=f"{i}"))
            seconds.append(took)
            tries += int(str(stamp).rpartition(":")[2], 16) + 1
        rows.append(
            {"what": f"solve, {bits} bits", "seconds": fmean(seconds), "stamps": times,
             "hashes_per_second": tries / sum(seconds)}
        )  # fmt: skip
    return rows
