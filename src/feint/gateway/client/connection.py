"""A model behind a URL, as an attack or an audit meets it."""

import importlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from feint import hashcash
from feint._optional import require
from feint.errors import BadInput, ProofRequired
from feint.gateway.client import protocol
from feint.oracle import CountingOracle, Oracle, account
from feint.query import Answer, Query
from feint.transcript import Transcript

CLIENT = "client"  # the name of the first account here; the server knows it by its key
PATIENCE = 600.0  # seconds that an attack waits in all where it is told to
MOST_BITS = 26  # of a puzzle that is solved: about a minute's work on one core, twice as much for each bit more


class Connection:
    """One model of an Open Inference Protocol v2 server, over HTTP, or over gRPC where the URL is `grpc://HOST:PORT`
    (`grpcs://` with TLS): it answers queries as a service does.

    `keys` are API keys, one for each account that asks. The input's `shape` and the number of `classes` are the
    server's word. A query that says a later time is sent at that time. Puzzles of up to `most_bits` bits are solved;
    but for these no request is ever sent twice by itself: the first may have been counted. Raises `Unreachable` where
    no answer comes, `BadInput` where it is none.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        keys: Sequence[str] = (),
        output: str | None = None,
        timeout: float = 60.0,
        most_bits: int = MOST_BITS,
    ) -> None:
        self.url, self.model, self.most_bits = url.rstrip("/"), model, most_bits
        self._keys = {account(CLIENT, n): key for n, key in enumerate(keys)} or {CLIENT: ""}
        self._server = _server(self.url, timeout)
        said, told = self._server.about(model, self._key(CLIENT))
        self._about = protocol.model(told, output)
        self.name = (
            f"{self.url}, {model}, {said.get('version', '')}, {told.get('versions', '')}"  # what answers, in a word
        )
        self.shape, self.classes = self._about.shape, self._about.classes

    def __call__(self, query: Query) -> Answer:
        """The answer to a query; what the service says no with is raised as it would be in this process."""
        time.sleep(max(0.0, query.time - time.time()))
        try:
            return self._ask(query)
        except ProofRequired as demand:
            if demand.puzzle is None or query.stamp:
                raise
            return self._ask(replace(query, stamp=self._work(demand.puzzle)))

    def _ask(self, query: Query) -> Answer:
        key = self._key(query.client)
        p = self._server.infer(self.model, self._about, query.x.numpy(), query.stamp, key)
        return Answer(torch.from_numpy(p))

    def _work(self, puzzle: hashcash.Puzzle) -> str:
        """A stamp for the puzzle. Raises `ProofRequired` for one that is too dear."""
        if puzzle.bits > self.most_bits:
            raise ProofRequired(
                f"a puzzle of {puzzle.bits} bits", f"at most {self.most_bits}", "ask less, or raise most_bits"
            )
        return hashcash.solve(puzzle)

    def _key(self, client: str) -> str:
        if client not in self._keys:
            raise BadInput(f"the account {client!r} without a key", "an API key for each account", "give more keys")
        return self._keys[client]

    def oracle(self, *, budget: int, past: Transcript | None = None) -> Oracle:
        """What an attacker holds of this server, for `budget` queries, going on from the `past`."""
        return CountingOracle(lambda query: self(query), budget=budget, client=CLIENT, patience=PATIENCE, past=past)


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

    Answers and bill are those of an oracle in the server's own process. Errors as `Connection`, whose parameters `url`,
    `model`, `keys` and `output` are.
    """
    return Connection(url, model=model, keys=keys, output=output).oracle(budget=budget, past=past)


def _server(url: str, timeout: float) -> Any:
    """The server of a URL, by its scheme: the packages of gRPC are asked for where they are needed."""
    if url.startswith(("grpc://", "grpcs://")):
        require("grpc", "serve")
        return importlib.import_module("feint.gateway.client.by_rpc").Rpc(url, timeout)
    return importlib.import_module("feint.gateway.client.by_http").Http(url, timeout)
