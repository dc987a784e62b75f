"""Gateways, bare servers and stores as processes, for the scenes."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from feint.gateway.door import keyfile
from soak.processes import Server, free_port


@dataclass(frozen=True)
class Running:
    """A server, where it answers, and the keys that open it."""

    process: Server
    rest: str
    grpc: str
    keys: list[str]


@contextmanager
def bare(graph: Path, room: Path) -> Iterator[Running]:
    """The server that defends nothing."""
    rest, grpc = free_port(), free_port()
    command = [sys.executable, "-m", "soak.bare", str(graph), str(rest), str(grpc)]
    with Server(command, rest, log=room / "bare.log") as process:
        yield Running(process, f"http://127.0.0.1:{rest}/v2/models/victim/infer", f"127.0.0.1:{grpc}", [])


@contextmanager
def gateway(model: Mapping[str, Any], room: Path, *, store: str, clients: int = 1) -> Iterator[Running]:
    """A gateway with one model, `victim`, and as many keys as there are clients."""
    rest, grpc = free_port(), free_port()
    issued = issue(room / "keys.db", clients)
    settings = {
        "server": {"rest_port": rest, "grpc_port": grpc},
        "keys": {"file": str(room / "keys.db")},
        "ledger": {"store": store},
        "operator": {"metrics": True, "ui": False, "log": "warning"},
        "models": {"victim": dict(model)},
    }
    (room / "gateway.toml").write_text(tomli_w.dumps(settings))
    command = [sys.executable, "-c", "from feint.cli import main; main()", "serve", str(room / "gateway.toml")]
    with Server(command, rest, log=room / "gateway.log") as process:
        yield Running(process, f"http://127.0.0.1:{rest}/v2/models/victim/infer", f"127.0.0.1:{grpc}", issued)


@contextmanager
def redis(room: Path) -> Iterator[str]:
    """A Redis server of its own; yields its URL."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(room)]
    with Server(command, port, log=room / "redis.log"):
        yield f"redis://127.0.0.1:{port}/0"


def issue(path: Path, clients: int) -> list[str]:
    """New keys for so many clients."""
    path.unlink(missing_ok=True)
    file = keyfile.Keys(path, new=True)
    return [file.add(f"client-{i}")[0] for i in range(clients)]
