"""Whether memory stays flat: ten thousand clients, minutes of load."""

import tempfile
import time
from pathlib import Path
from typing import Any

from soak import load, victims
from soak.gateways import gateway

MINUTES, CLIENTS, PART = 10, 10_000, 15


def rows() -> list[dict[str, Any]]:
    """A row every quarter of a minute: resident memory of the gateway, and what its clients saw in between."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        _, defended = victims.exported(room)
        store = f"sqlite:{room / 'ledger.db'}"
        body = load.Body.binary(victims.inputs(1, seed=1), "x", "probabilities")
        with gateway({"path": str(defended)}, room, store=store, clients=CLIENTS) as server:
            begun = time.monotonic()
            while time.monotonic() - begun < 60 * MINUTES:
                seen = load.rest(server.rest, body, connections=8, seconds=PART, keys=server.keys)
                figures = {"minute": (time.monotonic() - begun) / 60, "memory_mib": server.process.memory}
                found.append(figures | {"rate": seen.rate, "failed": seen.failed, "p99_ms": seen.p99_ms})
    return found
