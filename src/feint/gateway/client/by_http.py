"""A server of Open Inference Protocol v2 over HTTP, as a client meets it."""

import weakref
from typing import Any

import numpy as np

from feint._optional import require
from feint.errors import Unreachable
from feint.gateway.client import protocol


class Http:
    """What is asked of the server of `url`, one request after the other; `timeout` is in seconds."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self._http = require("httpx2", "remote")
        self._client = self._http.Client(timeout=timeout)
        weakref.finalize(self, self._client.close)  # an oracle has no end that one could wait for

    def about(self, model: str, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the server says of itself and of a model."""
        said, told = (protocol.parsed(self._call("GET", path, key).content) for path in ("/v2", f"/v2/models/{model}"))
        self._binary = protocol.BINARY in said.get("extensions", [])
        return said, told

    def infer(self, name: str, model: protocol.Model, x: np.ndarray, stamp: str, key: str) -> np.ndarray:
        """The probabilities (N, K) of the model of this name for `x` (N, …)."""
        body, headers = protocol.request(model, x, stamp=stamp, binary=self._binary)
        response = self._call("POST", f"/v2/models/{name}/infer", key, content=body, headers=headers)
        return protocol.answer(model, response.content, response.headers, len(x))

    def _call(self, verb: str, path: str, key: str, *, headers: Any = None, content: Any = None) -> Any:
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            sent = self._client.request(verb, self.url + path, headers=(headers or {}) | bearer, content=content)
        except (self._http.HTTPError, self._http.InvalidURL) as error:
            raise Unreachable(
                f"{self.url} ({type(error).__name__}: {error})",
                "a server that answers",
                "check the URL or try again: what was answered is kept",
            ) from error
        if sent.status_code != 200:
            raise protocol.failure(sent.status_code, sent.content, sent.headers)
        return sent
