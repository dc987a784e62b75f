"""Published rows: one JSON Lines file for each table or suite, and the tables that rows share in `recipes.json`.

A line is a row in compact JSON. A table that is the row's provenance, or a member of its recipe, is replaced by "#" and
the table's fingerprint. `recipes.json` in the same directory has the table itself, once for all files of lines there.

A running bench writes one file for each row into a working directory, so that no finished row is lost. `collect` turns
the directory NAME into the file NAME.jsonl beside it. After that, rows are read from either.
"""

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feint.errors import BadInput, DamagedFile, MissingData
from feint.recipes.recipe import short_hash
from feint.recipes.store import atomic_write

SUFFIX, SHARED = ".jsonl", "recipes.json"

Table = dict[str, Any]
Entries = dict[str, tuple[str, Table]]  # by key: the place of the row (for messages), and the row


def file_name(row: Mapping[str, Any]) -> str:
    """Return the name of a row's file in a working directory. Lines are sorted by it too."""
    if "fingerprint" not in row:
        return f"{row['name']}.json"
    budget = f"{row['budget']}" if row["attack"] else "utility"
    words = [row.get("victim", ""), row["defense"], row["attack"], budget, f"s{row['seed']}"]
    return "-".join([*(_slug(word) for word in words if word), f"{row['fingerprint'][:8]}.json"])


@functools.cache  # every row has the same few names
def _slug(word: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")


def beside(folder: Path) -> Path:
    """Return the file of lines of a working directory."""
    folder = folder.resolve() if folder.name in ("", "..") else folder  # "." has no name of its own
    return folder.parent / f"{folder.name}{SUFFIX}"


def folder_of(place: Path) -> Path:
    """Return the working directory of a place: itself, or that of a file of lines."""
    return place.with_suffix("") if place.suffix == SUFFIX and not place.is_dir() else place


def read(place: Path | str) -> list[Table]:
    """Return the rows of a place with their shared tables, sorted by file name. See `entries`."""
    return [row for _, row in entries(place).values()]


def entries(place: Path | str) -> Entries:
    """Return the rows of a file of lines, or of a working directory and the file of lines beside it, by their key.

    The key is the row's fingerprint, or the name of a row that is no cell of a matrix. Of two rows with one key the
    first stays, unless it has an error. A directory that does not exist has no rows.

    Args:
        place: A file of lines, or a working directory.

    Returns:
        Each row and its place, by key, sorted by file name.

    `MissingData` is raised for a file of lines that does not exist. `DamagedFile` is raised for a row that is torn, is
    twice in one file, or has a fingerprint that is not in `recipes.json`.
    """
    place = Path(place)
    if folder_of(place) != place:
        return _sorted(_lines(place))
    file = beside(place)
    return _sorted(_joined([*(_lines(file).items() if file.exists() else ()), *_files(place)]))


def table(file: Path) -> Table:
    """Return the row in a file of a working directory. Raises `DamagedFile`."""
    return _parsed(file.read_bytes(), f"{file}", "delete that file and run again")


def collect(folder: Path | str, file: Path | str | None = None) -> Path:
    """Write the rows of a working directory to a file of lines.

    Rows that the file already has stay, and so do the tables that other files of lines in its directory share. Every
    file is written whole or not at all, the shared tables before the lines that need them.

    Args:
        folder: The working directory.
        file: The file of lines; by default the one of the directory's name beside it.

    Returns:
        The file of lines.

    Raises:
        BadInput: The file does not end in .jsonl, or a value of a row begins with "#", which only lines may have.
        MissingData: There is no row.

    `DamagedFile` is raised for an existing file that cannot be read; nothing is written then. `NotWritten` is raised
    where the disk is full or permission is missing.
    """
    folder, file = Path(folder), beside(Path(folder)) if file is None else Path(file)
    if file.suffix != SUFFIX:
        raise BadInput(f"{file}", f"a file of lines, called *{SUFFIX}", "give it that name")
    with _exclusive(file.parent):  # two writers at once would each drop the other's shared tables
        rows = _joined([*(_lines(file).items() if file.exists() else ()), *entries(folder).items()])
        if not rows:
            raise MissingData(f"{folder}, without a row", "a directory that a bench wrote", "run the bench first")
        _write(file, [row for _, row in _sorted(rows).values()])
    return file


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the lock of a directory, for which other processes and threads of this machine wait."""
    import fcntl  # not on every system, and collecting alone needs it

    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(file: Path, rows: Iterable[Table]) -> None:
    used: dict[str, Table] = {}
    lines = [f"{_text(_shortened(row, used))}\n" for row in rows]
    shared = _shared(file.with_name(SHARED))
    others = "".join(lines.read_text("utf-8", errors="replace") for lines in file.parent.glob(f"*{SUFFIX}"))
    named = set(re.findall('"#([0-9a-f]{16})"', others))  # the old lines of this file included, until it is replaced
    needed = sorted(({key: table for key, table in shared.items() if key in named} | used).items())
    with atomic_write(file.with_name(SHARED)) as partial:
        partial.write_text("{\n" + ",\n".join(f'"{key}":{_text(table)}' for key, table in needed) + "\n}\n", "utf-8")
    with atomic_write(file) as partial:
        partial.write_text("".join(lines), "utf-8")


def _lines(file: Path) -> Entries:
    """Return the rows in a file of lines."""
    remedy = f"restore it, or delete it and collect {file.with_suffix('')} again"
    try:
        text = file.read_bytes()
    except FileNotFoundError as error:
        raise MissingData(
            f"{file}, which does not exist", "a file that feint bench --collect wrote", "name one that is there"
        ) from error
    *lines, rest = text.split(b"\n")
    if rest:
        raise DamagedFile(f"{file}, which ends within line {len(lines) + 1}", "whole lines", remedy)
    shared, rows = _shared(file.with_name(SHARED)), Entries()
    for number, line in enumerate(lines, 1):
        where = f"{file}:{number}"
        row = _expanded(_parsed(line, where, remedy), shared, where)
        key = _key(row)
        if key in rows:
            raise DamagedFile(f"{where} with {key}, as in {rows[key][0]}", "one line for each row", "delete one")
        rows[key] = where, row
    return rows


def _files(folder: Path) -> Iterator[tuple[str, tuple[str, Table]]]:
    """Yield the rows in the files of a working directory."""
    for file in sorted(folder.glob("*.json")):
        row = table(file)
        yield _key(row), (f"{file}", row)


def _shared(file: Path) -> dict[str, Table]:
    """Return the tables that rows share, by their fingerprint; none where the file does not exist yet."""
    if not file.exists():
        return {}
    remedy = "restore it, or collect its tables again"
    try:
        shared = json.loads(file.read_bytes())
        wrong = next((key for key, table in shared.items() if key != _fingerprint(table)), None)
    except (ValueError, AttributeError) as error:
        raise DamagedFile(f"{file} ({error})", "the tables that rows share", remedy) from error
    if wrong is not None:
        raise DamagedFile(f"{file} with another table than {wrong}", "tables as they were collected", remedy)
    return shared


def _joined(rows: Iterable[tuple[str, tuple[str, Table]]]) -> Entries:
    """Return the rows by key. The first row of a key stays, unless it has an error."""
    joined = Entries()
    for key, entry in rows:
        if key not in joined or joined[key][1].get("error"):
            joined[key] = entry
    return joined


def _sorted(rows: Entries) -> Entries:
    return dict(sorted(rows.items(), key=lambda item: file_name(item[1][1])))


def _parsed(text: bytes, where: str, remedy: str) -> Table:
    try:
        row = json.loads(text)
        file_name(row)  # fails where the fields of the name are missing
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise DamagedFile(f"{where} ({error})", "a row of results", remedy) from error
    return row


def _key(row: Table) -> str:
    return row["fingerprint"] if "fingerprint" in row else row["name"]


def _shortened(row: Table, shared: dict[str, Table]) -> Table:
    """Return the row as a line has it, and add its tables to `shared`."""

    def short(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("#"):
            raise BadInput(f"{file_name(row)} with {value!r}", "a recipe without a leading #", "name that otherwise")
        if not isinstance(value, dict):
            return value
        shared[key := _fingerprint(value)] = value
        return f"#{key}"

    return _each(row, short)


def _expanded(row: Table, shared: Mapping[str, Table], where: str) -> Table:
    """Return the row of a line with the shared tables in place of their fingerprints."""

    def expanded(value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith("#"):
            return value
        if value[1:] not in shared:
            got = f"{where} with the fingerprint {value[1:]}, which {SHARED} beside it does not know"
            raise DamagedFile(got, f"{SHARED} as it was written with that file", "restore both files")
        return shared[value[1:]]

    return _each(row, expanded)


def _each(row: Table, change: Callable[[Any], Any]) -> Table:
    """Return the row with its provenance and the members of its recipe changed."""
    row = dict(row)
    if isinstance(row.get("recipe"), dict):  # rows that are no cell of a matrix may have a word there
        row["recipe"] = {name: change(value) for name, value in row["recipe"].items()}
    if "provenance" in row:
        row["provenance"] = change(row["provenance"])
    return row


def _fingerprint(value: Any) -> str:
    return short_hash(_text(value))


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
