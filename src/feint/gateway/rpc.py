"""The gateway's calls of the Open Inference Protocol v2 over gRPC."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import msgspec

from feint.errors import BadInput, TooLarge
from feint.gateway import error_responses, metadata, request_context
from feint.gateway.app import Caller, Gateway
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.routes import bearer_key
from feint.openinference import grpc_codec, proto
from feint.openinference.model_spec import ModelSpec
from feint.openinference.tensors import PIECE

INFER = f"/{proto.SERVICE}/ModelInfer"
MOST = 200  # characters of a name that is none


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

    def answered(self, gateway: Gateway, caller: Caller | None, request: Any) -> bytes:
        """Return its response; the arguments are those of `answer`."""
        fields = self.answer(gateway, caller, request)
        return proto.MESSAGES[f"{self.messages or self.name}Response"](**fields).SerializeToString()


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


class IncomingCall(Protocol):
    """Call that a client has begun, whose message is not read yet.

    Attributes:
        path: Its name.
        address: Address of its client.
        fields: Its header fields, as they came.
    """

    path: str
    address: str
    fields: Sequence[tuple[bytes, bytes]]

    def has_gone(self) -> bool:
        """Return whether its client has given it up, or waits no longer."""
        ...

    async def message(self, most: int, seconds: float) -> bytes:
        """Return its message; raise `ClientDisconnect` where its client has gone.

        Args:
            most: Bytes that it may have.
            seconds: Within which it arrives.

        Raises:
            BadInput: There is none, or it is compressed, too large or too slow.
        """
        ...

    async def send(self, response: bytes) -> None:
        """Answer it; raise `ClientDisconnect` where its client has gone."""
        ...

    async def fail(self, code: grpc.StatusCode, line: str, metadata: Sequence[tuple[str, Any]] = ()) -> None:
        """End it with a code of gRPC, a line and trailing metadata, in bytes under names in -bin; raise as `send`."""
        ...


class Calls:
    """Calls by their names.

    A client is authenticated before the message is read: many messages, each as large as one may be, would fill the
    memory of a gateway without any key. Calls that need none are answered without a look at their message.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._calls = {call.path: call for call in CALLS}

    async def __call__(self, incoming: IncomingCall) -> None:
        """Answer a call, or end it with its error."""
        gateway, kind = self._gateway, self._calls.get(incoming.path)
        context = request_context.begin(incoming.path, incoming.address, dict(incoming.fields), gateway.trace_share)
        context.has_gone = incoming.has_gone
        with contextlib.suppress(ClientDisconnect):
            if kind is None and incoming.path != INFER:
                await incoming.fail(grpc.StatusCode.UNIMPLEMENTED, f"no call {incoming.path[:MOST]}")
                return
            try:
                await self._answer(kind, incoming)
            except ClientDisconnect:
                raise
            except Exception as error:
                error_responses.logged(error)
                await incoming.fail(*grpc_codec.encode_error(error, error_responses.reason(error)))

    async def _answer(self, kind: RpcCall | None, incoming: IncomingCall) -> None:
        """Answer a call of a kind, or of inference; raise what is its error."""
        caller, entered, gateway = Caller(""), False, self._gateway
        try:
            key = key_of(incoming)
            if kind is not None and not kind.keyed and not (kind.optional and key):
                await incoming.send(kind.answered(gateway, None, None))
                return
            caller = gateway.authenticate(key, roles=kind.roles if kind else ("infer",))
            with gateway.under_way(caller.client):  # until its client has the response: one that is not read stays
                message = await incoming.message(gateway.body_limit, gateway.limits.arrive)
                entered = True
                if kind is None:
                    response = await _infer(gateway, caller, message)
                else:
                    response = kind.answered(gateway, caller, _decoded_small(kind, message))
                await incoming.send(response)
        except ClientDisconnect:
            raise
        except Exception as error:
            if not entered:
                gateway.record_rejection("", caller.client, error)
            raise


def _decoded_small(kind: RpcCall, message: bytes) -> Any:
    if len(message) > PIECE:
        raise TooLarge(f"a message of {len(message)} bytes", f"at most {PIECE}", "send the names alone")
    return grpc_codec.decode(kind.request, message)


async def _infer(gateway: Gateway, caller: Caller, message: bytes) -> bytes:
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
            response = await _decoded(q.nbytes, grpc_codec.write_response, endpoint.spec, request, q)
            return await _decoded(q.nbytes, response.SerializeToString)
    except Exception as error:
        if not reached:
            gateway.record_rejection(model, caller.client, error)
        raise


async def _decoded(size: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the function's result, from a thread where there is much to decode: other requests go on meanwhile."""
    return await asyncio.to_thread(function, *arguments) if size > PIECE else function(*arguments)


def key_of(incoming: IncomingCall) -> str:
    """Return the API key in a call's metadata `authorization: Bearer KEY`; "" where there is none.

    Raises:
        BadInput: There is more than one: others on the way may read the other.
    """
    keys = [value for name, value in incoming.fields if name == b"authorization"]
    if len(keys) > 1:
        raise BadInput("more than one authorization", "one", "send the right one")
    return bearer_key(keys[0] if keys else b"")
