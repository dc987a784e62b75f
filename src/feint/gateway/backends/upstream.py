"""A model that another Open Inference Protocol v2 server runs.

Outputs beside the one that is served are dropped, and the text of the server's failures stays here.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from feint.errors import BadInput, CallLimit, Failed, Unreachable
from feint.gateway import settings
from feint.gateway.backends.onnx_model import softmax
from feint.gateway.redaction import address
from feint.gateway.validation import check_probabilities
from feint.openinference.json_client_codec import MissingOutput, UnreadableResponse
from feint.openinference.model_spec import ModelSpec, domain_of_table, spec_from_metadata
from feint.openinference.tensors import Array
from feint.paid.meter import Meter
from feint.signature import Domain, Pixels


class UpstreamTransport(Protocol):
    """Transport to an upstream's model. All methods raise `Unreachable`, and `UnreadableResponse`."""

    async def metadata(self) -> Mapping[str, Any]:
        """Return the model's metadata, as in the protocol's JSON."""
        ...

    async def infer(self, model: ModelSpec, x: Array) -> Array:
        """Return the model's output for `x` (N, …) in the upstream's own shape and type."""
        ...

    async def ready(self) -> bool:
        """Whether the model can answer."""
        ...

    def close(self) -> None:
        """Let go of the connections."""
        ...


class UpstreamModel:
    """One model of another server. `probe` reads its metadata, and tries it once, before `infer` is called.

    Args:
        at: Its settings.
        name: Its name there.
        transport: Transport to it.
        meter: Count of the calls, where they cost something. The trial is one of them.
    """

    def __init__(
        self, at: settings.UpstreamSettings, name: str, transport: UpstreamTransport, meter: Meter | None = None
    ) -> None:
        self.at, self.name, self._transport, self._meter = at, name, transport, meter
        self._spec: ModelSpec | None = None
        self.ready, self.close = transport.ready, transport.close

    async def probe(self) -> ModelSpec:
        """Return the model that the upstream's metadata describe, after a trial with one random input.

        Raises:
            Unreachable: Where it does not answer.
            BadInput: Where it is no classifier that can be served.
        """
        try:
            metadata = await self._transport.metadata()
        except UnreadableResponse as error:
            raise Unreachable(
                "an upstream whose metadata cannot be read", "an Open Inference server", "check its address and port"
            ) from error
        spec = read_spec(metadata, self.at, self.name)
        try:
            assert spec.domain is not None
            output = await self._output(spec, spec.domain.sample(1, 0))
            self._spec = replace(spec, classes=output.shape[-1] if output.ndim == 2 else 0)
            self._probabilities(output, 1)
        except Failed as error:
            self._spec = None
            raise BadInput(
                f"{address(self.at.upstream)}, for one input: {error.args[0]}", "probabilities",
                "set output, or logits = true, domain, shape or datatype",
            ) from error  # fmt: skip
        classes = self._spec.classes
        if self.at.classes not in (0, classes):
            raise BadInput(
                f"{classes} classes of {address(self.at.upstream)}",
                str(self.at.classes),
                "set classes to that, or leave it out",
            )
        return self._spec

    async def infer(self, x: Array) -> Array:
        """Return the undefended probabilities (N, K) of `x` (N, …); raise `Unreachable` or `Failed`."""
        spec = self._spec or await self.probe()
        if not len(x):  # scikit-learn behind MLServer fails on it
            return np.zeros((0, spec.classes), np.float32)
        return self._probabilities(await self._output(spec, x), len(x))

    async def _output(self, spec: ModelSpec, x: Array) -> Array:
        """Return the upstream's output. Raises `Unreachable`, or `Failed` where it cannot be read."""
        try:
            if self._meter is not None:
                await asyncio.to_thread(self._meter.charge, len(x))  # in a file, which may be locked
            return await self._transport.infer(spec, x)
        except MissingOutput as error:
            name = spec.output
            raise Failed("an upstream's answer without the output that was asked", name, "tell the operator") from error
        except CallLimit as error:
            raise Unreachable(*error.args) from error
        except UnreadableResponse as error:
            raise Failed("an upstream's answer that cannot be read", "a v2 response", "tell the operator") from error

    def _probabilities(self, output: Array, rows: int) -> Array:
        """Return the probabilities of an output. Raises `Failed`."""
        classes = self._spec.classes if self._spec else 0
        if output.shape != (rows, classes) or classes < 2 or not np.isfinite(output).all():
            raise Failed("an upstream's answer that is none", "finite rows, one for each input", "tell the operator")
        p = softmax(output.astype(np.float64)) if self.at.logits else output
        return check_probabilities(p, rows, classes)


def domain_of_settings(at: settings.UpstreamSettings) -> Domain | None:
    """Return the domain that the settings name, None for that of the upstream's metadata; raise `BadInput`."""
    return Pixels(at.shape) if at.shape else domain_of_table(at.domain) if at.domain else None


def read_spec(metadata: Mapping[str, Any], at: settings.UpstreamSettings, name: str) -> ModelSpec:
    """Return the upstream as its metadata describe it, and the settings where these leave something open.

    Raises:
        BadInput: Where neither does.
    """
    try:
        spec = spec_from_metadata(
            name, metadata, at.output, input=at.input, domain=domain_of_settings(at), datatype=at.datatype
        )
    except BadInput as error:
        got, expected, _ = error.args
        raise BadInput(
            f"{address(at.upstream)}: {got}", expected, "set output, input, domain, shape or datatype"
        ) from error
    assert spec.domain is not None
    sizes = [tensor.shape if min(tensor.shape, default=0) >= 0 else spec.domain.shape for tensor in spec.inputs]
    flat = tuple(tensor._replace(shape=(math.prod(size),)) for tensor, size in zip(spec.inputs, sizes, strict=True))
    return replace(spec, inputs=flat) if at.flat else spec


def _http(at: settings.UpstreamSettings, model: str, name: str) -> UpstreamTransport:
    from feint.gateway.backends.upstream_http import HttpUpstream

    return HttpUpstream(at, model, name)


def _grpc(at: settings.UpstreamSettings, model: str, name: str) -> UpstreamTransport:
    from feint.gateway.backends.upstream_grpc import GrpcUpstream

    return GrpcUpstream(at, model, name)


TRANSPORTS: dict[str, Callable[[settings.UpstreamSettings, str, str], UpstreamTransport]] = {
    "http": _http,
    "https": _http,
    "grpc": _grpc,
    "grpcs": _grpc,
}


def upstream_at(at: settings.UpstreamSettings, name: str, meter: Meter | None = None) -> UpstreamModel:
    """Return the model at an upstream that is called `name` here; it was not asked yet."""
    model = at.upstream_model or name
    return UpstreamModel(at, model, TRANSPORTS[at.upstream.partition("://")[0]](at, model, name), meter)
