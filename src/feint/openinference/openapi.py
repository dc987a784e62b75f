"""The protocol over HTTP as an OpenAPI document, whose schemas are generated from the messages."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from feint.openinference.json_codec import BINARY, JSON, MAX_HEADER
from feint.openinference.messages import (
    HEADER_LENGTH,
    ErrorResponse,
    InferRequest,
    InferResponse,
    ModelReady,
    ServerReady,
)

ERRORS = {
    400: "No request of the protocol, or not what the model takes",
    401: "No API key that is known here",
    403: "The client may not ask, or not this",
    404: "No such model, version or path",
    408: "The request did not arrive in time",
    413: "More bytes or inputs than are taken",
    428: "A proof of work is required: `parameters.puzzle` is to be solved",
    429: "No queries are left, or too many came at once: `parameters.retry_after` says how many seconds to wait",
    500: "A step failed, and nothing was answered",
    502: "The model cannot be reached",
    503: "The ledger or the keys cannot be reached, or the models are not ready",
    504: "No answer in time",
}
ALWAYS = 400, 408, 413, 500, 503
HINTS = {  # headers of a status
    401: {"WWW-Authenticate": {"schema": {"type": "string"}}},
    429: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}},
}
NAME = {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
RAW = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
LENGTH = {"name": HEADER_LENGTH, "in": "header", "schema": {"type": "integer", "minimum": 0, "maximum": MAX_HEADER}}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A page of a server: its path, a summary, and the type of its response; `keyed` pages need an API key."""

    path: str
    summary: str
    response: Any
    keyed: bool = True
    method: str = "GET"


def document(pages: Sequence[Operation], *, title: str, version: str) -> dict[str, Any]:
    """Return the document of inference and the other pages of a server.

    No model's name is in it, for it is read without a key.
    """
    types = [InferRequest, InferResponse, ErrorResponse, *(page.response for page in pages)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    request, response, error, *answers = schemas
    paths: dict[str, Any] = {}
    for page, schema in zip(pages, answers, strict=True):
        paths.setdefault(page.path, {})[page.method.lower()] = _page(page, schema, error)
    for prefix in ("", "/versions/{version}"):
        path = f"/v2/models/{{model}}{prefix}/infer"
        paths[path] = {"post": _inference(path, request, response, error)}
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _page(page: Operation, schema: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    statuses = [*ALWAYS, *([401, 403] if page.keyed else []), *([404, 502] if "{model}" in page.path else [])]
    responses = _responses(_json(schema), error, statuses)
    if page.response in (ServerReady, ModelReady):
        responses["503"]["content"] = _json({"anyOf": [schema, error]})
    operation = {"summary": page.summary, "parameters": _path_parameters(page.path), "responses": responses}
    return operation | ({"security": [{"key": []}]} if page.keyed else {})


def _inference(path: str, request: dict[str, Any], response: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": "Inference",
        "security": [{"key": []}],
        "parameters": [*_path_parameters(path), LENGTH],
        "requestBody": {"required": True, "content": _json(request) | RAW},
        "responses": _responses(_json(response) | RAW, error, ERRORS),
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": NAME} for name in names]


def _responses(content: dict[str, Any], error: dict[str, Any], statuses: Iterable[int]) -> dict[str, Any]:
    return {"200": {"description": "The answer", "content": content}} | {
        str(status): {"description": ERRORS[status], "content": _json(error), "headers": HINTS.get(status, {})}
        for status in sorted(statuses)
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {JSON: {"schema": schema}}
