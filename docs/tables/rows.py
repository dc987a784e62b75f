"""Published rows in results/, and Markdown tables of them."""

import json
import re
from collections.abc import Sequence
from typing import Any

from benchmarks.record import RESULTS

from feint.evaluation import jsonl
from feint.evaluation.results import Results

Row = dict[str, Any]


def results_of(name: str) -> Results:
    """Return the published rows of a table."""
    return Results.load(RESULTS / f"{name}.jsonl")


def rows_of(name: str) -> list[Row]:
    """Return published rows that are no cells of a matrix."""
    return jsonl.read(RESULTS / f"{name}.jsonl")


def grid(rows: list[list[str]]) -> str:
    """Return a Markdown table; the first row is its heads."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [cells[0], ["---"] * len(cells[0]), *cells[1:]])


def recorded(file: str, name: str) -> list[Row]:
    """Return the rows of one benchmark in a JSON file of results/; none where it was not run."""
    path = RESULTS / file
    return json.loads(path.read_text()).get(name, {}).get("rows", []) if path.exists() else []


def natural(text: str) -> list[tuple[int, float, str]]:
    """Return a key that sorts numbers within text by their value."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text.lower())
    return [(0, float(part), "") if i % 2 else (1, 0.0, part) for i, part in enumerate(parts)]


def mean_of(rows: Sequence[Row], key: str) -> float:
    """Return the mean of a member over rows."""
    return sum(row[key] for row in rows) / len(rows)
