"""Client of the protocol over HTTP and over gRPC, apart from any connection.

A client builds requests and reads responses; a `send` that its user supplies carries them. The gateway's upstreams send
on an event loop. The remote oracle sends and waits in place, and runs the same coroutines by `run_sync`.
"""

from collections.abc import Coroutine, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from feint.openinference import json_client_codec
from feint.openinference.messages import BINARY_EXTENSION
from feint.openinference.model_spec import ModelSpec
from feint.openinference.tensors import Array

T = TypeVar("T")


class HttpReply(Protocol):
    """Response of a server; names of `headers` are in lower case."""

    @property
    def body(self) -> bytes:
        """The body."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers by name."""
        ...


class HttpSend(Protocol):
    """Sends a request over HTTP, and raises a `FeintError` for any status but 200."""

    async def __call__(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpReply:
        """Return the response."""
        ...


class GrpcSend(Protocol):
    """Sends the request message of a call, and raises a `FeintError` for any code but OK."""

    async def __call__(self, call: str, request: Any, key: str) -> Any:
        """Return the response message."""
        ...


class InferenceClient(Protocol):
    """Client of a server. Every method raises what its `send` does, and `UnreadableResponse`."""

    async def server_metadata(self, key: str = "") -> Mapping[str, Any]:
        """Return the server's metadata; `key` is the API key, if any."""
        ...

    async def model_metadata(self, model: str, key: str = "") -> Mapping[str, Any]:
        """Return a model's metadata, as in the protocol's JSON."""
        ...

    async def infer(self, model: ModelSpec, x: Array, *, stamp: str = "", key: str = "") -> Array:
        """Return the model's output for `x` (N, …), in the shape that the response gives it."""
        ...


def model_path(model: str) -> str:
    """Return the path of a model: whatever its name, it is one part of it."""
    return f"/v2/models/{quote(model, safe='')}"


class HttpClient:
    """Client over HTTP. Inputs are `binary` where the server's metadata list the extension, which starts as False."""

    def __init__(self, send: HttpSend) -> None:
        self._send, self.binary = send, False

    async def server_metadata(self, key: str = "") -> Mapping[str, Any]:
        """Return the server's metadata."""
        metadata = await self._metadata("/v2", key)
        extensions = metadata.get("extensions")
        self.binary = isinstance(extensions, list) and BINARY_EXTENSION in extensions
        return metadata

    async def model_metadata(self, model: str, key: str = "") -> Mapping[str, Any]:
        """Return a model's metadata."""
        return await self._metadata(model_path(model), key)

    async def infer(self, model: ModelSpec, x: Array, *, stamp: str = "", key: str = "") -> Array:
        """Return the model's output for `x` (N, …)."""
        body, headers = json_client_codec.encode_request(model, x, stamp=stamp, binary=self.binary)
        reply = await self._send("POST", f"{model_path(model.name)}/infer", body, headers | _bearer(key))
        return json_client_codec.decode_response(reply.body, reply.headers, model, len(x))

    async def _metadata(self, path: str, key: str) -> dict[str, Any]:
        return json_client_codec.decode_object((await self._send("GET", path, b"", _bearer(key))).body)


class GrpcClient:
    """Client over gRPC."""

    def __init__(self, send: GrpcSend) -> None:
        from feint.openinference import grpc_codec, proto  # a client over HTTP needs no package of gRPC

        self._send, self._codec, self._messages = send, grpc_codec, proto.MESSAGES

    async def server_metadata(self, key: str = "") -> Mapping[str, Any]:
        """Return the server's metadata."""
        response = await self._send("ServerMetadata", self._messages["ServerMetadataRequest"](), key)
        return {"version": response.version}

    async def model_metadata(self, model: str, key: str = "") -> Mapping[str, Any]:
        """Return a model's metadata."""
        request = self._messages["ModelMetadataRequest"](name=model)
        return self._codec.metadata_of(await self._send("ModelMetadata", request, key))

    async def infer(self, model: ModelSpec, x: Array, *, stamp: str = "", key: str = "") -> Array:
        """Return the model's output for `x` (N, …)."""
        request = self._codec.encode_request(model, x, stamp=stamp)
        return self._codec.decode_response(await self._send("ModelInfer", request, key), model, len(x))


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never waits on an event loop, as those of a client whose `send` blocks."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("the coroutine waits on an event loop")


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
