"""Scene of the gateway in front of MLServer with a scikit-learn model, beside direct requests and an empty proxy."""

import itertools
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import feint
from benchmarks.load import load
from benchmarks.load.gateways import MODEL, Running, gateway
from benchmarks.load.processes import Server, free_port
from benchmarks.load.progress import print_line
from feint import Defense
from feint.defenses.outputs import ReverseSigmoid

ROOT = Path(__file__).parents[2]
MLSERVER = ROOT / ".venv" / "mlserver" / "bin"
SECONDS, ROUNDS, CONNECTIONS = 2, 2, (1, 8, 16)
DIRECT, EMPTY = "MLServer", "empty proxy"
FEATURES, CLASSES, WARM = 64, 10, 1


def rows(room: Path) -> list[dict[str, Any]]:
    """Return a row for each way and number of clients. Raises RuntimeError where MLServer is not installed."""
    q = feint.export.outputs(Defense(outputs=[ReverseSigmoid()]), room / "q.onnx", classes=CLASSES, gateway=True)
    with ExitStack() as stack:
        behind = stack.enter_context(mlserver(room))
        ways = {
            DIRECT: behind,
            EMPTY: stack.enter_context(_empty_proxy(behind.url, room)),
            "gateway, JSON behind": stack.enter_context(_before(behind.url, q.path, room / "rest")),
            "gateway, gRPC behind": stack.enter_context(_before(f"grpc://{behind.grpc}", q.path, room / "grpc")),
        }
        for server in ways.values():
            _measured(server)
        rounds = []
        for number, n in itertools.product(range(ROUNDS), CONNECTIONS):
            for name, server in ways.items():  # beside each other in time: others may use the machine
                measured = _measured(server, n)
                print_line(
                    f"round {number + 1}",
                    name,
                    f"{n} clients",
                    f"{measured.rate:,.0f} a second, {measured.p50_ms:.2f} ms",
                )
                rounds.append({"server": name, "clients": n} | load.row(measured, 0.0))
    return compared(rounds)


def compared(rounds: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the best rounds, with `throughput` as a share of the direct one, and the added latencies."""
    best = dict[tuple[str, int], dict[str, Any]]()
    for row in rounds:
        key = row["server"], row["clients"]
        if key not in best or row["rate"] > best[key]["rate"]:
            best[key] = {name: value for name, value in row.items() if name != "cpu_ms"}
    for row in best.values():
        direct = best[DIRECT, row["clients"]]
        row["throughput"] = row["rate"] / direct["rate"]
        row |= {f"added_{name}": row[name] - direct[name] for name in ("p50_ms", "p99_ms")}
    return list(best.values())


@contextmanager
def mlserver(room: Path) -> Iterator[Running]:
    """Run MLServer with a logistic regression of digits."""
    if not MLSERVER.exists():
        raise RuntimeError(f"no {MLSERVER.parent}: make .venv/mlserver")
    folder, rest, grpc = room / "mlserver", free_port(), free_port()
    folder.mkdir()
    script = ROOT / "tests" / "interop" / "digits_model.py"
    subprocess.run([MLSERVER / "python", "-I", script, folder, str(rest), str(grpc), MODEL], check=True)
    with Server([str(MLSERVER / "mlserver"), "start", str(folder)], rest, log=room / "mlserver.log") as process:
        yield Running(process, f"http://127.0.0.1:{rest}", f"127.0.0.1:{grpc}", [])


@contextmanager
def _empty_proxy(upstream: str, room: Path) -> Iterator[Running]:
    """Run a proxy of the same stack that does nothing: what no gateway can fall below."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.load.empty_proxy", upstream, str(port)]
    with Server(command, port, log=room / "proxy.log") as process:
        yield Running(process, f"http://127.0.0.1:{port}", "", [])


def _before(upstream: str, outputs: Path, room: Path) -> Any:
    metadata = {"input": "x", "output": "predict_proba", "shape": [1, 8, 8], "flat": True, "classes": CLASSES}
    model = {"upstream": upstream, "outputs": str(outputs), "access": ["Budget(1000000000)"]} | metadata
    return gateway(model, room, store=f"sqlite:{room / 'ledger.db'}", clients=CONNECTIONS[-1])


def _measured(server: Running, n: int = WARM) -> load.Load:
    direct = not server.keys
    shape = (1, FEATURES) if direct else (1, 1, 8, 8)
    x = (np.random.default_rng(1).integers(0, 17, shape) / 16).astype(np.float32)
    body = load.Body.json(x, "x", "predict_proba" if direct else "probabilities")
    return load.rest(server.rest, body, connections=n, seconds=SECONDS, keys=server.keys)
