"""Gauges of the gateway itself, read when Prometheus asks."""

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from feint.gateway.app import Gateway


class GatewayGauges(Collector):
    """Collector of what is ready, what is lost, what is under way, and each model's mode."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

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
        yield _by_model(
            "feint_replicas_differ",
            "1 while another process serves the model from the same ledger in another mode",
            ((name, at.replicas_differ) for name, at in endpoints.items()),
        )
        yield _by_model(
            "feint_shadow", "1 in shadow mode, 0 where enforced", ((name, at.shadow) for name, at in endpoints.items())
        )

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: no gauge is known before it is collected."""
        return []


def _by_model(name: str, documentation: str, values: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=["model"])
    for model, value in values:
        family.add_metric([model], value)
    return family
