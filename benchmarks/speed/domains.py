"""What a request costs the gateway by the domain of its input, beside an image of 3×32×32."""

import asyncio
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.speed.clock import processor_seconds
from feint.defenses.access import Budget
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import open_store
from feint.openinference import grpc_codec, json_client_codec, json_codec
from feint.openinference.json_codec import HEADER_LENGTH, RequestCodec, request_codec
from feint.openinference.model_spec import ModelSpec
from feint.signature import Column, Columns, Pixels, Text, Tokens

Row = dict[str, str | float]
IMAGE = "3×32×32"
NUMBERS = tuple(Column(f"number_{i}", low=0.0, high=100.0) for i in range(6))
WORDS = tuple(Column(f"word_{i}", categories=tuple("category"[: k + 1] for k in range(8))) for i in range(8))
TABLE = Columns(NUMBERS + WORDS)
REQUESTS, ROUNDS, CLASSES = 50, 20, 10
SPECS = {
    IMAGE: ModelSpec("toy", Pixels((3, 32, 32)), "p", CLASSES),
    "14 columns, a tensor each": ModelSpec("toy", TABLE, "p", CLASSES),
    "14 columns, one tensor": ModelSpec("toy", TABLE, "p", CLASSES, inputs=tuple(TABLE.matrix)),
    "256 tokens": ModelSpec("toy", Tokens(256, 30_000), "p", CLASSES),
    "text of 256 bytes": ModelSpec("toy", Text(256), "p", CLASSES),
}
Read = Callable[[], json_codec.DecodedRequest]


class Budgeted:
    """Pipeline with a budget, whose model takes no time."""

    rules = (Budget(10**9),)

    def admit(self, query, account) -> None:
        self.rules[0].admit(query, account)

    async def compute(self, query, account=None) -> np.ndarray:
        return np.full((len(query), CLASSES), 1 / CLASSES, np.float32)

    async def answer(self, query, computed, account, record=None, *, shadow=False) -> np.ndarray:
        return computed

    async def strongest(self, query, computed) -> np.ndarray:
        return computed


def reader(codec: RequestCodec, way: str) -> Read:
    """Return a function that reads the next request of one input as a server does: no two are alike."""
    assert codec.model.domain is not None
    inputs = codec.model.domain.sample(REQUESTS * ROUNDS, 0)[:, None]
    if way == "grpc":
        messages = cycle([grpc_codec.encode_request(codec.model, x).SerializeToString() for x in inputs])
        return lambda: grpc_codec.read_request(codec, grpc_codec.decode_request(next(messages)))
    requests = cycle([json_client_codec.encode_request(codec.model, x, binary=way == "binary") for x in inputs])

    def read() -> json_codec.DecodedRequest:
        body, headers = next(requests)
        return codec.read(body, headers.get(HEADER_LENGTH, ""))

    return read


def requests(loop: asyncio.AbstractEventLoop, spec: ModelSpec, way: str) -> Callable[[], Any]:
    """Return a job of `REQUESTS` requests: read, admitted and counted, answered, written."""
    codec = request_codec(spec, 8, 2**20)
    endpoint = ModelEndpoint(codec.model, Budgeted(), LedgerSession(open_store("memory:", "toy")))
    read = reader(codec, way)

    async def serve() -> None:
        for _ in range(REQUESTS):
            request = read()
            q = await endpoint.answer(endpoint.query(request, "client", ""))
            if way == "grpc":
                grpc_codec.write_response(codec.model, request, q).SerializeToString()
            else:
                codec.write(request, q)

    return lambda: loop.run_until_complete(serve())


def cost() -> list[Row]:
    """Return processor time a request by domain and protocol, and its ratio to an image's; the least of the rounds."""
    rows: list[Row] = []
    loop = asyncio.new_event_loop()
    for way in ("json", "binary", "grpc"):
        jobs = {name: requests(loop, spec, way) for name, spec in SPECS.items()}
        rounds = [{name: processor_seconds(job)[0] for name, job in jobs.items()} for _ in range(ROUNDS)]
        seconds = {name: min(turn[name] for turn in rounds) for name in jobs}
        rows += [
            {"protocol": way, "input": name, "us": 1e6 * s / REQUESTS, "to_image": s / seconds[IMAGE]}
            for name, s in seconds.items()
        ]
    loop.close()
    return rows
