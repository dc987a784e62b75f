"""Transport of an upstream over HTTP."""

import logging
from collections.abc import Mapping
from typing import Any

from feint.errors import Unreachable
from feint.gateway import settings
from feint.gateway.backends.credentials import authorization, tls_context
from feint.gateway.backends.http import Pool, Reply
from feint.gateway.request_context import trace_headers
from feint.openinference.client import HttpClient, model_path
from feint.openinference.model_spec import ModelSpec
from feint.openinference.tensors import Array

log = logging.getLogger("feint.gateway.upstream")


class HttpUpstream:
    """Model of a server over HTTP: inputs go as raw bytes where the server takes them, otherwise as JSON.

    Args:
        at: Its settings.
        model: Its name there.
        name: Its name here, which lines of the log have: what others call it may be no name for these.
    """

    def __init__(self, at: settings.UpstreamSettings, model: str, name: str) -> None:
        self._call = Pool(
            at.upstream, connect=at.connect, timeout=at.timeout, connections=at.connections,
            context=tls_context(at), authorization=authorization(at),
        )  # fmt: skip
        self._client, self._model, self._proved = HttpClient(self._send), model, False
        self._name = name
        self.close = self._call.close

    async def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        reply = await self._call(method, path, body, headers | trace_headers())
        if reply.status != 200:
            log.warning("the upstream of %s answered with status %d", self._name, reply.status)
            raise BadStatus(f"an upstream that answers with status {reply.status}", "an answer", "try again later")
        return reply

    async def metadata(self) -> Mapping[str, Any]:
        """Return the model's metadata, as in the protocol's JSON."""
        await self._client.server_metadata()
        self._proved = False
        return await self._client.model_metadata(self._model)

    async def ready(self) -> bool:
        """Whether the model can answer."""
        try:
            return (await self._call("GET", f"{model_path(self._model)}/ready", timeout=2.0)).status == 200
        except Unreachable:
            return False

    async def infer(self, model: ModelSpec, x: Array) -> Array:
        """Return the model's output for `x` (N, …)."""
        if not self._client.binary:
            return await self._client.infer(model, x)
        try:
            output = await self._client.infer(model, x)
            self._proved = True
            return output
        except BadStatus:
            if self._proved:
                raise
            self._client.binary = False  # its metadata list the extension, and it does not take raw bytes
            return await self._client.infer(model, x)


class BadStatus(Unreachable):
    """Raised for a response of the upstream with a status that is no success."""
