"""Records of measurements in results/: one JSON file for each room, with one entry for each benchmark."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from feint.evaluation.provenance import provenance

Row = Mapping[str, str | float]
RESULTS = Path(__file__).parents[1] / "results"


def record(file: Path, name: str, command: str, rows: Sequence[Row], *, packages: Mapping[str, str]) -> None:
    """Write `rows` to `file` as its entry `name`, with their provenance, and print them.

    Args:
        file: A JSON file in results/. Its other entries stay.
        name: The benchmark.
        command: The command that measures the rows again.
        rows: One mapping of figures for each row of the table.
        packages: Installed distributions whose versions belong to the provenance, by the key that each gets there.
    """
    entries = json.loads(file.read_text()) if file.exists() else {}
    versions = {key: importlib.metadata.version(package) for key, package in packages.items()}
    entries[name] = {"command": command, "provenance": provenance() | versions, "rows": rows}
    file.write_text(json.dumps(entries, indent=1) + "\n")
    for row in rows:
        print(name, *(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))
