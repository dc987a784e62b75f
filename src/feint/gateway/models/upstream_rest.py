"""The v2 protocol over HTTP as an upstream speaks it: raw bytes where it takes them, otherwise JSON."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from feint.errors import Failed, Unreachable
from feint.gateway import settings
from feint.gateway.asked import Array
from feint.gateway.client.protocol import BINARY, LENGTH, UNREADABLE
from feint.gateway.models.http import Pool, Reply
from feint.gateway.models.upstream import TYPES, Seen

log = logging.getLogger("feint.gateway.upstream")


class Rest:
    """The v2 protocol over HTTP: tensors as raw bytes where the server says that it takes them, otherwise as JSON."""

    def __init__(self, at: settings.Upstream, model: str) -> None:
        self._call = Pool(at.upstream, connect=at.connect, timeout=at.timeout, connections=at.connections)
        self._model, self._binary, self._proved = f"/v2/models/{model}", False, False
        self.close = self._call.close

    async def metadata(self) -> Mapping[str, Any]:
        server = parsed(_fine(await self._call("GET", "/v2")).body)
        said = server.get("extensions")
        self._binary, self._proved = isinstance(said, list) and BINARY in said, False
        return parsed(_fine(await self._call("GET", self._model)).body)

    async def ready(self) -> bool:
        try:
            return (await self._call("GET", f"{self._model}/ready", timeout=2.0)).status == 200
        except Unreachable:
            return False

    async def infer(self, seen: Seen, x: Array) -> Array:
        if not self._binary:
            return await self._infer(seen, *plain(seen, x))
        try:
            answer = await self._infer(seen, *binary(seen, x))
            self._proved = True
            return answer
        except Refusing:
            if self._proved:
                raise
            self._binary = False  # it says that it takes raw bytes, and does not
            return await self._infer(seen, *plain(seen, x))

    async def _infer(self, seen: Seen, body: bytes, headers: dict[str, str]) -> Array:
        return tensor(_fine(await self._call("POST", f"{self._model}/infer", body, headers)), seen.output)


class Refusing(Unreachable):
    """The upstream answered with a status that is no success."""


def _fine(reply: Reply) -> Reply:
    if reply.status != 200:
        log.warning("the upstream answered with status %d", reply.status)
        raise Refusing(f"an upstream that answers with status {reply.status}", "an answer", "try again later")
    return reply


def plain(seen: Seen, x: Array) -> tuple[bytes, dict[str, str]]:
    """The request in JSON."""
    given = {"name": seen.input, "shape": x.shape, "datatype": seen.datatype, "data": x.ravel().tolist()}
    body = {"inputs": [given], "outputs": [{"name": seen.output}]}
    return msgspec.json.encode(body), {"Content-Type": "application/json"}


def binary(seen: Seen, x: Array) -> tuple[bytes, dict[str, str]]:
    """The request with raw bytes."""
    raw = np.ascontiguousarray(x).tobytes()
    sized = {"binary_data_size": len(raw)}
    given = {"name": seen.input, "shape": x.shape, "datatype": seen.datatype, "parameters": sized}
    wanted = {"name": seen.output, "parameters": {"binary_data": True}}
    head = msgspec.json.encode({"inputs": [given], "outputs": [wanted]})
    return head + raw, {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}


def tensor(reply: Reply, output: str) -> Array:
    """The output in a reply. Raises `Failed` for whatever is none."""
    try:
        length = int(reply.headers.get(LENGTH.lower(), len(reply.body)))
        outputs, start = msgspec.json.decode(reply.body[:length])["outputs"], length
        for it in outputs:
            size = int(it.get("parameters", {}).get("binary_data_size", 0))
            if it["name"] == output:
                shape = tuple(int(side) for side in it["shape"])
                if "data" in it:
                    return np.array(it["data"], np.float64).reshape(shape)
                return np.frombuffer(reply.body[start : start + size], TYPES[it["datatype"]]).reshape(shape)
            start += size
    except (*UNREADABLE, msgspec.MsgspecError) as error:
        raise Failed("an upstream's answer that cannot be read", "a v2 response", "tell the operator") from error
    raise Failed("an upstream's answer without the output that was asked", output, "tell the operator")


def parsed(body: bytes) -> Mapping[str, Any]:
    """The JSON object in a body. Raises `Unreachable`."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreachable("an upstream that does not speak JSON", "an Open Inference server", "check it") from error
    if not isinstance(found, dict):
        raise Unreachable("an upstream whose metadata are none", "an Open Inference server", "check it")
    return found
