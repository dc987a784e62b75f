"""Gauges of the gateway itself, read when Prometheus asks."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from feint.gateway.app import Gateway
from feint.gateway.endpoint import FACTS
from feint.gateway.telemetry.audit_log import AuditLog


class GatewayGauges(Collector):
    """Collector of what is ready, what is lost, what is under way, and each model's mode."""

    def __init__(self, gateway: Gateway, audit: AuditLog | None = None) -> None:
        self.gateway, self._audit = gateway, audit

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        gateway, endpoints = self.gateway, self.gateway.endpoints
        yield GaugeMetricFamily("feint_ready", "1 while the gateway and all models are ready", gateway.ready)
        yield GaugeMetricFamily("feint_ledger_up", "1 while the ledger's store answers", not gateway.ledger_lost)
        yield _by_model(
            "feint_model_ready", "1 while the model is ready", ((n, gateway.model_ready(n)) for n in endpoints)
        )
        yield _by_model(
            "feint_upstream_up",
            "1 while the server that runs the model answers",
            ((name, endpoints[name].ready) for name in sorted(gateway.upstreams)),
        )
        yield _by_model(
            "feint_requests_in_flight", "Requests under way", ((name, at.active) for name, at in endpoints.items())
        )
        differ = GaugeMetricFamily(
            "feint_replicas_differ",
            "1 while another process that uses the ledger has other rules, keys, … for the model",
            labels=["model", "what"],
        )
        for name, endpoint in endpoints.items():
            for what in FACTS:
                differ.add_metric([name, what], what in endpoint.replicas_differ)
        yield differ
        yield _by_model(
            "feint_shadow", "1 in shadow mode, 0 where enforced", ((name, at.shadow) for name, at in endpoints.items())
        )
        if gateway.certificate_expires is not None:
            yield GaugeMetricFamily(
                "feint_certificate_expiry_timestamp_seconds",
                "When the server's certificate expires",
                gateway.certificate_expires,
            )
        if self._audit is not None:
            yield GaugeMetricFamily(
                "feint_audit_lines_lost", "Lines of the audit log that no disk took", self._audit.lost
            )

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: no gauge is known before it is collected."""
        return []


def _by_model(name: str, documentation: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=["model"])
    for model, value in values:
        family.add_metric([model], value)
    return family
