"""What a gateway says of itself and its models: the pages of Open Inference Protocol v2 that are not infer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from feint import __version__
from feint.gateway.desk import About
from feint.gateway.gateway import Gateway

Reply = tuple[int, bytes]


@dataclass(frozen=True)
class Page:
    """A path, what it says and to whom: `schema` names the form of its answer in the OpenAPI document."""

    path: str
    summary: str
    schema: str
    answer: Callable[..., Reply]
    keyed: bool = True
    method: str = "GET"


def server_metadata(gateway: Gateway) -> dict[str, Any]:
    """The server's name, version and extensions."""
    return {"name": "feint", "version": __version__, "extensions": ["binary_tensor_data", "model_repository(index)"]}


def model_metadata(about: About) -> dict[str, Any]:
    """A model's input and output: -1 stands for any number of inputs."""
    given = {"name": about.input, "datatype": "FP32", "shape": [-1, *about.shape]}
    answer = {"name": about.output, "datatype": "FP32", "shape": [-1, about.classes]}
    return {
        "name": about.name,
        "versions": [about.version],
        "platform": "feint",
        "inputs": [given],
        "outputs": [answer],
    }


def model_config(about: About, most: int) -> dict[str, Any]:
    """A model's configuration, as clients of Triton read it."""
    given = {"name": about.input, "data_type": "TYPE_FP32", "dims": list(about.shape)}
    answer = {"name": about.output, "data_type": "TYPE_FP32", "dims": [about.classes]}
    return {
        "name": about.name,
        "platform": "feint",
        "backend": "feint",
        "max_batch_size": most,
        "input": [given],
        "output": [answer],
    }


def repository_index(gateway: Gateway) -> list[dict[str, str]]:
    """All models, as Triton lists them."""
    state = "READY" if gateway.ready else "UNAVAILABLE"
    return [
        {"name": name, "version": desk.about.version, "state": state, "reason": ""}
        for name, desk in gateway.desks.items()
    ]


def _said(body: Any, *, well: bool = True) -> Reply:
    return 200 if well else 503, msgspec.json.encode(body)


def _models(gateway: Gateway) -> Reply:
    return _said({"models": list(gateway.desks)})


def _model_ready(gateway: Gateway, *, model: str, version: str = "") -> Reply:
    name = gateway.desk(model, version).about.name
    return _said({"name": name, "ready": gateway.ready}, well=gateway.ready)


def _model(gateway: Gateway, *, model: str, version: str = "") -> Reply:
    return _said(model_metadata(gateway.desk(model, version).about))


def _config(gateway: Gateway, *, model: str, version: str = "") -> Reply:
    return _said(model_config(gateway.desk(model, version).about, gateway.limits.batch))


OF_A_MODEL = [
    ("", "Model metadata", "ModelMetadata", _model, True),
    ("/ready", "Model readiness", "ModelReady", _model_ready, False),
    ("/config", "Model configuration, as Triton has it", "ModelConfig", _config, True),
]
PAGES = [
    Page("/v2", "Server metadata", "ServerMetadata", lambda gateway: _said(server_metadata(gateway))),
    Page("/v2/health/live", "Server liveness", "Live", lambda gateway: _said({"live": True}), keyed=False),
    Page(
        "/v2/health/ready",
        "Server readiness",
        "Ready",
        lambda gateway: _said({"ready": gateway.ready}, well=gateway.ready),
        keyed=False,
    ),
    Page("/v2/models", "The models' names", "Models", _models),
    Page(
        "/v2/repository/index",
        "The models, as Triton lists them",
        "RepositoryIndex",
        lambda gateway: _said(repository_index(gateway)),
        method="POST",
    ),
    *(
        Page(f"/v2/models/{{model}}{version}{end}", summary, schema, answer, keyed)
        for version in ("", "/versions/{version}")
        for end, summary, schema, answer, keyed in OF_A_MODEL
    ),
]
