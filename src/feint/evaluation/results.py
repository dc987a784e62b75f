"""Rows of results, their storage, and their means over seeds."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from feint.errors import DamagedFile
from feint.evaluation import jsonl
from feint.evaluation.intervals import interval
from feint.evaluation.metrics import group
from feint.recipes.store import atomic_write

FORMAT = 3  # 2 added victim, phases, error and flags; 3 trained_per_second


@dataclass(frozen=True)
class Cell:
    """One cell of a matrix: a theft, or (without an attack) the utility of a defense."""

    defense: str
    attack: str = ""
    budget: int = 0
    seed: int = 0
    victim: str = ""


@dataclass(frozen=True)
class Row:
    """The result of one cell of a matrix: a theft, or (without an attack) the utility of a defense.

    Attributes:
        fingerprint: Hash of everything that the result depends on.
        defense: Name of the defense.
        attack: Name of the attack and its lenses; empty for utility.
        budget: Queries that the attack may ask.
        seed: Seed of the attack.
        scores: Scores by the names of `metrics.METRICS`, and the facts that checks use (`n_test`, `explained`, …).
        asked: Queries that the attack asked.
        seconds: Seconds that the cell took.
        recipe: Recipes of defense and attack, and fingerprints of victim and test set.
        provenance: Versions, hardware and revision of the run.
        peak_mb: Peak memory of the process in MiB, where the system reports it.
        victim: Name of the victim; empty in a matrix with one.
        phases: Seconds of querying, training and scoring.
        error: Reason why there are no scores; empty for a row that has them.
        flags: Flags of the row itself, as `feint.evaluation.checks` raised them when it was written.
        format: Version of the row's format.
        trained_per_second: Inputs a second in the trainings of the attack; None where none of them was in steps, or all
            were in the cache.
    """

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
    peak_mb: float | None = None
    victim: str = ""
    phases: dict[str, float] = field(default_factory=dict)
    error: str = ""
    flags: list[str] = field(default_factory=list)
    format: int = 1
    trained_per_second: float | None = None

    @property
    def file(self) -> str:
        """The name of the row's file in a working directory."""
        return jsonl.file_name(vars(self))


@dataclass(frozen=True)
class ResultRow:
    """One line of a table: an attack on a defense with a budget, over all seeds.

    Attributes:
        defense: Name of the defense.
        attack: Name of the attack and its lenses.
        budget: Queries that the attack may ask.
        seeds: Number of seeds.
        scores: Mean scores over the seeds that have them.
        intervals: 95 % intervals of those that are shares of the test inputs.
        utility: Utility scores of the defense.
    """

    defense: str
    attack: str
    budget: int
    seeds: int
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    utility: dict[str, float]


class Results:
    """A collection of rows by their fingerprint, in the order in which they were added.

    Args:
        rows: The rows; of two with one fingerprint the first stays, unless it has an error.
    """

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self._rows: dict[str, Row] = {}
        for row in rows:
            self.add(row)

    @classmethod
    def load(cls, place: Path | str) -> "Results":
        """Read the rows of a file of lines, or of a working directory and the file of lines beside it.

        Args:
            place: The file or the directory. A directory that does not exist has no rows.

        Returns:
            The rows, undefended ones first.

        `MissingData` is raised for a file that does not exist, `DamagedFile` for what is not a row (`jsonl.entries`).
        """
        rows = [_row(table, where) for where, table in jsonl.entries(place).values()]
        return cls(sorted(rows, key=lambda row: any(map(row.recipe["defense"].get, ("access", "inputs", "outputs")))))

    @staticmethod
    def find(folder: Path | str, fingerprint: str) -> Row | None:
        """Return the row of a fingerprint in a working directory, if it exists. Raises `DamagedFile`."""
        rows = (read(file) for file in Path(folder).glob(f"*-{fingerprint[:8]}.json"))
        return next((row for row in rows if row.fingerprint == fingerprint), None)

    def add(self, row: Row, folder: Path | str | None = None) -> None:
        """Add a row, and write it to a working directory if one is named. Only rows with an error are replaced."""
        earlier = self._rows.get(row.fingerprint)
        current = row if earlier is None or earlier.error else earlier
        if folder is not None:
            stored = self.find(folder, row.fingerprint)
            if stored is None or stored.error:
                with atomic_write(Path(folder) / row.file) as partial:
                    partial.write_text(json.dumps(asdict(current), indent=1, ensure_ascii=False) + "\n")
            else:
                current = stored
        self._rows[row.fingerprint] = current

    def merge(self, others: Iterable[Row]) -> "Results":
        """Return these rows, and those of `others` that are missing or have an error here."""
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
        """Return the rows with these fingerprints, in their order."""
        return Results(self._rows[fingerprint] for fingerprint in fingerprints if fingerprint in self)

    def on(self, victim: str) -> "Results":
        """Return the rows of one victim."""
        return Results(row for row in self if row.victim == victim)

    @property
    def failed(self) -> list[Row]:
        """The rows of cells that failed."""
        return [row for row in self if row.error]

    def utility(self, defense: str) -> dict[str, float]:
        """Return the utility scores of a defense; empty where they were not measured."""
        return next((row.scores for row in self if row.defense == defense and not row.attack), {})

    def lines(self) -> list[ResultRow]:
        """Return the thefts, each averaged over its seeds, by defense, attack and budget."""
        thefts: dict[tuple[str, str, int], list[Row]] = {}
        for row in self:
            if row.attack and not row.error:
                thefts.setdefault((row.defense, row.attack, row.budget), []).append(row)
        return [
            ResultRow(*key, len(rows), *_over_seeds(rows), self.utility(key[0]))
            for key, rows in sorted(thefts.items(), key=self._order)
        ]

    def _order(self, item: tuple[tuple[str, str, int], object]) -> tuple[int, int, int]:
        """Return the sort key of a line: its defense and attack in the order of the rows, then its budget."""
        (defense, attack, budget), _ = item
        return self.names("defense").index(defense), self.names("attack").index(attack), budget

    def names(self, field: str) -> list[str]:
        """Return the names in a field of rows ("defense", "attack" or "victim"), in the order of the rows."""
        return list(dict.fromkeys(name for row in self if (name := getattr(row, field))))

    def table(self, *, rows: str, columns: str, value: str, budget: int | None = None) -> str:
        """Format the means of a score as a Markdown table, in percent.

        Args:
            rows: The field of `ResultRow` that names a row, like "attack".
            columns: The field that names a column, like "defense".
            value: The score.
            budget: The budget; by default the largest.

        Returns:
            The table.
        """
        lines = self.lines()
        budget = budget or max((line.budget for line in lines), default=0)
        at_budget = [line for line in lines if line.budget == budget]
        cells = {
            (getattr(line, rows), getattr(line, columns)): line.scores[value]
            for line in at_budget if value in line.scores
        }  # fmt: skip
        heads = list(dict.fromkeys(column for _, column in cells))
        text = [f"| {rows} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
        for row in dict.fromkeys(row for row, _ in cells):
            shown = (f"{cells[row, head]:.1%}" if (row, head) in cells else "" for head in heads)
            text.append(f"| {row} | " + " | ".join(shown) + " |")
        return "\n".join(text)


def read(file: Path) -> Row:
    """Return the row in a file. Raises `DamagedFile` for a file that is truncated, foreign or of another version."""
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
        raise DamagedFile(
            f"{where} ({error})", "a row of results", "move that file away, or choose another directory"
        ) from error


def _over_seeds(rows: list[Row]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    n, thefts = int(rows[0].scores["n_test"]), group("theft")
    values = {metric.name: [row.scores[metric.name] for row in rows if metric.name in row.scores] for metric in thefts}
    means = {name: float(np.mean(scores)) for name, scores in values.items() if scores}
    return means, {
        metric.name: interval(values[metric.name], n) for metric in thefts if metric.counted and metric.name in means
    }
