"""Remote model as a service, and as the oracle of an attack."""

import importlib
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from feint import hashcash
from feint._optional import require
from feint.errors import BadInput, ProofRequired
from feint.models.simplex import on_simplex
from feint.openinference.client import GrpcClient, HttpClient, InferenceClient, run_sync
from feint.openinference.json_client_codec import unreadable
from feint.openinference.model_spec import ModelSpec, spec_from_metadata
from feint.oracle import CountingOracle, Oracle, account
from feint.paid.interrupts import interruptible
from feint.query import Answer, Query, now
from feint.signature import Domain
from feint.transcript import Transcript

CLIENT = "client"  # local name of the first account; the server identifies it by its key
PATIENCE = 600.0  # seconds in all for which an attack waits where the server demands it
MOST_BITS = 26  # of a puzzle that is solved: about a minute's work on one core, twice as much for each bit more


class RemoteService:
    """Model of an Open Inference Protocol v2 server, which answers queries as a service in this process does.

    The `domain` of the inputs and the number of `classes` come from the server's metadata, and from the arguments where
    these leave them open. A query with a later time is sent at that time, by the clock of this process
    (`feint.query.now`). No request is ever sent twice, for the first may have been counted, except to solve a puzzle.

    Args:
        url: URL of the server; `grpc://HOST:PORT` for gRPC, `grpcs://` with TLS.
        model: Name of the model.
        keys: API keys, one for each account that asks.
        output: Output that holds the probabilities, where several may.
        input: The only input, where the metadata name several or none.
        domain: Domain of the inputs, where the metadata leave it open.
        classes: Number of classes, where the metadata leave it open.
        timeout: Seconds that a request may take.
        most_bits: Bits of the hardest puzzle that is solved.

    Raises:
        Unreachable: Where no answer comes.
        BadInput: Where the answer is none of the protocol.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str,
        keys: Sequence[str] = (),
        output: str | None = None,
        input: str | None = None,
        domain: Domain | None = None,
        classes: int = 0,
        timeout: float = 60.0,
        most_bits: int = MOST_BITS,
    ) -> None:
        self.url, self.model, self.most_bits = url.rstrip("/"), model, most_bits
        self._keys = {account(CLIENT, n): key for n, key in enumerate(keys)} or {CLIENT: ""}
        self._client = _client(self.url, timeout)
        server = run_sync(self._client.server_metadata(self._key(CLIENT)))
        metadata = run_sync(self._client.model_metadata(model, self._key(CLIENT)))
        spec = spec_from_metadata(model, metadata, output, input=input, domain=domain)
        self._spec = replace(spec, classes=spec.classes or classes)
        self.name = f"{self.url}, {model}, {server.get('version', '')}, {metadata.get('versions', '')}"
        assert spec.domain is not None
        self.domain, self.classes, self.labels = spec.domain, self._spec.classes, spec.labels
        if self.classes < 2:
            raise BadInput(
                f"the output {spec.output} of {self.classes or 'an open number of'} classes", "2 or more",
                "name the output that holds the probabilities, or give the number of classes",
            )  # fmt: skip

    def __call__(self, query: Query) -> Answer:
        """Return the answer to a query. The service's refusals are raised as they would be in this process."""
        with interruptible():
            time.sleep(max(0.0, query.time - now()))
        try:
            return self._ask(query)
        except ProofRequired as demand:
            if demand.puzzle is None or query.stamp:
                raise
            return self._ask(replace(query, stamp=self._work(demand.puzzle)))

    def _ask(self, query: Query) -> Answer:
        key = self._key(query.client)
        self.domain.check(query.values)
        output = run_sync(self._client.infer(self._spec, query.values, stamp=query.stamp, key=key))
        return Answer(torch.from_numpy(probabilities(output, self._spec, len(query))))

    def _work(self, puzzle: hashcash.Puzzle) -> str:
        """Return a stamp that solves the puzzle. Raises `ProofRequired` for one that is too hard."""
        if puzzle.bits > self.most_bits:
            raise ProofRequired(
                f"a puzzle of {puzzle.bits} bits", f"at most {self.most_bits}", "ask less, or raise most_bits"
            )
        with interruptible():
            return hashcash.solve(puzzle)

    def _key(self, client: str) -> str:
        if client not in self._keys:
            raise BadInput(f"the account {client!r} without a key", "an API key for each account", "give more keys")
        return self._keys[client]

    def oracle(self, *, budget: int, past: Transcript | None = None) -> Oracle:
        """Return the oracle that an attacker holds, for `budget` queries, going on from the `past`."""
        return CountingOracle(lambda query: self(query), budget=budget, client=CLIENT, patience=PATIENCE, past=past)


def connect(
    url: str,
    *,
    model: str,
    budget: int,
    keys: Sequence[str] = (),
    output: str | None = None,
    input: str | None = None,
    domain: Domain | None = None,
    classes: int = 0,
    past: Transcript | None = None,
) -> Oracle:
    """Return the oracle of a model behind a URL, for any attack: `KnockoffNets(…).steal(connect(…))`.

    Answers and bill are those of an oracle in the server's own process. Errors and the arguments, but for
    `budget` and `past`, are those of `RemoteService`.
    """
    service = RemoteService(url, model=model, keys=keys, output=output, input=input, domain=domain, classes=classes)
    return service.oracle(budget=budget, past=past)


def probabilities(output: np.ndarray, model: ModelSpec, rows: int) -> np.ndarray:
    """Return the output of so many inputs as probabilities (N, K) float32, in memory of its own.

    Raises:
        BadInput: For rows off the simplex, and as `UnreadableResponse` for another shape.
    """
    try:
        with np.errstate(over="ignore"):  # 1e39 becomes infinite, and is refused as such
            p = output.astype(np.float32).reshape(rows, model.classes)
    except ValueError as error:
        failure = unreadable(model, rows, error)
        raise failure from error
    if not on_simplex(p):
        raise BadInput(
            f"rows from {p.min():.3g} to {p.max():.3g}, which are no probabilities",
            "rows on the simplex",
            "name the output that holds the probabilities",
        )
    return p


def _client(url: str, timeout: float) -> InferenceClient:
    """Return the client of a URL, by its scheme: the packages of gRPC are needed for its URLs only."""
    if url.startswith(("grpc://", "grpcs://")):
        require("grpc", "serve")
        return GrpcClient(importlib.import_module("feint.client.grpc_transport").GrpcTransport(url, timeout))
    return HttpClient(importlib.import_module("feint.client.http_transport").HttpTransport(url, timeout))
