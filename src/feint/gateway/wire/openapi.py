"""The gateway's REST side as an OpenAPI document: what may be asked, and each status that may come back."""

from typing import Any

from feint import __version__
from feint.gateway.wire.codec import HEAD, LENGTH, TEXT
from feint.gateway.wire.metadata import PAGES, Page
from feint.gateway.wire.tensors import DATATYPES

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
TEXTS, NAME = {"type": "array", "items": {"type": "string"}}, {"type": "string", "minLength": 1, "pattern": "^[^/]+$"}
COUNT = {"type": "integer", "minimum": 0}


def _object(required: dict[str, Any], more: dict[str, Any] | None = None, *, closed: bool = True) -> dict[str, Any]:
    said: dict[str, Any] = {"type": "object", "properties": required | (more or {}), "required": list(required)}
    return said | {"additionalProperties": False} if closed else said


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(item: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": item} | more


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Clients send what they leave out as null."""
    return {"anyOf": [schema, {"type": "null"}]}


TENSOR = _object(
    {"name": {"type": "string"}, "datatype": {"type": "string"}, "shape": _list({"type": "integer", "minimum": -1})}
)
SIDE = _object({"name": {"type": "string"}, "data_type": {"type": "string"}, "dims": _list(COUNT)})
SIZE = _object({"binary_data_size": COUNT})
INPUT = _object(
    {
        "name": {"type": "string"},
        "shape": _list({"type": "integer", "minimum": 0}, minItems=1),
        "datatype": {"enum": list(DATATYPES)},
    },
    {
        "data": {
            "type": "array",
            "items": {"type": ["number", "array"]},
            "description": "flat, or nested as the shape",
        },
        "parameters": _or_null(_object({}, {"binary_data_size": _or_null(COUNT)}, closed=False)),
    },
    closed=False,
)
WANTED = _object(
    {"name": {"type": "string"}},
    {"parameters": _or_null(_object({}, {"binary_data": {"type": ["boolean", "null"]}}, closed=False))},
    closed=False,
)
EXTRAS = _object(
    {}, {"stamp": {"type": "string", "maxLength": TEXT}, "binary_data_output": {"type": "boolean"}}, closed=False
)
OUTPUT = _object(
    {"name": {"type": "string"}, "datatype": {"const": "FP32"}, "shape": _list(COUNT, minItems=2, maxItems=2)},
    {"data": _list({"type": "number", "minimum": 0, "maximum": 1.001}), "parameters": SIZE},
)
PUZZLE = _object(
    {"bits": COUNT, "client": {"type": "string"}, "query": {"type": "string"}, "expires": {"type": "integer"}}
)
SCHEMAS: dict[str, Any] = {
    "Live": _object({"live": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}}),
    "ModelReady": _object({"name": {"type": "string"}, "ready": {"type": "boolean"}}),
    "Models": _object({"models": TEXTS}),
    "ServerMetadata": _object({"name": {"type": "string"}, "version": {"type": "string"}, "extensions": TEXTS}),
    "ModelMetadata": _object(
        {
            "name": {"type": "string"},
            "versions": TEXTS,
            "platform": {"type": "string"},
            "inputs": _list(TENSOR),
            "outputs": _list(TENSOR),
        }
    ),
    "ModelConfig": _object(
        {
            "name": {"type": "string"},
            "platform": {"type": "string"},
            "backend": {"type": "string"},
            "max_batch_size": COUNT,
            "input": _list(SIDE),
            "output": _list(SIDE),
        }
    ),
    "RepositoryIndex": _list(_object({name: {"type": "string"} for name in ("name", "version", "state", "reason")})),
    "InferenceRequest": _object(
        {"inputs": _list(INPUT, minItems=1, maxItems=1)},
        {
            "id": _or_null({"type": "string", "maxLength": TEXT}),
            "outputs": _or_null(_list(WANTED, maxItems=1)),
            "parameters": _or_null(EXTRAS),
        },
        closed=False,
    ),
    "InferenceResponse": _object(
        {"model_name": {"type": "string"}, "model_version": {"type": "string"}, "outputs": _list(OUTPUT, maxItems=1)},
        {"id": {"type": "string"}},
    ),
    "Error": _object(
        {"error": {"type": "string"}},
        {"parameters": _object({}, {"puzzle": PUZZLE, "retry_after": {"type": "number", "minimum": 0}})},
    ),
}
BINARY = {"schema": {"type": "string", "format": "binary"}}
LENGTHS = {"name": LENGTH, "in": "header", "schema": {"type": "integer", "minimum": 0, "maximum": HEAD}}


def document() -> dict[str, Any]:
    """The whole of it: no model's name is in it, for whoever reads it needs no key."""
    paths: dict[str, Any] = {}
    for page in PAGES:
        paths.setdefault(page.path, {})[page.method.lower()] = _page(page)
    for version in ("", "/versions/{version}"):
        path = f"/v2/models/{{model}}{version}/infer"
        paths[path] = {"post": _infer(path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Feint, a gateway of the Open Inference Protocol v2", "version": __version__},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _page(page: Page) -> dict[str, Any]:
    statuses = [*ALWAYS, *([401, 403] if page.keyed else []), *([404, 502] if "{model}" in page.path else [])]
    responses = _responses({"application/json": {"schema": _ref(page.schema)}}, statuses)
    if page.schema in ("Ready", "ModelReady"):
        responses["503"]["content"]["application/json"]["schema"] = {"anyOf": [_ref(page.schema), _ref("Error")]}
    operation = {"summary": page.summary, "parameters": _named(page.path), "responses": responses}
    return operation | ({"security": [{"key": []}]} if page.keyed else {})


def _infer(path: str) -> dict[str, Any]:
    asked = {"application/json": {"schema": _ref("InferenceRequest")}, "application/octet-stream": BINARY}
    answered = {"application/json": {"schema": _ref("InferenceResponse")}, "application/octet-stream": BINARY}
    return {
        "summary": "Inference",
        "security": [{"key": []}],
        "parameters": [*_named(path), LENGTHS],
        "requestBody": {"required": True, "content": asked},
        "responses": _responses(answered, list(ERRORS)),
    }


def _named(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [{"name": name, "in": "path", "required": True, "schema": NAME} for name in names]


def _responses(content: dict[str, Any], statuses: list[int]) -> dict[str, Any]:
    told = {
        str(status): {
            "description": ERRORS[status],
            "content": {"application/json": {"schema": _ref("Error")}},
            "headers": _hints(status),
        }
        for status in sorted(statuses)
    }
    return {"200": {"description": "The answer", "content": content}} | told


def _hints(status: int) -> dict[str, Any]:
    """The headers that say what to do."""
    seconds, scheme = {"schema": {"type": "integer", "minimum": 1}}, {"schema": {"type": "string"}}
    return {401: {"WWW-Authenticate": scheme}, 429: {"Retry-After": seconds}}.get(status, {})
