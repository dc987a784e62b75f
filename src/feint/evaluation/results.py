"""Rows: written whole, never overwritten, averaged over their seeds for a table."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feint.errors import DamagedFile
from feint.evaluation import jsonl
from feint.evaluation.metrics import group, interval
from feint.recipes.store import atomic_write

FORMAT = 2  # 2 brought victim, phases, error and flags


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix: a theft, or without an attack the utility of a defense."""

    defense: str
    attack: str = ""
    budget: int = 0
    seed: int = 0
    victim: str = ""


@dataclass(frozen=True)
class Row:
    """What one cell of a matrix came to. Without an attack it is the utility that a defense leaves."""

    fingerprint: str
    defense: str
    attack: str
    budget: int
    seed: int
    scores: dict[str, float]
    asked: int
    seconds: float
    recipe: dict[str, Any] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    peak_mb: float | None = None  # the most memory that the process ever took, where the system tells
    victim: str = ""
    phases: dict[str, float] = field(default_factory=dict)  # seconds of asking, learning and judging
    error: str = ""  # why there are no scores
    flags: list[str] = field(default_factory=list)  # what speaks against this row by itself (feint.evaluation.checks)
    format: int = 1

    @property
    def file(self) -> str:
        """The name of its file, for people and for `Results` to find it by."""
        return jsonl.file_name(vars(self))


@dataclass(frozen=True)
class ResultRow:
    """One line of a table: an attack on a defense with a budget, over all seeds. Means in `scores`, 95 % intervals."""

    defense: str
    attack: str
    budget: int
    seeds: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    utility: dict[str, float]


class Results:
    """Rows in the order in which they were added."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[str, Row] = {}
        for row in rows:
            self.add(row)

    @classmethod
    def load(cls, place: Path | str) -> "Results":
        """Return the rows of a file of lines, or of a working directory and the file beside it, undefended ones first.

        Raises `MissingData` where there is no such file, and `DamagedFile` for what is not a row (`jsonl.entries`).
        """
        rows = [_row(table, where) for where, table in jsonl.entries(place).values()]
        return cls(sorted(rows, key=lambda row: any(map(row.recipe["defense"].get, ("access", "inputs", "outputs")))))

    @staticmethod
    def find(folder: Path | str, fingerprint: str) -> Row | None:
        """The row of this fingerprint in a folder, if it is there. Raises `DamagedFile`."""
        rows = (read(file) for file in Path(folder).glob(f"*-{fingerprint[:8]}.json"))
        return next((row for row in rows if row.fingerprint == fingerprint), None)

    def add(self, row: Row, folder: Path | str | None = None) -> None:
        """Add a row, and write it to the folder. What is there stays: only a row with an error gives way."""
        held = self._rows.get(row.fingerprint)
        kept = row if held is None or held.error else held
        if folder is not None:
            there = self.find(folder, row.fingerprint)
            if there is None or there.error:
                with atomic_write(Path(folder) / row.file) as partial:
                    partial.write_text(json.dumps(asdict(kept), indent=1, ensure_ascii=False) + "\n")
            else:
                kept = there
        self._rows[row.fingerprint] = kept

    def merge(self, others: Iterable[Row]) -> "Results":
        """These rows and those of `others` that are not among them, or failed here and not there."""
        merged = Results(self)
        for row in others:
            merged.add(row)
        return merged

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, fingerprint: str) -> Row:
        return self._rows[fingerprint]

    def __contains__(self, fingerprint: str) -> bool:
        return fingerprint in self._rows

    def of(self, fingerprints: Iterable[str]) -> "Results":
        """The rows with these fingerprints, in their order."""
        return Results(self._rows[fingerprint] for fingerprint in fingerprints if fingerprint in self)

    def on(self, victim: str) -> "Results":
        """The rows of one victim."""
        return Results(row for row in self if row.victim == victim)

    @property
    def failed(self) -> list[Row]:
        """The rows of cells that failed."""
        return [row for row in self if row.error]

    def utility(self, defense: str) -> dict[str, float]:
        """The utility that a defense leaves; empty where it was not measured."""
        return next((row.scores for row in self if row.defense == defense and not row.attack), {})

    def lines(self) -> list[ResultRow]:
        """The thefts, each averaged over its seeds."""
        thefts: dict[tuple[str, str, int], list[Row]] = {}
        for row in self:
            if row.attack and not row.error:
                thefts.setdefault((row.defense, row.attack, row.budget), []).append(row)
        return [
            ResultRow(*key, len(rows), *_over_seeds(rows), self.utility(key[0]))
            for key, rows in sorted(thefts.items(), key=self._place)
        ]

    def _place(self, item: tuple[tuple[str, str, int], object]) -> tuple[int, int, int]:
        """Lines stand in the order in which their defense and attack were first seen, by budget."""
        (defense, attack, budget), _ = item
        return self.names("defense").index(defense), self.names("attack").index(attack), budget

    def names(self, what: str) -> list[str]:
        """The defenses, attacks or victims in the order in which they were first seen."""
        return list(dict.fromkeys(name for row in self if (name := getattr(row, what))))

    def table(self, *, rows: str, columns: str, value: str, budget: int | None = None) -> str:
        """A Markdown table of the mean `value` in percent, at the largest budget if none is named."""
        lines = self.lines()
        budget = budget or max((line.budget for line in lines), default=0)
        cells = {(getattr(it, rows), getattr(it, columns)): it.scores[value] for it in lines if it.budget == budget}
        heads = list(dict.fromkeys(column for _, column in cells))
        text = [f"| {rows} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        for row in dict.fromkeys(row for row, _ in cells):
            shown = (f"{cells[row, head]:.1%}" if (row, head) in cells else "" for head in heads)
            text.append(f"| {row} | " + " | ".join(shown) + " |")
        return "\n".join(text)


def read(file: Path) -> Row:
    """The row in a file. Raises `DamagedFile` where it is truncated, foreign or of another version."""
    return _row(jsonl.table(file), f"{file}")


def _row(table: dict[str, Any], where: str) -> Row:
    try:
        form = table.get("format", 1)
        if form > FORMAT:
            raise DamagedFile(
                f"{where}, a row in format {form} by Feint {table['provenance']['feint']}",
                f"format {FORMAT} or older",
                "read it with that version",
            )
        return Row(**table)
    except (TypeError, KeyError) as error:
        raise DamagedFile(f"{where} ({error})", "a row of results", "delete that file and run again") from error


def _over_seeds(rows: list[Row]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    n = int(rows[0].scores["n_test"])
    shares = {name: [row.scores[name] for row in rows] for name in (known.name for known in group("theft"))}
    means = {name: float(np.mean(values)) for name, values in shares.items()}
    return means, {name: interval(values, n) for name, values in shares.items()}
