"""Processes of the scenes: gateways, bare servers and stores."""

import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.load.processes import Server, free_port
from feint.gateway.auth import keyfile

MODEL = "victim"
COLUMNS = "id, hash, client, tenant, roles, created"
SERVE = sys.executable, "-c", "from feint.cli import main; main()", "serve"


@dataclass(frozen=True)
class Running:
    """A server, its address, and the keys that open it."""

    process: Server
    url: str
    grpc: str
    keys: list[str]

    @property
    def rest(self) -> str:
        """URL of inference over HTTP."""
        return f"{self.url}/v2/models/{MODEL}/infer"


@contextmanager
def bare(graph: Path, room: Path) -> Iterator[Running]:
    """Run the bare server."""
    rest, grpc = free_port(), free_port()
    command = [sys.executable, "-m", "benchmarks.load.bare", str(graph), str(rest), str(grpc)]
    with Server(command, rest, log=room / "bare.log") as process:
        yield Running(process, f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}", [])


@contextmanager
def gateway(
    model: Mapping[str, Any], room: Path, *, store: str, clients: int = 1, workers: int = 1, timed: Path | None = None
) -> Iterator[Running]:
    """Run a gateway with one model, `victim`, and as many keys as there are clients.

    Where it is `timed` (`benchmarks.load.timed`), it writes its figures to that file at the end.
    """
    rest, grpc = free_port(), free_port()
    room.mkdir(exist_ok=True)
    issued = issue(room / "keys.db", clients)
    settings = {
        "server": {"rest_port": rest, "grpc_port": grpc},
        "keys": {"file": str(room / "keys.db")},
        "ledger": {"store": store},
        "operator": {"metrics": True, "ui": False, "log": "warning"},
        "models": {MODEL: dict(model)},
    }
    with _serving(settings, room, rest, workers, timed) as process:
        yield Running(process, f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}", issued)


@contextmanager
def plain_gateway(graph: Path, room: Path) -> Iterator[Running]:
    """Run a v2 server without defense or keys, as the upstream of a gateway."""
    rest, grpc = free_port(), free_port()
    room.mkdir(exist_ok=True)
    settings = {
        "server": {"rest_port": rest, "grpc_port": grpc},
        "keys": {"anonymous": True},
        "ledger": {"store": "memory:"},
        "operator": {"metrics": False, "ui": False, "log": "warning"},
        "models": {MODEL: {"path": str(graph)}},
    }
    with _serving(settings, room, rest) as process:
        yield Running(process, f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}", [])


def _serving(settings: Mapping[str, Any], room: Path, port: int, workers: int = 1, timed: Path | None = None) -> Server:
    file = room / "gateway.toml"
    file.write_text(tomli_w.dumps(settings))
    command = [*SERVE, str(file), "--workers", str(workers)]
    if timed is not None:
        command = [sys.executable, "-m", "benchmarks.load.timed", str(timed), str(file)]
    return Server(command, port, log=room / "gateway.log")


@contextmanager
def redis(room: Path, *options: str) -> Iterator[tuple[str, Server]]:
    """Run a Redis server; yields its URL and its process."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(room), *options]
    with Server(command, port, log=room / "redis.log") as process:
        yield f"redis://127.0.0.1:{port}/0", process


def issue(path: Path, clients: int) -> list[str]:
    """Return new keys, one for each of `clients` clients."""
    path.unlink(missing_ok=True)
    keyfile.Keys(path, new=True)
    names = [f"client-{i}" for i in range(clients)]
    numbers, secret = [f"{i:012x}" for i in range(clients)], secrets.token_urlsafe(32)
    rows = [
        (number, keyfile.hashed(secret), name, "", "infer", time.time())
        for number, name in zip(numbers, names, strict=True)
    ]
    with closing(sqlite3.connect(path)) as file, file:  # at once: `Keys.add` looks at all keys before each
        file.executemany(f"INSERT INTO keys ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", rows)
    return [f"feint_{number}_{secret}" for number in numbers]
