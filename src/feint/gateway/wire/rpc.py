"""Open Inference Protocol v2 over gRPC."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from feint.errors import BadInput
from feint.gateway import refusals
from feint.gateway.desk import About
from feint.gateway.gateway import Caller, Gateway
from feint.gateway.wire import metadata, oip, tensors
from feint.gateway.wire.codec import Request, Wire, only, served, wire
from feint.gateway.wire.rest import key_in

DOMAIN = "feint"
INFER = f"/{oip.SERVICE}/ModelInfer"


@dataclass(frozen=True)
class Call:
    """A call that says something of the server or a model: `answer` makes the fields of its response."""

    name: str
    answer: Callable[[Gateway, Any], dict[str, Any]]
    keyed: bool = True


def _about(gateway: Gateway, request: Any) -> About:
    return gateway.desk(request.name, request.version).about


def _model_ready(gateway: Gateway, request: Any) -> dict[str, Any]:
    _about(gateway, request)
    return {"ready": gateway.ready}


CALLS = [
    Call("ServerLive", lambda gateway, request: {"live": True}, keyed=False),
    Call("ServerReady", lambda gateway, request: {"ready": gateway.ready}, keyed=False),
    Call("ModelReady", _model_ready, keyed=False),
    Call("ServerMetadata", lambda gateway, request: metadata.server_metadata(gateway)),
    Call("ModelMetadata", lambda gateway, request: metadata.model_metadata(_about(gateway, request))),
    Call(
        "ModelConfig",
        lambda gateway, request: {"config": metadata.model_config(_about(gateway, request), gateway.limits.batch)},
    ),
    Call("RepositoryIndex", lambda gateway, request: {"models": metadata.repository_index(gateway)}),
]


def add(gateway: Gateway, server: grpc.aio.Server) -> None:
    """Serve the models of `gateway` on a server of gRPC. Its largest message is the server's own option."""
    server.add_generic_rpc_handlers((Calls(gateway),))


class Calls(grpc.GenericRpcHandler):
    """The calls by their names. Who may ask is found out before the message is read: many of them, each as large as a
    message may be, would fill the memory of a gateway without any key."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._calls = {f"/{oip.SERVICE}/{call.name}": call for call in CALLS}

    def service(self, handler_call_details: Any) -> Any:
        """What handles a call; None for one that is not there."""
        at = handler_call_details.method
        call = self._calls.get(at)
        if at != INFER and call is None:
            return None
        try:
            caller = Caller("") if call and not call.keyed else self._gateway.caller(key_of(handler_call_details))
        except Exception as error:
            self._gateway.turned_away("", "", error)
            return grpc.stream_stream_rpc_method_handler(functools.partial(_refused, error))  # it reads no message
        if call is None:
            return _handler("ModelInfer", functools.partial(_infer, self._gateway, caller.client))
        return _handler(call.name, functools.partial(_told, self._gateway, call))


def _handler(name: str, answer: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(answer, None, oip.MESSAGES[f"{name}Response"].SerializeToString)


async def _refused(error: Exception, messages: Any, context: Any) -> None:
    await refuse(context, error)


async def _told(gateway: Gateway, call: Call, message: bytes, context: Any) -> Any:
    try:
        request = decoded(f"{call.name}Request", message)
        return oip.MESSAGES[f"{call.name}Response"](**call.answer(gateway, request))
    except Exception as error:
        failure = error
    return await refuse(context, failure)


async def _infer(gateway: Gateway, client: str, message: bytes, context: Any) -> Any:
    asked, model = False, ""
    try:
        it = decoded("ModelInferRequest", message)
        model = it.model_name
        desk = gateway.desk(model, it.model_version)
        codec = wire(desk.about, gateway.limits)
        request = read(codec, it, client)
        asked = True
        return write(codec, request, await gateway.answer(desk, request.asked))
    except Exception as error:
        failure = error
    if not asked:
        gateway.turned_away(model, client, failure)
    return await refuse(context, failure)


def decoded(kind: str, message: bytes) -> Any:
    """The message of that kind in its bytes. Raises `BadInput`."""
    try:
        return oip.MESSAGES[kind].FromString(message)
    except DecodeError as error:
        raise BadInput("bytes that are no message", f"a {kind}", "see the protocol") from error


def read(codec: Wire, message: Any, client: str) -> Request:
    """The request in a message: its numbers raw or typed. Raises `BadInput`."""
    given, raw = only(message.inputs), message.raw_input_contents
    kind = codec.kind(given)
    served(message.outputs, codec.about.output)
    if len(raw) > 1 or (raw and given.HasField("contents")):
        raise BadInput("a tensor with more than one form of contents", "raw or typed contents", "send one")
    x = tensors.from_raw(raw[0], kind, given.shape) if raw else tensors.from_contents(given.contents, kind, given.shape)
    stamp = message.parameters["stamp"].string_param if "stamp" in message.parameters else ""
    return codec.request(x, client, message.id, stamp, binary=bool(raw))


def write(codec: Wire, request: Request, q: tensors.Array) -> Any:
    """The message of an answer `q` (N, K) float32, in the form in which the inputs came."""
    about = codec.about
    response = oip.ModelInferResponse(model_name=about.name, model_version=about.version, id=request.id)
    output = response.outputs.add(name=about.output, datatype="FP32", shape=q.shape)
    if request.binary:
        response.raw_output_contents.append(q.astype("<f4", copy=False).tobytes())
    else:
        output.contents.fp32_contents.extend(q.ravel().tolist())
    return response


def key_of(details: Any) -> str:
    """The API key in a call's metadata `authorization: Bearer KEY`; "" where there is none."""
    sent = next((value for name, value in details.invocation_metadata or () if name == "authorization"), "")
    return key_in(sent.encode() if isinstance(sent, str) else sent)


async def refuse(context: Any, error: Exception) -> None:
    """End the call with what the error is to a client: code, one line, and details in the trailing metadata.

    `grpc-status-details-bin` holds google.rpc.Status with an ErrorInfo, and a RetryInfo where waiting helps;
    `feint-puzzle` the puzzle in JSON; `retry-after` seconds.
    """
    refusals.logged(error)
    code, line, told = grpc.StatusCode[refusals.kind(error).code], refusals.line(error), refusals.details(error)
    info = oip.ErrorInfo(reason=refusals.reason(error), domain=DOMAIN)
    status = oip.Status(code=code.value[0], message=line)
    trailing = []
    if "retry_after" in told:
        trailing.append(("retry-after", f"{told['retry_after']:.9g}"))
        retry = oip.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(told["retry_after"] * 1e9))
        status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=retry.SerializeToString())
    if "puzzle" in told:
        trailing.append(("feint-puzzle", json.dumps(told["puzzle"])))
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=info.SerializeToString())
    trailing.append(("grpc-status-details-bin", status.SerializeToString()))
    await context.abort(code, line, tuple(trailing))
