"""Pages of the protocol other than inference: health, metadata, configuration and the repository's index."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from feint import __version__
from feint.errors import UnknownName
from feint.gateway.app import Caller, Gateway
from feint.openinference import messages
from feint.openinference.openapi import Operation

Reply = tuple[int, bytes]


@dataclass(frozen=True, kw_only=True)
class ProtocolPage(Operation):
    """Operation of the gateway, whose `answer` takes the gateway, the caller, if any, and the path's parameters."""

    answer: Callable[..., Reply]


def server_metadata() -> messages.ServerMetadata:
    """Return the server's name, version and extensions."""
    extensions = [messages.BINARY_EXTENSION, "model_repository(index)"]
    return messages.ServerMetadata("feint", __version__, extensions)


def names(gateway: Gateway, caller: Caller | None) -> list[str]:
    """Return the names of the models that a caller may ask about."""
    return [*gateway.endpoints] if caller is None else gateway.allowed(caller)


def repository_index(gateway: Gateway, caller: Caller | None = None) -> list[messages.RepositoryModel]:
    """Return the models that a caller may ask about, as Triton lists them."""
    return [
        messages.RepositoryModel(
            name, gateway.endpoints[name].spec.version, "READY" if gateway.model_ready(name) else "UNAVAILABLE"
        )
        for name in names(gateway, caller)
    ]


def _reply(body: Any, *, ready: bool = True) -> Reply:
    return 200 if ready else 503, msgspec.json.encode(body)


def _models(gateway: Gateway, caller: Caller | None) -> Reply:
    return _reply(messages.ModelNames(names(gateway, caller)))


def _model_ready(gateway: Gateway, caller: Caller | None, *, model: str, version: str = "") -> Reply:
    name = gateway.endpoint(model, version, caller=caller).spec.name
    ready = gateway.model_ready(name)
    return _reply(messages.ModelReady(name, ready), ready=ready)


def _model(gateway: Gateway, caller: Caller | None, *, model: str, version: str = "") -> Reply:
    if model == "stats" and model not in gateway.endpoints:  # Triton's extension, on the path of a model of that name
        raise UnknownName("statistics of models", "a page that is served, as in /openapi.json", "read /metrics")
    return _reply(gateway.endpoint(model, version, caller=caller).spec.metadata())


def _config(gateway: Gateway, caller: Caller | None, *, model: str, version: str = "") -> Reply:
    return _reply(gateway.endpoint(model, version, caller=caller).spec.config(gateway.limits.batch))


MODEL_PAGES = [
    ("", "Model metadata", messages.ModelMetadata, _model, True),
    ("/ready", "Model readiness", messages.ModelReady, _model_ready, False),
    ("/config", "Model configuration, as Triton has it", messages.ModelConfig, _config, True),
]
PAGES = [
    ProtocolPage(
        path="/v2",
        summary="Server metadata",
        response=messages.ServerMetadata,
        answer=lambda gateway, caller: _reply(server_metadata()),
    ),
    ProtocolPage(
        path="/v2/health/live",
        summary="Server liveness",
        response=messages.ServerLive,
        answer=lambda gateway, caller: _reply(messages.ServerLive(True)),
        keyed=False,
    ),
    ProtocolPage(
        path="/v2/health/ready",
        summary="Server readiness",
        response=messages.ServerReady,
        answer=lambda gateway, caller: _reply(messages.ServerReady(gateway.ready), ready=gateway.ready),
        keyed=False,
    ),
    ProtocolPage(path="/v2/models", summary="The models' names", response=messages.ModelNames, answer=_models),
    ProtocolPage(
        path="/v2/repository/index",
        summary="The models, as Triton lists them",
        response=list[messages.RepositoryModel],
        answer=lambda gateway, caller: _reply(repository_index(gateway, caller)),
        method="POST",
    ),
    *(
        ProtocolPage(
            path=f"/v2/models/{{model}}{version}{end}", summary=summary, response=response, answer=answer, keyed=keyed
        )
        for version in ("", "/versions/{version}")
        for end, summary, response, answer, keyed in MODEL_PAGES
    ),
]
