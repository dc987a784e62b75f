"""A server of Open Inference Protocol v2 over gRPC, as a client meets it."""

import contextlib
import json
import weakref
from typing import Any

import grpc
import numpy as np

from feint.errors import BadInput, FeintError, Unreachable, one_line
from feint.gateway.client import protocol
from feint.gateway.wire import oip

STATUS = {  # the code of gRPC, and the status of HTTP that says the same
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "FAILED_PRECONDITION": 428,
    "RESOURCE_EXHAUSTED": 429,
}
OPTIONS = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 64 * 2**20)]


class Rpc:
    """What is asked of the server of `grpc://HOST:PORT`, or `grpcs://…` for TLS; `timeout` is in seconds."""

    def __init__(self, url: str, timeout: float) -> None:
        scheme, _, target = url.partition("://")
        self.url, self._timeout = url, timeout
        if scheme == "grpcs":
            self._channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), OPTIONS)
        else:
            self._channel = grpc.insecure_channel(target, OPTIONS)
        weakref.finalize(self, self._channel.close)

    def about(self, model: str, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the server says of itself and of a model."""
        said = self._call("ServerMetadata", key, oip.ServerMetadataRequest())
        told = self._call("ModelMetadata", key, oip.ModelMetadataRequest(name=model))
        sides = {
            side: [{"name": it.name, "datatype": it.datatype, "shape": list(it.shape)} for it in tensors]
            for side, tensors in (("inputs", told.inputs), ("outputs", told.outputs))
        }
        return {"version": said.version}, {"versions": list(told.versions)} | sides

    def infer(self, name: str, model: protocol.Model, x: np.ndarray, stamp: str, key: str) -> np.ndarray:
        """The probabilities (N, K) of the model of this name for `x` (N, …)."""
        request = oip.ModelInferRequest(model_name=name, outputs=[{"name": model.output}])
        request.inputs.add(name=model.input, datatype="FP32", shape=x.shape)
        request.raw_input_contents.append(np.ascontiguousarray(x, "<f4").tobytes())
        if stamp:
            request.parameters["stamp"].string_param = stamp
        return answer(model, self._call("ModelInfer", key, request), len(x))

    def _call(self, name: str, key: str, request: Any) -> Any:
        ask = self._channel.unary_unary(
            f"/{oip.SERVICE}/{name}", type(request).SerializeToString, oip.MESSAGES[f"{name}Response"].FromString
        )
        try:
            return ask(request, timeout=self._timeout, metadata=(("authorization", f"Bearer {key}"),) if key else ())
        except grpc.RpcError as error:
            raise failure(self.url, error) from error


def answer(model: protocol.Model, told: Any, rows: int) -> np.ndarray:
    """The probabilities (N, K) in a response to `rows` inputs. Raises `BadInput`."""
    names = [it.name for it in told.outputs]
    try:
        at = names.index(model.output)
        raw, typed = told.raw_output_contents, told.outputs[at].contents.fp32_contents
        p = np.frombuffer(raw[at], "<f4") if raw else np.array(typed, np.float32)
        p = p.reshape(rows, model.classes)
    except (ValueError, IndexError) as error:
        raise BadInput(
            f"a response that cannot be read ({error})", f"{model.output}, FP32 ({rows}, {model.classes})", "ask again"
        ) from error
    return protocol.probabilities(p)


def failure(url: str, error: Any) -> FeintError:
    """The error that a failed call stands for; what the server says is cut to a line."""
    said, trailing = one_line(error.details(), 300), dict(error.trailing_metadata() or ())
    if error.code().name not in STATUS:
        return Unreachable(
            f"{url} ({error.code().name}: {said})",
            "a server that answers",
            "check the URL or try again: what was answered is kept",
        )
    details: dict[str, Any] = {"retry_after": trailing["retry-after"]} if "retry-after" in trailing else {}
    with contextlib.suppress(KeyError, ValueError):  # a puzzle that cannot be read is none
        details["puzzle"] = json.loads(trailing["feint-puzzle"])
    status = 413 if b"TooLarge" in trailing.get("grpc-status-details-bin", b"") else STATUS[error.code().name]
    return protocol.refusal(status, said, details)
