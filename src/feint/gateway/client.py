"""A model behind a URL, as an attack or an audit meets it."""

import time
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from feint.errors import BadInput, Unreachable
from feint.extras import need
from feint.gateway import protocol
from feint.oracle import Meter, Oracle, account
from feint.query import Answer, Query
from feint.transcript import Transcript

CLIENT = "client"  # the name of the first account here; the server knows it by its key
PATIENCE = 600.0  # seconds that an attack waits in all where it is told to


class Connection:
    """One model of an Open Inference Protocol v2 server, over HTTP: it answers queries as a service does.

    `keys` are API keys, one for each account that asks. The input's `shape` and the number of `classes` are the
    server's word. A query that says a later time is sent at that time. No request is ever sent twice by itself: the
    first may have been counted. Raises `Unreachable` where no answer comes, `BadInput` where it is none.
    """

    def __init__(
        self, url: str, *, model: str, keys: Sequence[str] = (), output: str | None = None, timeout: float = 60.0
    ) -> None:
        self.url, self.model = url.rstrip("/"), model
        self._keys = {account(CLIENT, n): key for n, key in enumerate(keys)} or {CLIENT: ""}
        self._http = need("httpx2", "remote")
        self._client = self._http.Client(timeout=timeout)
        weakref.finalize(self, self._client.close)  # an oracle has no end that one could wait for
        server, about = self._call("GET", "/v2"), self._call("GET", f"/v2/models/{model}")
        said, told = _json(server), _json(about)
        self._binary = protocol.BINARY in said.get("extensions", [])
        self._about = protocol.model(told, output)
        self.name = (
            f"{self.url}, {model}, {said.get('version', '')}, {told.get('versions', '')}"  # what answers, in a word
        )
        self.shape, self.classes = self._about.shape, self._about.classes

    def __call__(self, query: Query) -> Answer:
        """The answer to a query; what the service says no with is raised as it would be in this process."""
        time.sleep(max(0.0, query.time - time.time()))
        body, headers = protocol.request(self._about, query.x.numpy(), stamp=query.stamp, binary=self._binary)
        path = f"/v2/models/{self.model}/infer"
        response = self._call("POST", path, client=query.client, content=body, headers=headers)
        p = protocol.answer(self._about, response.content, response.headers, len(query))
        return Answer(torch.from_numpy(p))

    def oracle(self, *, budget: int, past: Transcript | None = None) -> Oracle:
        """What an attacker holds of this server, for `budget` queries, going on from the `past`."""
        return Meter(lambda query: self(query), budget=budget, client=CLIENT, patience=PATIENCE, past=past)

    def _call(self, verb: str, path: str, *, client: str = CLIENT, headers: Any = None, content: Any = None) -> Any:
        if client not in self._keys:
            raise BadInput(f"the account {client!r} without a key", "an API key for each account", "give more keys")
        key = self._keys[client]
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


def connect(
    url: str,
    *,
    model: str,
    budget: int,
    keys: Sequence[str] = (),
    output: str | None = None,
    past: Transcript | None = None,
) -> Oracle:
    """The oracle of a model behind a URL, for any attack: `KnockoffNets(…).steal(connect(…))`.

    Answers and bill are those of an oracle in the server's own process. Errors as `Connection`.
    """
    return Connection(url, model=model, keys=keys, output=output).oracle(budget=budget, past=past)


def _json(response: Any) -> Any:
    try:
        return dict(response.json())
    except (ValueError, TypeError) as error:
        raise BadInput(
            "metadata that are no JSON object", "an Open Inference Protocol v2 server", "check the URL"
        ) from error
