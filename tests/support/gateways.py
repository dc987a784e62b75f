"""Gateways in this process: a function for a model, a dictionary for a ledger, and requests to them."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import uvicorn
from tests.support.variance import moved
from tests.support.waiting import PATIENCE

from feint.errors import NoKey
from feint.gateway import routes
from feint.gateway.app import Caller, Gateway, Limits
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.record import RequestRecord
from feint.gateway.server.rpc_server import RpcServer
from feint.gateway.settings import KeySettings, LedgerSettings, ServerSettings
from feint.openinference.model_spec import ModelSpec
from feint.signature import Pixels, Tensor

SHAPE, CLASSES = (1, 2, 2), 3
DOMAIN, INPUTS = Pixels(SHAPE), (Tensor("pixels", "FP32", SHAPE),)
WEIGHTS = np.random.default_rng(0).normal(size=(4, CLASSES)).astype(np.float32)
X = np.random.default_rng(0).random((5, *SHAPE), np.float32)
ANYBODY = {"keys": KeySettings(anonymous=True), "ledger": LedgerSettings("memory:")}  # settings
SECRET = "/srv/secret.onnx at 10.0.0.7: 0.123456"  # of an exception inside a gateway
STAGES = {"access": 1e-5, "model": 3e-4, "outputs": 2e-5, "ledger": 1e-4}  # seconds


def linear(x: np.ndarray) -> np.ndarray:
    """softmax(x W), rows on the simplex (N, 3) float32, whose last bits depend on the batch (`variance.moved`)."""
    z = moved(x.reshape(len(x), 4) @ WEIGHTS)
    e = np.exp(z - z.max(-1, keepdims=True, initial=-np.inf))
    return e / e.sum(-1, keepdims=True)


class Straight:
    """A pipeline without defense; a test gives its `model` and its `admit`. `queries` holds what was admitted."""

    def __init__(self, model=linear, admit=lambda asked, account: None) -> None:
        self.model, self._admit = model, admit
        self.queries = []

    def admit(self, asked, account):
        self.queries.append(asked)
        self._admit(asked, account)

    async def compute(self, asked, account=None):
        result = self.model(asked.x)
        return await result if asyncio.iscoroutine(result) else result

    async def answer(self, asked, computed, account, record, *, shadow):
        return computed

    async def strongest(self, asked, computed):
        return computed


class Book:
    """Accounts in a dictionary; every commit succeeds."""

    def __init__(self) -> None:
        self.accounts = {}

    def begin(self, client, group):
        from feint.ledger import Account

        return self.accounts.setdefault(client, Account(client))

    def now(self):
        return time.time()

    def refresh(self, transactions):
        pass

    def outdated(self, transaction):
        return False

    def stage(self, transaction):
        return transaction

    async def send(self, staged, *, complete=False):
        return [True] * len(staged)


@dataclass
class KeyTable:
    """Callers by their keys; "" is the key of who has none."""

    keys: Mapping[str, Caller]

    def authenticate(self, key):
        if key not in self.keys:
            raise NoKey("no API key that is known here" if key else "no API key", "one", "ask the operator for a key")
        return self.keys[key]


KEYS = {"k": Caller("ann"), "looker": Caller("eve", roles=frozenset({"metrics"}))}
LIMITS = Limits()


def gateway(
    line=None,
    *,
    keys=KEYS,
    limits=LIMITS,
    names=("toy",),
    domain=DOMAIN,
    classes=CLASSES,
    inputs=INPUTS,
    observer=None,
) -> Gateway:
    endpoints = {
        name: ModelEndpoint(
            ModelSpec(name, domain, "p", classes, inputs),
            line or Straight(),
            Book(),
            observer=observer or (lambda record: None),
        )
        for name in names
    }
    return Gateway(endpoints, KeyTable(keys), limits)


@contextmanager
def running(gateway: Gateway, app: Callable | None = None) -> Iterator[str]:
    """The URL of a gateway that runs in a thread of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app or routes.app(gateway), log_level="critical", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        free.listen(512)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [free]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{free.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class Slow:
    """A model that takes until a test has it answer."""

    def __init__(self):
        self.go, self.asked = threading.Event(), 0

    async def __call__(self, x):
        self.asked += 1
        await asyncio.to_thread(self.go.wait, PATIENCE)
        return linear(x)


@contextmanager
def calling(gateway: Gateway) -> Iterator[str]:
    """The address (host:port) of a gateway's gRPC side, which runs in a thread of its own."""
    ready, address, loop = threading.Event(), [], asyncio.new_event_loop()

    async def serve():
        server = RpcServer(gateway, ServerSettings(arrive=gateway.limits.arrive))
        address.append(f"127.0.0.1:{await server.start(0)}")
        ready.set()
        await stop.wait()
        await server.stop(0)

    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        yield address[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def ask(client, x=X, name="toy"):
    """Send inputs to a model over REST, as JSON."""
    tensor = {"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}
    return client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})


def answer_of(response):
    """Return the only output of a response in JSON."""
    (out,) = response.json()["outputs"]
    return np.array(out["data"], np.float32).reshape(out["shape"])


def record(client="ann", outcome="answered", reason="", time=0.0, queries=4, **more):
    """Return the record of one request."""
    more.setdefault("seconds", dict(STAGES))
    return RequestRecord("digits", client, queries, time, outcome=outcome, reason=reason, **more)
