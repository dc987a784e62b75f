"""The gateway's calls of the Open Inference Protocol v2 over gRPC."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import grpc
import msgspec

from feint.errors import BadInput, RateLimited, TooLarge
from feint.gateway import error_responses, metadata, request_context
from feint.gateway.app import Caller, Gateway
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.routes import bearer_key
from feint.gateway.turns import Gathering
from feint.openinference import grpc_codec, proto
from feint.openinference.model_spec import ModelSpec
from feint.openinference.tensors import PIECE

INFER = f"/{proto.SERVICE}/ModelInfer"


@dataclass(frozen=True)
class RpcCall:
    """Call other than inference: `answer` returns the fields of its response. Without a key no request is read.

    Attributes:
        name: Its name.
        answer: Returns the fields for a gateway, a caller and a request; for None where these are not known or read.
        keyed: Whether a key is needed.
        service: The service to which it belongs.
        messages: What the names of its messages begin with, "" for its own name.
        roles: Roles of which a key has one.
        optional: Whether a request with a key is read although none is needed.
    """

    name: str
    answer: Callable[[Gateway, Caller | None, Any], dict[str, Any]]
    keyed: bool = True
    service: str = proto.SERVICE
    messages: str = ""
    roles: tuple[str, ...] = ("infer",)
    optional: bool = False

    @property
    def path(self) -> str:
        """Path of its requests."""
        return f"/{self.service}/{self.name}"

    @property
    def request(self) -> str:
        """Name of its request."""
        return f"{self.messages or self.name}Request"

    @property
    def response(self) -> Any:
        """Class of its response."""
        return proto.MESSAGES[f"{self.messages or self.name}Response"]


def _spec(gateway: Gateway, caller: Caller | None, request: Any) -> ModelSpec:
    return gateway.endpoint(request.name, request.version, caller=caller).spec


def _model_ready(gateway: Gateway, caller: Caller | None, request: Any) -> dict[str, Any]:
    return {"ready": gateway.model_ready(_spec(gateway, caller, request).name)}


def _config(gateway: Gateway, caller: Caller | None, request: Any) -> dict[str, Any]:
    return {"config": msgspec.to_builtins(_spec(gateway, caller, request).config(gateway.limits.batch))}


def _index(gateway: Gateway, caller: Caller | None, request: Any) -> dict[str, Any]:
    return {"models": msgspec.to_builtins(metadata.repository_index(gateway, caller))}


def _health(gateway: Gateway, caller: Caller | None, request: Any) -> dict[str, Any]:
    """Answer for a model, or for the whole server: that is the service "", or the protocol's own."""
    service = "" if request is None else request.service
    whole = service in ("", proto.SERVICE)
    ready = gateway.ready if whole else gateway.model_ready(gateway.endpoint(service, caller=caller).spec.name)
    return {"status": "SERVING" if ready else "NOT_SERVING"}


CALLS = [
    RpcCall("ServerLive", lambda gateway, caller, request: {"live": True}, keyed=False),
    RpcCall("ServerReady", lambda gateway, caller, request: {"ready": gateway.ready}, keyed=False),
    RpcCall("ModelReady", _model_ready),
    RpcCall("ServerMetadata", lambda gateway, caller, request: msgspec.to_builtins(metadata.server_metadata())),
    RpcCall("ModelMetadata", lambda *asked: grpc_codec.model_metadata(_spec(*asked))),
    RpcCall("ModelConfig", _config),
    RpcCall("RepositoryIndex", _index),
    RpcCall(
        "Check", _health, keyed=False, optional=True, service=proto.HEALTH, messages="HealthCheck",
        roles=("infer", "metrics", "admin"),
    ),
]  # fmt: skip


def add(gateway: Gateway, server: grpc.aio.Server) -> None:
    """Serve the models of `gateway` on a server of gRPC. Its largest message is the server's own option."""
    server.add_generic_rpc_handlers((Calls(gateway),))


Answer = Callable[[Gateway, Caller, bytes], Awaitable[Any]]


class Calls(grpc.GenericRpcHandler):
    """Calls by their names.

    A client is authenticated before the message is read: many messages, each as large as one may be, would fill the
    memory of a gateway without any key. Calls that need none are answered without a look at their message.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self._gather = gateway, Gathering()
        self._calls = {call.path: call for call in CALLS}

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of a call; None for one that is not there."""
        name = handler_call_details.method
        request_context.begin(name, "", dict(_headers(handler_call_details)), self._gateway.trace_share)
        call = self._calls.get(name)
        if name != INFER and call is None:
            return None
        try:
            key = key_of(handler_call_details)
            if call is not None and not call.keyed and not (call.optional and key):
                response = call.response(**call.answer(self._gateway, None, None)).SerializeToString()
                return grpc.stream_stream_rpc_method_handler(functools.partial(_unread, response))
            caller = self._gateway.authenticate(key, roles=call.roles if call else ("infer",))
        except Exception as error:
            rejected = functools.partial(_rejected, self._gateway, error)
            return grpc.stream_stream_rpc_method_handler(rejected)  # it reads no message
        if call is None:
            return self._handler(proto.MESSAGES["ModelInferResponse"], caller, _infer)
        return self._handler(call.response, caller, functools.partial(_answered, call))

    def _handler(self, response: Any, caller: Caller, answer: Answer) -> Any:
        """Return a handler that reads the message itself: gRPC would wait for its last byte as long as it takes."""

        async def call(messages: Any, context: Any) -> Any:  # gRPC looks twice of what kind it is: 12 µs if a partial
            return await self._call(caller, answer, context)

        return grpc.stream_unary_rpc_method_handler(call, None, response.SerializeToString)

    async def _call(self, caller: Caller, answer: Answer, context: Any) -> Any:
        """Return the answer to a call's message, or end the call with its error.

        grpc.aio begins one call after the other: those that have begun go on together, when their messages are there.
        gRPC keeps the frame in which a call was aborted until the garbage is collected, minutes later: the message,
        which may have 60 MiB, must not be in it.

        Raises:
            CancelledError: The client has gone; gRPC itself raises it where a handler waits, and nobody takes the
                answer.
        """
        request, gone = request_context.current(), asyncio.Event()
        request.address, request.has_gone, request.on_leave = address_of(context), gone.is_set, gone.set
        response, status = None, ()
        try:
            self._enter(caller, context)
            response = await answer(self._gateway, caller, await self._gather(self._message(caller, context)))
        except ClientDisconnect:
            gone.set()
        except Exception as error:
            status = error_status(error)
        if gone.is_set():
            raise asyncio.CancelledError
        return await context.abort(*status) if status else response

    def _enter(self, caller: Caller, context: Any) -> None:
        """Count a call as under way until its client has the response: one that is not read stays in memory."""
        gateway = self._gateway
        try:
            gateway.enter(caller.client)
        except RateLimited as error:
            gateway.record_rejection("", caller.client, error)
            raise
        context.add_done_callback(lambda _: gateway.leave(caller.client))

    async def _message(self, caller: Caller, context: Any) -> bytes:
        """Return a call's message; raise `TooSlow` where it does not arrive in time.

        Raises:
            BadInput: There is none.
        """
        seconds = self._gateway.limits.arrive
        try:
            async with asyncio.timeout(seconds):
                message = await context.read()
        except TimeoutError as error:
            late = error_responses.too_slow(seconds)
            self._gateway.record_rejection("", caller.client, late)
            raise late from error
        if not isinstance(message, bytes):  # the end of the stream
            raise BadInput("a call without a message", "one", "send it")
        return message


async def _unread(response: bytes, messages: Any, context: Any) -> None:
    await context.write(response)


async def _rejected(gateway: Gateway, error: Exception, messages: Any, context: Any) -> None:
    request_context.current().address = address_of(context)
    gateway.record_rejection("", "", error)
    await context.abort(*error_status(error))


async def _answered(call: RpcCall, gateway: Gateway, caller: Caller, message: bytes) -> Any:
    if len(message) > PIECE:
        raise TooLarge(f"a message of {len(message)} bytes", f"at most {PIECE}", "send the names alone")
    return call.response(**call.answer(gateway, caller, grpc_codec.decode(call.request, message)))


async def _infer(gateway: Gateway, caller: Caller, message: bytes) -> Any:
    reached, model = False, ""
    try:
        decoded = await _decoded(len(message), grpc_codec.decode_request, message)
        model = decoded.message.model_name
        endpoint = gateway.endpoint(model, decoded.message.model_version, caller=caller)
        with endpoint.in_use():
            request = await _decoded(len(message), grpc_codec.read_request, gateway.codec(endpoint), decoded)
            reached = True
            request_context.name_request(request.id)
            q = await gateway.answer(endpoint, endpoint.query(request, caller.client, caller.group))
            return await _decoded(q.nbytes, grpc_codec.write_response, endpoint.spec, request, q)
    except Exception as error:
        if not reached:
            gateway.record_rejection(model, caller.client, error)
        raise


async def _decoded(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the function's result, from a thread where there is much to decode: other requests go on meanwhile."""
    return await asyncio.to_thread(function, *arguments) if size > PIECE else function(*arguments)


def key_of(details: Any) -> str:
    """Return the API key in a call's metadata `authorization: Bearer KEY`; "" where there is none.

    Raises:
        BadInput: There is more than one: others on the way may read the other.
    """
    keys = [value for name, value in details.invocation_metadata or () if name == "authorization"]
    if len(keys) > 1:
        raise BadInput("more than one authorization", "one", "send the right one")
    sent = keys[0] if keys else ""
    return bearer_key(sent.encode() if isinstance(sent, str) else sent)


def _headers(details: Any) -> Iterator[tuple[bytes, bytes]]:
    """Yield a call's metadata as headers."""
    for name, value in details.invocation_metadata or ():
        yield name.encode(), value.encode() if isinstance(value, str) else value


def address_of(context: Any) -> str:
    """Return the address of a call's client, from a peer like ipv4:127.0.0.1:5000 or ipv6:%5B::1%5D:5000."""
    return unquote(context.peer()).partition(":")[2].rpartition(":")[0].strip("[]")


def error_status(error: Exception) -> tuple[grpc.StatusCode, str, tuple[tuple[str, Any], ...]]:
    """Return the code, the line and the trailing metadata that stand for an error, after logging it."""
    error_responses.logged(error)
    return grpc_codec.encode_error(error, error_responses.reason(error))
