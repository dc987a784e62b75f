"""Open Inference Protocol v2 over HTTP, the client's side: pure functions between bytes and arrays.

Tensors travel as JSON, where every float32 keeps its value, or as raw little-endian bytes behind the JSON where the
server lists the extension `binary_tensor_data`; for 256 images of 3×32×32 that is 3 MB instead of 15.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from feint.errors import (
    BadInput,
    FeintError,
    OverBudget,
    ProofRequired,
    RateLimited,
    Refused,
    Suspected,
    TooLarge,
    Unreachable,
    one_line,
)
from feint.hashcash import Puzzle
from feint.probabilities import on_simplex

BINARY = "binary_tensor_data"
LENGTH = "Inference-Header-Content-Length"
UNREADABLE = (  # what comes of JSON with other values, or of other types, than the protocol says
    LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, StopIteration,
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What a server says of a model: the input's name and `shape` ((C, H, W), say), the output's name and classes."""

    input: str
    shape: tuple[int, ...]
    output: str
    classes: int


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises `BadInput`."""
    try:
        return dict(json.loads(body))
    except UNREADABLE as error:
        raise BadInput(
            "metadata that are no JSON object", "an Open Inference Protocol v2 server", "check the URL"
        ) from error


def model(metadata: Any, output: str | None = None) -> Model:
    """Read a model's metadata. Raises `BadInput` unless it has one FP32 input (N, …), and one FP32 output (N, K)."""
    try:
        inputs = [it for it in metadata["inputs"] if it["datatype"] == "FP32"]
        outputs = [it for it in metadata["outputs"] if it["datatype"] == "FP32" and len(it["shape"]) == 2]
        chosen = [it for it in outputs if output in (None, it["name"])]
        (given,), (answer,) = inputs, chosen
        shape = tuple(map(int, given["shape"][1:]))
        classes = int(answer["shape"][1])
        if not shape or min(shape) < 1 or classes < 1:
            raise ValueError(shape, classes)
        return Model(str(given["name"]), shape, str(answer["name"]), classes)
    except UNREADABLE as error:
        raise BadInput(
            f"a model with the metadata {json.dumps(metadata)[:300]}",
            "one FP32 input (N, …) and one FP32 output (N, K)",
            "name the output that holds the probabilities",
        ) from error


def request(model: Model, x: np.ndarray, *, stamp: str, binary: bool) -> tuple[bytes, dict[str, str]]:
    """The body and the headers that ask for the answers to `x` (N, …) float32."""
    raw = np.ascontiguousarray(x, "<f4")
    tensor: dict[str, Any] = {"name": model.input, "shape": list(x.shape), "datatype": "FP32"}
    body: dict[str, Any] = {"inputs": [tensor], "outputs": [{"name": model.output}]}
    if stamp:
        body["parameters"] = {"stamp": stamp}
    if not binary:
        tensor["data"] = raw.ravel().tolist()
        return json.dumps(body).encode(), {"Content-Type": "application/json"}
    tensor["parameters"] = {"binary_data_size": raw.nbytes}
    body["outputs"][0]["parameters"] = {"binary_data": True}
    head = json.dumps(body).encode()
    return head + raw.tobytes(), {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}


def answer(model: Model, body: bytes, headers: Mapping[str, str], rows: int) -> np.ndarray:
    """The probabilities (N, K) in a response to `rows` inputs.

    Raises `BadInput` for anything else: another shape, no numbers, logits, half an answer.
    """
    try:
        length = int(headers.get(LENGTH, len(body)))
        head, rest = json.loads(body[:length]), body[length:]
        tensor = next(it for it in head["outputs"] if it["name"] == model.output)
        if "data" in tensor:
            with np.errstate(over="ignore"):  # 1e39 becomes infinite, and is refused as such
                p = np.array(tensor["data"], np.float32)
        else:
            before = head["outputs"][: head["outputs"].index(tensor)]
            start = sum(it.get("parameters", {}).get("binary_data_size", 0) for it in before)
            p = np.frombuffer(rest[start : start + tensor["parameters"]["binary_data_size"]], "<f4")
        p = p.reshape(rows, model.classes)
    except UNREADABLE as error:
        raise BadInput(
            f"a response that cannot be read ({str(error)[:200]})",
            f"{model.output}, FP32 ({rows}, {model.classes})",
            "ask again",
        ) from error
    return probabilities(p)


def probabilities(p: np.ndarray) -> np.ndarray:
    """`p` (N, K) as an array of its own. Raises `BadInput` unless its rows are on the simplex."""
    if not on_simplex(p):
        raise BadInput(
            f"rows from {p.min():.3g} to {p.max():.3g}, which are no probabilities",
            "rows on the simplex",
            "name the output that holds the probabilities",
        )
    return p.copy()


def failure(status: int, body: bytes, headers: Mapping[str, str]) -> FeintError:
    """The error that a response of this status stands for; what the server says is cut to a line."""
    try:
        told = json.loads(body)
        said, details = one_line(told["error"], 300), dict(told.get("parameters", {}))
    except UNREADABLE:
        said, details = f"status {status}", {}
    if "Retry-After" in headers and "retry_after" not in details:
        details = {**details, "retry_after": headers["Retry-After"]}
    return refusal(status, said, details)


def refusal(status: int, said: str, details: Mapping[str, Any]) -> FeintError:
    """The error that a status of HTTP stands for, with what the server says and the details beside it."""
    if status == 428:
        return ProofRequired(said, "a proof of work", "solve the puzzle", puzzle=_puzzle(details))
    if status == 429 and "retry_after" in details:
        wait = _seconds(details["retry_after"])
        return RateLimited(said, "fewer queries", f"wait {wait:g} seconds", retry_after=wait)
    kinds: dict[int, tuple[type[FeintError], str, str]] = {
        401: (Refused, "an API key that the service knows", "give a key"),
        403: (Suspected, "a client that may ask", "talk to the owner"),
        413: (TooLarge, "a request that the server takes", "send smaller batches"),
        429: (OverBudget, "queries that are left", "learn from the transcript"),
    }
    if status in kinds:
        kind, expected, remedy = kinds[status]
        return kind(said, expected, remedy)
    if status < 500:
        return BadInput(said, "a request that the server takes", "check the model's name and the pool's shape")
    return Unreachable(f"{said} (status {status})", "a server that answers", "try again: what was answered is kept")


def _puzzle(details: Any) -> Puzzle | None:
    try:
        it = details["puzzle"]
        return Puzzle(int(it["bits"]), str(it["client"]), str(it["query"]), int(it["expires"]))
    except UNREADABLE:
        return None


def _seconds(told: Any) -> float:
    try:
        return max(0.0, float(told))
    except (ValueError, TypeError, OverflowError):
        return math.inf  # a date: the services that we know send seconds
