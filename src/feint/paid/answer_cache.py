"""Answers of a paid or remote model, kept by the marks of their inputs."""

import hashlib
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from feint.errors import DamagedFile, NotWritten
from feint.recipes.recipe import short_hash

TABLES = (
    "CREATE TABLE IF NOT EXISTS answers (mark BLOB PRIMARY KEY, p BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS remarks (topic TEXT PRIMARY KEY, text TEXT NOT NULL)",
)
BUSY = 60.0  # seconds to wait for another process


class AnswerCache:
    """Answers (K,) float32 by mark of the input, in memory and in a file of SQLite. Several processes may share it.

    Args:
        path: The file; None keeps the answers in memory alone.

    Raises:
        DamagedFile: The file is no such cache.
        NotWritten: It cannot be created.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[bytes, np.ndarray] = {}
        rows: list[tuple[bytes, bytes]] = []
        self.remarks: dict[str, str] = {}
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as database:
                for table in TABLES:
                    database.execute(table)
                rows = database.execute("SELECT mark, p FROM answers").fetchall()
                self.remarks = dict(database.execute("SELECT topic, text FROM remarks").fetchall())
        except (OSError, sqlite3.OperationalError) as error:
            raise NotWritten(f"{path} ({error})", "a place for paid answers", "set FEINT_CACHE elsewhere") from error
        except sqlite3.DatabaseError as error:
            raise DamagedFile(
                f"{path} ({error})", "answers that Feint stored", "move it away: they are paid for"
            ) from error
        self._known = {mark: np.frombuffer(p, np.float32) for mark, p in rows}

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, mark: bytes) -> bool:
        return _key(mark) in self._known

    def missing(self, marks: Sequence[bytes]) -> list[int]:
        """Return the places of the marks that are not known, of equal ones the first."""
        first = {mark: place for place, mark in reversed([*enumerate(marks)]) if mark not in self}
        return sorted(first.values())

    def get(self, marks: Sequence[bytes]) -> np.ndarray:
        """Return the answers (N, K) to inputs with these marks, all of which are known."""
        return np.stack([self._known[_key(mark)] for mark in marks])

    def add(self, marks: Sequence[bytes], p: np.ndarray, remarks: Mapping[str, str] | None = None) -> None:
        """Store answers (n, K) to the inputs with these marks, and remarks by topic.

        Raises:
            NotWritten: The disk is full, or the file is locked. The answers stay in memory.
        """
        rows = {_key(mark): row for mark, row in zip(marks, np.asarray(p, np.float32), strict=True)}
        self._known |= rows
        self.remarks = {**(remarks or self.remarks)}
        if self.path is None:
            return
        try:
            with self._open() as database:
                database.executemany(
                    "INSERT OR REPLACE INTO answers VALUES (?, ?)", [(key, row.tobytes()) for key, row in rows.items()]
                )
                database.execute("DELETE FROM remarks")
                database.executemany("INSERT INTO remarks VALUES (?, ?)", self.remarks.items())
        except sqlite3.Error as error:
            raise NotWritten(f"{self.path} ({error})", "room for paid answers", "free some space") from error

    def forget(self, most: int) -> None:
        """Forget all answers but the last `most`; those in the file stay there."""
        for key in [*islice(self._known, max(0, len(self._known) - most))]:
            del self._known[key]

    def _open(self) -> "_Connection":
        return _Connection(str(self.path), timeout=BUSY)


class _Connection(sqlite3.Connection):
    """Connection that is committed and closed at the end of its block, and rolled back by an error."""

    def __exit__(self, *error: object) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        try:
            super().__exit__(*error)  # pyright: ignore[reportArgumentType]
        finally:
            self.close()
        return False


def answers_file(place: str, digest: str) -> Path:
    """Return the file in `FEINT_CACHE` that keeps the answers of the model at `place` with this digest."""
    root = Path(os.environ.get("FEINT_CACHE", Path.home() / ".cache" / "feint")).expanduser()
    name = re.sub(r"[^\w.-]+", "-", Path(place).stem).strip("-.")
    return root / "answers" / f"{name}-{short_hash(digest)}.sqlite"


def _key(mark: bytes) -> bytes:
    return hashlib.sha256(mark).digest()[:16]
