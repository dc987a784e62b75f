"""Closed loops of clients: wrk for REST, and a process of grpc.aio for gRPC."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).with_name("vary.lua")
LEVELS = [k / 255 for k in range(256)]


@dataclass(frozen=True)
class Load:
    """Result of a run of clients: requests answered with 200, failed ones, and latencies in milliseconds."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass(frozen=True)
class Body:
    """Requests of one input each, whose first four values are written anew each time: none is a repeat.

    `head`, four of `levels`, joined by `between`, and the next of `tails` are one body; every level has the same number
    of bytes. A gateway takes inputs that differ in four pixels for near copies, on which it does not bet: so there are
    more tails than it remembers.
    """

    head: bytes
    levels: Sequence[bytes]
    between: bytes
    tails: Sequence[bytes]
    headers: Mapping[str, str]

    @classmethod
    def binary(cls, x: np.ndarray, name: str, output: str) -> "Body":
        """Each of `x` (N, …) by the binary tensor extension, and the `output` as well."""
        tensor = {
            "name": name,
            "shape": [1, *x.shape[1:]],
            "datatype": "FP32",
            "parameters": {"binary_data_size": x[0].nbytes},
        }
        wanted = {"name": output, "parameters": {"binary_data": True}}
        head = json.dumps({"inputs": [tensor], "outputs": [wanted]}).encode()
        headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        levels = [np.float32(level).tobytes() for level in LEVELS]
        return cls(head, levels, b"", [row.astype("<f4").tobytes()[16:] for row in x], headers)

    @classmethod
    def json(cls, x: np.ndarray, name: str, output: str) -> "Body":
        """Each of `x` (N, …) as JSON, and the `output` that is wanted."""
        end = f']}}],"outputs":[{{"name":"{output}"}}]}}'
        tails = [f",{','.join(map(repr, row.ravel()[4:].tolist()))}{end}".encode() for row in x]
        head = f'{{"inputs":[{{"name":"{name}","shape":{[1, *x.shape[1:]]},"datatype":"FP32","data":['
        levels = [f"{level:.6f}".encode() for level in LEVELS]
        return cls(head.encode(), levels, b",", tails, {"Content-Type": "application/json"})


def rest(
    url: str, body: Body, *, connections: int, seconds: float, keys: Sequence[str] = (), kept: bool = False
) -> Load:
    """`connections` clients that ask `url` again and again, with one of `keys` after the other.

    Where they are `kept`, each connection is one of the clients.
    """
    with tempfile.TemporaryDirectory() as room:
        for name in ("head", "between"):
            (Path(room) / name).write_bytes(getattr(body, name))
        for name in ("levels", "tails"):
            (Path(room) / name).write_bytes(b"".join(getattr(body, name)))
        (Path(room) / "sizes").write_text("\n".join(str(len(tail)) for tail in body.tails))
        (Path(room) / "keys").write_text("\n".join(keys))
        (Path(room) / "headers").write_text("\n".join(f"{k}: {v}" for k, v in body.headers.items()))
        threads, mode = (connections, "each") if kept else (1, "next")
        size = f"-t{threads}", f"-c{connections}", f"-d{seconds}s"
        command = ["wrk", *size, "--timeout", "20s", "-s", str(SCRIPT), url]
        stdout = subprocess.run([*command, "--", room, mode], capture_output=True, text=True, check=True).stdout
    figures = json.loads(stdout[stdout.rindex("{") :])
    return Load(**figures)


def grpc(
    address: str, model: str, x: np.ndarray, name: str, *, connections: int, seconds: float, keys: Sequence[str] = ()
) -> Load:
    """The same over gRPC, with each of `x` (N, …) as raw contents, from a process of its own."""
    with tempfile.TemporaryDirectory() as room:
        np.save(Path(room) / "x.npy", x)
        options = {"address": address, "model": model, "input": name, "connections": connections, "seconds": seconds}
        (Path(room) / "options.json").write_text(json.dumps(options | {"keys": list(keys)}))
        command = [sys.executable, "-m", "benchmarks.load.grpc_client", room]
        stdout = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Load(**json.loads(stdout))


def row(load: Load, processor_seconds: float) -> dict[str, float]:
    """A load as figures for results/."""
    per_request = 1000 * processor_seconds / max(1, load.requests)
    return asdict(load) | {"rate": load.rate, "cpu_ms": per_request}
