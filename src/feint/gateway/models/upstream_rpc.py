"""The v2 protocol over gRPC as an upstream speaks it."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from feint.errors import Failed, TimedOut, Unreachable
from feint.gateway import settings
from feint.gateway.asked import Array
from feint.gateway.client.protocol import UNREADABLE
from feint.gateway.models.upstream import TYPES, Seen
from feint.gateway.wire.oip import MESSAGES, SERVICE

OPTIONS = [
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 1000),  # it is found again a second after it came back
    ("grpc.enable_retries", 0),  # but for requests that never left, which gRPC itself sends again
]

log = logging.getLogger("feint.gateway.upstream")


class Rpc:
    """One model there; gRPC keeps the connection."""

    def __init__(self, at: settings.Upstream, model: str) -> None:
        self._target, self._model, self._timeout = at.upstream.removeprefix("grpc://"), model, at.timeout
        self._channel: grpc.aio.Channel | None = None

    async def metadata(self) -> Mapping[str, Any]:
        told = await self._call("ModelMetadata", name=self._model)
        return {
            side: [{"name": it.name, "datatype": it.datatype, "shape": list(it.shape)} for it in tensors]
            for side, tensors in (("inputs", told.inputs), ("outputs", told.outputs))
        }

    async def ready(self) -> bool:
        try:
            return (await self._call("ModelReady", timeout=2.0, name=self._model)).ready
        except Unreachable:
            return False

    async def infer(self, seen: Seen, x: Array) -> Array:
        given = {"name": seen.input, "datatype": seen.datatype, "shape": x.shape}
        raw = np.ascontiguousarray(x).tobytes()
        told = await self._call(
            "ModelInfer",
            model_name=self._model,
            inputs=[given],
            outputs=[{"name": seen.output}],
            raw_input_contents=[raw],
        )
        return tensor(told, seen.output)

    async def _call(self, method: str, *, timeout: float = 0.0, **fields: Any) -> Any:
        """The response. Raises `Unreachable`, which says nothing of what the server said."""
        if self._channel is None:  # a channel belongs to the loop that made it
            self._channel = grpc.aio.insecure_channel(self._target, options=OPTIONS)
        ask = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=MESSAGES[f"{method}Request"].SerializeToString,
        )
        try:
            told = await ask(MESSAGES[f"{method}Request"](**fields), timeout=timeout or self._timeout)
            return MESSAGES[f"{method}Response"].FromString(told)  # gRPC itself would give None for what is none
        except grpc.aio.AioRpcError as error:
            log.warning("the upstream answered with %s", error.code().name)
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimedOut("an upstream that takes too long", "an answer in time", "try again") from error
            raise Unreachable("an upstream that does not answer", "a server that answers", "try again") from error
        except DecodeError as error:
            raise Unreachable(
                "an upstream's answer that is no message", "a v2 response", "tell the operator"
            ) from error

    def close(self) -> None:
        """Let go of the connection, when its requests are done."""
        if self._channel is not None:
            self._closing = asyncio.ensure_future(self._channel.close(self._timeout))


def tensor(told: Any, output: str) -> Array:
    """The output in a response. Raises `Failed` for whatever is none."""
    try:
        at = next(i for i, it in enumerate(told.outputs) if it.name == output)
        it = told.outputs[at]
        if told.raw_output_contents:
            return np.frombuffer(told.raw_output_contents[at], TYPES[it.datatype]).reshape(tuple(it.shape))
        return np.array(it.contents.fp32_contents or it.contents.fp64_contents, np.float64).reshape(tuple(it.shape))
    except UNREADABLE as error:
        raise Failed("an upstream's answer that cannot be read", output, "tell the operator") from error
