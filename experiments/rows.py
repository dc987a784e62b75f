"""Rows of experiments that are no matrix: one JSON file each in a working directory, made once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feint.evaluation import jsonl
from feint.evaluation.provenance import provenance
from feint.recipes.store import atomic_write


def keep(folder: Path, name: str, job: Callable[[], dict[str, Any]], command: str) -> None:
    """Write the row of `job` to `folder`, unless that or the file of lines beside it has one."""
    if name not in jsonl.entries(folder):
        row = {"name": name, "command": command, **job(), "provenance": provenance()}
        with atomic_write(folder / f"{name}.json") as partial_file:
            partial_file.write_text(json.dumps(row, indent=1) + "\n")
