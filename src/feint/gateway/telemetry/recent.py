"""Recent requests of this process: clients with the curves of their evidence, times of stages, and refusals.

All of it is bounded: at most `CLIENTS` clients with `POINTS` points each, 16 MB, and `TIMES` times a stage.
"""

import time
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from feint.gateway.record import RequestRecord

CLIENTS = 10_000
POINTS = 64
TIMES = 1000
WHOLE = "all"  # the stage that all stages are together


@dataclass(slots=True)
class RecentClient:
    """One client of one model. `evidence` and `rung` are the highest so far; `asked` queries were answered."""

    evidence: float = 0.0
    rung: int = 0
    asked: float = 0.0
    queries: int = 0
    last: float = 0.0
    times: array = field(default_factory=lambda: array("d"))
    levels: array = field(default_factory=lambda: array("f"))

    def write(self, now: float, *, gap: float) -> None:
        """Add the evidence to the curve: a new point where the last one is `gap` seconds old.

        A full curve is thinned to half, so that it always spans the whole past.
        """
        if self.times and now - self.times[-1] < gap:
            self.levels[-1] = self.evidence
            return
        if len(self.times) >= POINTS:
            self.times, self.levels = self.times[::2], self.levels[::2]
        self.times.append(now)
        self.levels.append(self.evidence)


class RecentRequests:
    """Observer that remembers clients for the page and for the gauges; points of a curve are `gap` seconds apart."""

    def __init__(self, *, gap: float = 1.0) -> None:
        self.gap, self.since = gap, time.time()
        self.clients: OrderedDict[tuple[str, str], RecentClient] = OrderedDict()
        self.seconds: dict[tuple[str, str], deque[float]] = defaultdict(lambda: deque(maxlen=TIMES))
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.alarms: dict[str, bool] = {}  # campaign alarms by model

    def __call__(self, records: Iterable[RequestRecord]) -> None:
        """Remember requests."""
        for record in records:
            self._remember(record)

    def _remember(self, record: RequestRecord) -> None:
        model = record.model
        self.outcomes[model, record.outcome] += 1
        if record.reason:
            self.reasons[model, record.reason] += 1
        if record.campaign is not None:
            self.alarms[model] = record.campaign
        if record.seconds:
            for stage, seconds in record.seconds.items():
                self.seconds[model, stage].append(seconds)
            self.seconds[model, WHOLE].append(sum(record.seconds.values()))
        if record.client:
            self._client(record)

    def _client(self, record: RequestRecord) -> None:
        at = (record.model, record.client)
        client = self.clients.get(at)
        if client is None:
            client = self.clients[at] = RecentClient()
            if len(self.clients) > CLIENTS:
                self.clients.popitem(last=False)
        else:
            self.clients.move_to_end(at)
        client.evidence = max(client.evidence, record.shown_evidence)  # where a rule refused first it was not looked up
        client.rung = max(client.rung, record.rung)
        client.asked = max(client.asked, record.asked)
        client.queries += record.queries
        client.last = record.time
        client.write(record.time, gap=self.gap)

    def of(self, model: str) -> dict[str, RecentClient]:
        """Return the clients of a model by name."""
        return {name: client for (on, name), client in self.clients.items() if on == model}

    def quantiles(self, model: str) -> dict[str, tuple[float, float]]:
        """Return the median and the 99th percentile of the last `TIMES` times of each stage, in seconds."""
        return {stage: _quantiles(times) for (on, stage), times in self.seconds.items() if on == model}

    def counted(self, model: str) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Return requests by outcome, and by reason where they were not answered, most frequent first."""
        return (
            {outcome: n for (on, outcome), n in self.outcomes.most_common() if on == model},
            {reason: n for (on, reason), n in self.reasons.most_common() if on == model},
        )


def _quantiles(times: deque[float]) -> tuple[float, float]:
    ordered = sorted(times)
    last = len(ordered) - 1
    return ordered[round(0.5 * last)], ordered[round(0.99 * last)]
