"""Ordinary clients against the sequential test: cameras, one class, bursts, checks, files, and a whole population.

Every query goes through the running test with its input, so that near copies count once as they do in a service. The
victims and the halves of their test inputs are those of `evidence`; the months of a population have different inputs.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables import honest
from benchmarks.tables.evidence import Setting
from benchmarks.tables.honest import FRAMES, VICTIMS, Client, Takes
from benchmarks.tables.rows import Jobs, Row, prefix_of
from feint import victims
from feint.data import Split
from feint.defenses.access import SequentialTest, client_state
from feint.defenses.access.bursts import burst_length
from feint.defenses.access.clients import threshold, upper_bound
from feint.defenses.access.e_process import MOST
from feint.defenses.access.slices import slices
from feint.evaluation.detection import accusations
from feint.gateway.array_query import ArrayQuery
from feint.ledger import Account
from feint.progress import ProgressCallback

TESTS = {"none": "plain", "declared": "sliced"}  # the test of a setting, by whether its slices are declared
SCENES, REQUEST = 500, 10
UNUSUAL, MIXED = 20, 5  # inputs of lowest scores that are health checks, alone and among other queries
SHARES = 1.0, 0.5, 0.25
Clients = Callable[[], Iterator[Client]]


class Ordinary:
    """Inputs of one victim's honest clients, and the two tests.

    Args:
        victim: Name of the victim.
    """

    def __init__(self, victim: str) -> None:
        self.victim, self.served = victim, VICTIMS[victim]

    @functools.cached_property
    def setting(self) -> Setting:
        """The victim."""
        return self.served.make()

    def test(self, declared: str) -> SequentialTest:
        """Return the test without slices, or with those declared."""
        return getattr(self.setting, TESTS[declared])

    def slices(self, declared: str) -> list[str]:
        """Return the slices of a test."""
        return list(self.setting.slices) if declared != "none" else []

    @functools.cache  # noqa: B019, one lives as long as the process
    def inputs(self, change: str = "", *, month: int | None = None, takes: Takes | None = None) -> Split:
        """Return honest inputs with a change, or takes of the first of them."""
        split, scenes = self.setting.honest, SCENES
        if month is not None:
            split, scenes = split.take(slice(month, None, 2), part=f"{split.part}, month {month}"), SCENES // 4
        if takes:
            split = takes(split.take(slice(0, scenes), part=f"{split.part}, scenes"))
        return next(iter(slices(change, split)))[1] if change else split

    @functools.cache  # noqa: B019
    def logits(self, inputs: Split) -> Tensor:
        """Return the victim's logits."""
        return torch.cat([victims.logits(self.setting.victim, x) for x in inputs.inputs().split(500)])

    @functools.cache  # noqa: B019
    def scores(self, declared: str, inputs: Split) -> Tensor:
        """Return the scores that the test ranks."""
        return self.test(declared).ranked_score(inputs.inputs(), self.logits(inputs))

    def accounts(self, declared: str, clients: Iterable[Client], burst: int = 1) -> Iterator[Account]:
        """Yield the account of each client after all its queries, of a test for bursts of this length."""
        martingale = replace(self.test(declared), burst=burst).martingale()
        for inputs, rows in clients:
            account, known = Account("client"), self.scores(declared, inputs).numpy()
            for part in np.split(rows, range(REQUEST, len(rows), REQUEST)):
                query = ArrayQuery(inputs.inputs(torch.from_numpy(part)).numpy(), "client")
                martingale.observe(known[part], query, account)
            yield account

    def highest(self, declared: str, clients: Iterable[Client], burst: int = 1) -> list[float]:
        """Return the highest evidence of each client."""
        return [account.total(MOST) for account in self.accounts(declared, clients, burst)]

    def unusual(self) -> np.ndarray:
        """Return the rows of the lowest scores, the lowest first."""
        return self.scores("none", self.inputs()).argsort()[:UNUSUAL].numpy()

    def kinds(self) -> Mapping[str, Clients]:
        """Return the kinds of ordinary clients, by name."""
        served = self.served
        (file, by), every = served.file, lambda: np.arange(len(self.inputs()))
        kinds: dict[str, Clients] = {"as they are": lambda: honest.independent(self.inputs(), every())}
        for change in served.changes:
            kinds[change] = lambda change=change: honest.independent(self.inputs(change), every())
        for group, rows in served.groups.items():
            kinds[group] = lambda rows=rows: honest.independent(self.inputs(), rows(self.inputs()))
        for name, takes in served.bursts.items():
            kinds[name] = lambda takes=takes: honest.in_bursts(self.inputs(takes=takes))
        return kinds | {
            file: lambda: honest.in_order(self.inputs(), by(self.inputs())),
            "each query three times": lambda: honest.again(self.inputs()),
            f"one {served.noun} every hour for a year": lambda: honest.checks(self.inputs(), self.unusual()),
            f"one {served.noun} after every 200 others for a week": (
                lambda: honest.mixed_checks(self.inputs(), self.unusual()[:MIXED])
            ),
        }


def jobs(progress: ProgressCallback) -> Jobs:
    """Each ordinary client without and with slices; then a population, and what its threshold means for attackers."""
    for victim in VICTIMS:
        ordinary, prefix = Ordinary(victim), prefix_of(victim)
        for declared in TESTS:
            for kind, clients in ordinary.kinds().items():
                yield f"{prefix}ordinary-{declared}-{kind}", partial(alone, ordinary, declared, kind, clients)
        for kind in ordinary.served.bursts:
            yield f"{prefix}bursts-{kind}", partial(bursts, ordinary, kind, ordinary.kinds()[kind])
        for declared in TESTS:
            yield f"{prefix}population-{declared}", partial(months, ordinary, declared)


def alone(ordinary: Ordinary, declared: str, kind: str, clients: Clients) -> Row:
    reached = ordinary.highest(declared, clients())
    return {
        "victim": ordinary.victim, "slices": ordinary.slices(declared), "kind": kind, "clients": len(reached),
        "accused": sum(evidence >= 1 for evidence in reached), "highest": max(reached), "seed": 0,
    }  # fmt: skip


def bursts(ordinary: Ordinary, kind: str, clients: Clients) -> Row:
    """Measure the bursts of every second client, and test the others for bursts of the longest."""
    sent = [*clients()]
    states = (account.rows(client_state.NAME).array.ravel() for account in ordinary.accounts("none", sent[::2]))
    lengths = [burst_length(client_state.recent_codes(state)) for state in states]
    longest = max((length for length in lengths if length), default=1)
    reached = ordinary.highest("none", sent[1::2], longest)
    odd, known = (ordinary.scores("none", part).numpy() for part in (ordinary.setting.pool, ordinary.inputs()))
    delays = [
        accusations(replace(ordinary.test("none"), burst=m), odd, known, 1.0, clients=100, length=1000).median
        for m in (1, longest)
    ]
    return {
        "victim": ordinary.victim, "bursts": kind, "frames": FRAMES, "lengths": lengths, "burst": longest,
        "clients": len(reached), "accused": sum(evidence >= 1 for evidence in reached), "highest": max(reached),
        "attacker": delays, "seed": 0,
    }  # fmt: skip


def population(ordinary: Ordinary, month: int, n: int = 1000, length: int = 400) -> Iterator[Client]:
    """Clients with Dirichlet(0.5) classes; half have one of the changes, and half send bursts."""
    generator, served = np.random.default_rng(month), ordinary.served
    *_, takes = served.bursts.values()
    for _ in range(n):
        change = str(generator.choice(served.changes)) if generator.random() < 0.5 else ""
        bursting = generator.random() < 0.5
        inputs = ordinary.inputs(change, month=month, takes=takes if bursting else None)
        labels = inputs.labels.numpy()[:: FRAMES if bursting else 1]
        classes = len(ordinary.setting.images.classes)
        mix = generator.dirichlet(np.full(classes, 0.5))
        weights = mix[labels] / np.bincount(labels, minlength=classes)[labels]
        rows = generator.choice(
            len(labels), length // FRAMES if bursting else length, p=weights / weights.sum()
        )  # fmt: skip
        yield inputs, honest.burst(rows) if bursting else rows


def months(ordinary: Ordinary, declared: str) -> Row:
    """Calibrate the threshold on the clients of one month, and count those of the next who reach it."""
    last, this = (ordinary.highest(declared, population(ordinary, month)) for month in (0, 1))
    calibrated = threshold(last, 0.01)
    accused = sum(evidence >= calibrated.level for evidence in this)
    return {
        "victim": ordinary.victim, "slices": ordinary.slices(declared), "clients": len(this), "queries": 400, "seed": 0,
        "accused_at_1": sum(evidence >= 1 for evidence in this), "level": calibrated.level, "accused": accused,
        "average": calibrated.average, "bound": calibrated.bound, "bound_of_accused": upper_bound(accused, len(this)),
        "attackers": {str(share): list(attack(ordinary, declared, share, calibrated.level)) for share in SHARES},
    }  # fmt: skip


def attack(ordinary: Ordinary, declared: str, share: float, level: float) -> Iterator[float | None]:
    """Median queries until a client is accused of whose queries so many are the pool's, at 1 and at the level."""
    test, generator = ordinary.test(declared), torch.Generator().manual_seed(0)
    known, odd = (ordinary.scores(declared, part) for part in (ordinary.inputs(), ordinary.setting.pool))
    drawn = [torch.randint(len(part), (100, 3000), generator=generator) for part in (odd, known)]
    mixed = torch.where(torch.rand(100, 3000, generator=generator) < share, odd[drawn[0]], known[drawn[1]])
    evidence = torch.cat([test.replay(part) for part in mixed.split(20)])
    for at in (1.0, level):
        reached = evidence >= at
        first = torch.where(reached.any(1), reached.double().argmax(1) + 1, torch.inf).median().item()
        yield first if first <= 3000 else None
