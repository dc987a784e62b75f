"""Transport of an upstream over gRPC."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from feint.errors import TimedOut, Unreachable
from feint.gateway import settings
from feint.gateway.backends.credentials import authorization, channel_credentials
from feint.gateway.request_context import trace_headers
from feint.openinference.client import GrpcClient
from feint.openinference.model_spec import ModelSpec
from feint.openinference.proto import MESSAGES, SERVICE
from feint.openinference.tensors import Array

OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 1000),  # a server that came back is reached again after a second
    ("grpc.dns_min_time_between_resolutions_ms", 1000),  # or one with another address is looked for there for 30 s
    ("grpc.use_local_subchannel_pool", 1),  # or a new channel gets the connection of the one that it replaces
    ("grpc.enable_retries", 0),  # but for requests that never left, which gRPC itself sends again
]

log = logging.getLogger("feint.gateway.upstream")


class GrpcUpstream:
    """Model of a server over gRPC, which keeps the connection; arguments are those of `HttpUpstream`."""

    def __init__(self, at: settings.UpstreamSettings, model: str, name: str) -> None:
        self._target = at.upstream.partition("://")[2].rpartition("@")[2]
        self._model, self._name, self._timeout = model, name, at.timeout
        self._credentials = channel_credentials(at) if at.upstream.startswith("grpcs://") else None
        self._metadata = (("authorization", value),) if (value := authorization(at)) else ()
        self._client = GrpcClient(self._send)
        self._channel: grpc.aio.Channel | None = None
        self._closing = set[asyncio.Task[None]]()

    async def metadata(self) -> Mapping[str, Any]:
        """Return the model's metadata, as in the protocol's JSON."""
        return await self._client.model_metadata(self._model)

    async def ready(self) -> bool:
        """Whether the model can answer."""
        try:
            request = MESSAGES["ModelReadyRequest"](name=self._model)
            return (await self._send("ModelReady", request, timeout=2.0)).ready
        except TimedOut:  # its host may be gone without a word: gRPC would keep the connection for a quarter of an hour
            self.close()
            return False
        except Unreachable:
            return False

    async def infer(self, model: ModelSpec, x: Array) -> Array:
        """Return the model's output for `x` (N, …)."""
        return await self._client.infer(model, x)

    async def _send(self, call: str, request: Any, key: str = "", *, timeout: float = 0.0) -> Any:
        """Return the response. Raises `Unreachable`, whose text holds nothing of the server's."""
        if self._channel is None:  # a channel belongs to the loop that made it
            self._channel = (
                grpc.aio.insecure_channel(self._target, options=OPTIONS)
                if self._credentials is None
                else grpc.aio.secure_channel(self._target, self._credentials, options=OPTIONS)
            )
        send = self._channel.unary_unary(f"/{SERVICE}/{call}", request_serializer=type(request).SerializeToString)
        try:
            metadata = (*self._metadata, *trace_headers().items())
            response = await send(request, timeout=timeout or self._timeout, metadata=metadata)
            return MESSAGES[f"{call}Response"].FromString(
                response
            )  # gRPC itself would give None for bytes of no message
        except grpc.aio.AioRpcError as error:
            level = logging.DEBUG if call == "ModelReady" else logging.WARNING  # that is asked again and again
            log.log(level, "the upstream of %s answered with %s", self._name, error.code().name)
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimedOut("an upstream that takes too long", "an answer in time", "try again") from error
            raise Unreachable("an upstream that does not answer", "a server that answers", "try again") from error
        except DecodeError as error:
            raise Unreachable(
                "an upstream's answer that is no message", "a v2 response", "tell the operator"
            ) from error

    def close(self) -> None:
        """Let go of the connection, when its requests are done; the next one opens another."""
        channel, self._channel = self._channel, None
        if channel is not None:
            closing = asyncio.ensure_future(channel.close(self._timeout))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
