"""Gauges of clients by evidence and by rung."""

from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from feint.gateway.record import RequestRecord

CLIENTS = 10_000
EVIDENCE = 0.0, 0.25, 0.5, 0.75, 1.0, 2.0  # a client is in the bucket that begins at or below its evidence


class Reached(NamedTuple):
    """The highest evidence against a client so far, and the highest rung."""

    evidence: float = 0.0
    rung: int = 0


class ClientGauges(Collector):
    """Observer and collector of the `CLIENTS` clients of this process who asked last, by model."""

    def __init__(self) -> None:
        self.clients: OrderedDict[tuple[str, str], Reached] = OrderedDict()

    def __call__(self, records: Iterable[RequestRecord]) -> None:
        """Remember the clients of requests."""
        for record in records:
            if record.client:
                self._remember((record.model, record.client), record)

    def _remember(self, at: tuple[str, str], record: RequestRecord) -> None:
        known = self.clients.pop(at, Reached())  # where a rule refused first the evidence was not looked up
        self.clients[at] = Reached(max(known.evidence, record.shown_evidence), max(known.rung, record.rung))
        if len(self.clients) > CLIENTS:
            self.clients.popitem(last=False)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        buckets: Counter[tuple[str, float]] = Counter()
        rungs: Counter[tuple[str, int]] = Counter()
        for (model, _), client in self.clients.items():
            buckets[model, EVIDENCE[max(0, bisect_right(EVIDENCE, client.evidence) - 1)]] += 1
            rungs[model, client.rung] += 1
        evidence = GaugeMetricFamily(
            "feint_clients_by_evidence", "Recent clients whose evidence is `from` or more", labels=["model", "from"]
        )
        for model in sorted({model for model, _ in buckets}):
            for start in EVIDENCE:
                evidence.add_metric([model, f"{start:g}"], buckets[model, start])
        yield evidence
        occupied = GaugeMetricFamily("feint_clients_by_rung", "Recent clients on a rung", labels=["model", "rung"])
        for (model, rung), count in sorted(rungs.items()):
            occupied.add_metric([model, str(rung)], count)
        yield occupied

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: no gauge is known before it is collected."""
        return []
