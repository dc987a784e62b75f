"""Blocking transport of the protocol over HTTP."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

from feint._optional import require
from feint.openinference import status


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Response with status 200; names of `headers` are in any case."""

    headers: Mapping[str, str]
    body: bytes


class HttpTransport:
    """Connections to the server of `url`, for one request after the other; `timeout` is in seconds."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url, self._http = url, require("httpx2", "remote")
        self._client = self._http.Client(timeout=timeout)
        weakref.finalize(self, self._client.close)  # an oracle is never closed by its user

    async def __call__(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpResponse:
        """Return the response to a request.

        A status other than 200 raises the `FeintError` that it stands for, no response at all `Unreachable`.
        """
        try:
            reply = self._client.request(method, self._url + path, headers=headers, content=body or None)
        except (self._http.HTTPError, self._http.InvalidURL) as error:
            failure = status.unreachable(f"{self._url} ({type(error).__name__}: {error})")
            raise failure from error
        if reply.status_code != 200:
            refusal = status.error_of_http(reply.status_code, reply.content, reply.headers)
            raise refusal
        return HttpResponse(reply.headers, reply.content)
