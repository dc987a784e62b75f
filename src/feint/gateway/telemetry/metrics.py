"""Metrics for Prometheus.

Labels are models, outcomes, reasons, stages and rungs. Clients are no label, since there may be ten thousand.
"""

import os
from bisect import bisect_left
from collections import Counter as Counted
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from feint import __version__
from feint.gateway.app import Gateway
from feint.gateway.record import RequestRecord
from feint.gateway.telemetry.audit_log import AuditLog
from feint.gateway.telemetry.client_gauges import ClientGauges
from feint.gateway.telemetry.gateway_gauges import GatewayGauges
from feint.gateway.telemetry.logs import OUTCOMES
from feint.openinference.status import ERROR_STATUSES

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

SECONDS = 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30
MOVED = 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0
REASONS = [kind.__name__ for kind in ERROR_STATUSES if kind is not Exception]
TOGETHER = 100  # requests


class CountedHistogram(Histogram):
    """Histogram that counts equal observations in one step: requests that are decided together take the same time."""

    def observe_each(self, amount: float, count: int) -> None:
        """Observe an amount so many times."""
        self._sum.inc(count * amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(count)


class Metrics:
    """Observer, and the response to Prometheus.

    Counters and histograms of workers (`feint serve --workers`) are summed, also of those that have ended. The
    rest is of the worker that answers, and has the label `worker`: gauges, and how far answers were moved.

    Args:
        audit: The audit log whose lost lines are exported, if there is one.
    """

    def __init__(self, audit: AuditLog | None = None) -> None:
        self.registry = CollectorRegistry()
        options = {"registry": self.registry, "namespace": "feint"}
        self._requests = Counter("requests", "Requests", ["model", "outcome"], **options)
        self._queries = Counter("queries", "Queries: 1 query = 1 input", ["model", "outcome"], **options)
        self._reasons = Counter(
            "refusals", "Requests without an answer, or answered without the ledger", ["model", "reason"], **options
        )
        self._conflicts = Counter(
            "conflicts", "Decisions made again: another had changed the account", ["model"], **options
        )
        self._seconds = CountedHistogram(
            "stage_seconds", "Time in a stage", ["model", "stage"], buckets=SECONDS, **options
        )
        self._moved = MovedHistogram()
        self._alarm = Gauge(
            "campaign_alarm", "1 while newcomers are on probation", ["model"], multiprocess_mode="livemax", **options
        )
        disable_created_metrics()  # a second line for each counter and histogram, which no query here needs
        self._process = CollectorRegistry()  # of this process alone
        Info("build", "Version of Feint", namespace="feint", registry=self._process).info({"version": __version__})
        ProcessCollector(registry=self._process)
        self._process.register(self._moved)
        self.clients, self._audit = ClientGauges(), audit
        self._process.register(self.clients)
        self._gateway: GatewayGauges | None = None
        self._known: dict[tuple[str, ...], tuple] = {}

    def attach(self, gateway: Gateway) -> None:
        """Export the gauges of a gateway, and every counter of its models from 0 on, so that `rate` sees the first."""
        if self._gateway is None:
            self._gateway = GatewayGauges(gateway, self._audit)
            self._process.register(self._gateway)
        self._gateway.gateway = gateway
        for model in ("", *gateway.endpoints):
            for outcome in OUTCOMES:
                self._children(model, outcome)
            for reason in REASONS:
                self._reasons.labels(model, reason)
            self._conflicts.labels(model)

    def __call__(self, records: Sequence[RequestRecord]) -> None:
        """Count requests."""
        self.clients(records)
        sent: Counted[tuple[str, str]] = Counted()
        inputs: Counted[tuple[str, str]] = Counted()
        together: dict[tuple[str, int], list[RequestRecord]] = defaultdict(list)  # those with their seconds in common
        for record in records:
            together[record.model, id(record.seconds)].append(record)
            model, outcome = record.model, record.outcome
            sent[model, outcome] += 1
            inputs[model, outcome] += record.queries
            if record.reason:
                self._reasons.labels(model, record.reason).inc()
            if record.conflicts:
                self._conflicts.labels(model).inc(record.conflicts)
            if record.campaign is not None:
                self._alarm.labels(model).set(record.campaign)
            if record.moved is not None:
                self._moved.observe(model, record.moved)
        for (model, _), alike in together.items():
            for stage, seconds in alike[0].seconds.items():
                self._stage(model, stage).observe_each(seconds, len(alike))
        for kind, number in sent.items():
            requests, queries = self._children(*kind)
            requests.inc(number)
            queries.inc(inputs[kind])

    def _children(self, model: str, outcome: str) -> tuple[Counter, Counter]:
        """Return the counters of an outcome; `labels` would check its values again each time, 1 µs each."""
        known = self._known.get((model, outcome))
        if known is None:
            known = self._requests.labels(model, outcome), self._queries.labels(model, outcome)
            self._known[model, outcome] = known
        return known

    def _stage(self, model: str, stage: str) -> CountedHistogram:
        known = self._known.get((model, "", stage))
        if known is None:
            known = self._known[model, "", stage] = (self._seconds.labels(model, stage),)
        return known[0]

    def text(self) -> bytes:
        """Return the answer of GET /metrics."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # where prometheus_client has the counts of all workers
            return generate_latest(self.registry) + generate_latest(self._process)
        together, single = CollectorRegistry(), CollectorRegistry()
        MultiProcessCollector(together)
        single.register(OfThisWorker(self._process))
        return generate_latest(together) + generate_latest(single)


class OfThisWorker(Collector):
    """Collector of what a registry has, with a label for this process: the next scrape may reach another one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        worker = {"worker": str(os.getpid())}
        for family in self._registry.collect():
            family.samples = [sample._replace(labels=sample.labels | worker) for sample in family.samples]
            yield family

    def describe(self) -> list[Metric]:
        """Return nothing: no metric is known before it is collected."""
        return []


class MovedHistogram(Collector):
    """Collector of how far answers were moved, which tells nobody how far one answer was.

    With the distance of their own answer a client would know an undefended number: of an answer that shows the top
    class alone, twice the distance is missing from its probability. So there is no sum, and requests are counted only
    when `TOGETHER` of them are complete.
    """

    def __init__(self) -> None:
        self._counted: dict[str, Counted[int]] = defaultdict(Counted)
        self._waiting: dict[str, Counted[int]] = defaultdict(Counted)

    def observe(self, model: str, moved: float) -> None:
        """Count a request of a model whose answers moved by `moved` in L1, on average."""
        waiting = self._waiting[model]
        waiting[bisect_left(MOVED, moved)] += 1
        if waiting.total() == TOGETHER:
            self._counted[model] += waiting
            waiting.clear()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram of each model."""
        family = HistogramMetricFamily(
            "feint_moved", f"L1 distance of answers to undefended ones, {TOGETHER} requests at a time", labels=["model"]
        )
        for model, counted in self._counted.items():
            counts = accumulate(counted[i] for i in range(len(MOVED) + 1))
            family.add_metric([model], list(zip([*map(str, MOVED), "+Inf"], counts, strict=True)), None)
            family.add_sample("feint_moved_count", {"model": model}, counted.total())
        yield family

    def describe(self) -> list[HistogramMetricFamily]:
        """Return nothing, as `ClientGauges` does."""
        return []
