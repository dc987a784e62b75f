"""Rows of experiments that are no matrix: one JSON file each, made once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feint.evaluation.provenance import provenance
from feint.recipes.store import atomic_write


def keep(folder: Path, name: str, job: Callable[[], dict[str, Any]], command: str) -> None:
    """The row of `job`, written to `folder` when it is not there yet."""
    file = folder / f"{name}.json"
    if not file.exists():
        row = {"name": name, "command": command, **job(), "provenance": provenance()}
        with atomic_write(file) as partial_file:
            partial_file.write_text(json.dumps(row, indent=1) + "\n")
