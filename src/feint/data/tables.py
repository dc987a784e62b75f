"""Files of rows: CSV, Parquet, JSON Lines and JSON, read with pyarrow; text files, a text a line."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feint._optional import require
from feint.errors import BadInput, DamagedFile, FeintError, MissingData, one_line

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = ".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json", ".txt"
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "#N/A", "<NA>"]  # as pandas reads them
HEAD = 1 << 16  # bytes that tell the delimiter
DELIMITERS = ",;\t|"


def read_table(*files: Path) -> "pyarrow.Table":
    """Read a table of one or several files of the same columns.

    Args:
        *files: Files with a suffix of `SUFFIXES`, all of the same one.

    Returns:
        The table. Its metadata are those of the first file.

    Raises:
        MissingData: A file is not there.
        DamagedFile: A file is not what its suffix says.
        BadInput: There is no row, or columns have no names, or several have one, or the files differ in their columns.
    """
    pyarrow = require("pyarrow", "data")
    tables = [_read(file) for file in files]
    try:
        table = pyarrow.concat_tables(tables, promote_options="permissive")
    except pyarrow.ArrowException as error:
        raise BadInput(
            f"{files[0].parent} ({one_line(error, 120)})", "files of the same columns", "mend them"
        ) from error
    if not table.num_rows:
        raise BadInput(f"{files[0]} without rows", "one at least", "check the file")
    return table.replace_schema_metadata(tables[0].schema.metadata)


def declared(table: "pyarrow.Table") -> dict[str, Any]:
    """Return what the Hugging Face hub's metadata declare of each column, like the names of classes; {} without them."""
    try:
        about = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
        return dict(about["info"]["features"])
    except (ValueError, KeyError, TypeError):
        return {}


def cells(table: "pyarrow.Table", name: str) -> list[Any]:
    """Return the values of a column, None for missing ones.

    Raises:
        BadInput: A text is no valid UTF-8.
    """
    try:
        return table[name].to_pylist()
    except UnicodeDecodeError as error:
        raise BadInput(f"the column {name!r} with bytes that are no UTF-8", "texts in UTF-8", "encode them") from error


def _read(file: Path) -> "pyarrow.Table":
    pyarrow = require("pyarrow", "data")
    if not file.is_file():
        raise MissingData(f"{file}, which is not there", "a file of rows", "check the path")
    if not file.stat().st_size:
        raise BadInput(f"{file}, which is empty", "a table with a header and rows", "check the file")
    reader = {
        ".parquet": _read_parquet, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".json": _read_json,
        ".txt": _read_lines,
    }.get(file.suffix.lower(), _read_csv)  # fmt: skip
    try:
        table = reader(file)
    except FeintError:
        raise
    except UnicodeDecodeError as error:
        raise _not_utf8(file) from error
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        if "UTF8" in str(error):
            raise _not_utf8(file) from error
        kind = file.suffix.lstrip(".").upper()
        raise DamagedFile(f"{file} ({one_line(error, 160)})", f"a readable {kind} file", "write it again") from error
    names = [name.strip() for name in table.column_names]
    if twice := {name for name in names if names.count(name) > 1}:
        raise BadInput(f"{file} with two columns {min(twice)!r}", "columns of different names", "rename one")
    return table.rename_columns(names).replace_schema_metadata(table.schema.metadata)


def _read_parquet(file: Path) -> "pyarrow.Table":
    return require("pyarrow.parquet", "data").read_table(file)


def _read_json_lines(file: Path) -> "pyarrow.Table":
    options = require("pyarrow.json", "data").ReadOptions(block_size=file.stat().st_size + 1)
    return require("pyarrow.json", "data").read_json(file, read_options=options)


def _read_json(file: Path) -> "pyarrow.Table":
    """Read a list of objects; other JSON is read as JSON Lines."""
    try:
        rows = json.loads(file.read_bytes())
    except json.JSONDecodeError:
        return _read_json_lines(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{file} of another form", 'a list of objects: [{"column": value, …}, …]', "write it so")
    return require("pyarrow", "data").Table.from_pylist(rows)


def _read_lines(file: Path) -> "pyarrow.Table":
    lines = [line for line in file.read_text("utf-8").splitlines() if line.strip()]
    return require("pyarrow", "data").table({"text": lines})


def _read_csv(file: Path) -> "pyarrow.Table":
    """Read a CSV file; the delimiter is told from its header, and a decimal comma from its first rows.

    "?" is missing among numbers, and a value among words, as UCI's files have it.
    """
    module = require("pyarrow.csv", "data")
    with file.open("rb") as stream:
        head = stream.read(HEAD).decode("utf-8-sig", errors="ignore")
    header, _, rest = head.partition("\n")
    delimiter = max(DELIMITERS, key=header.count) if file.suffix.lower() != ".tsv" else "\t"
    _check_header(file, next(csv.reader([header.strip("\r")], delimiter=delimiter), []))
    comma = delimiter != "," and re.search(
        rf"(^|{re.escape(delimiter)})-?\d+,\d+({re.escape(delimiter)}|\r?\n|$)", rest
    )
    table = module.read_csv(
        file,
        read_options=module.ReadOptions(block_size=file.stat().st_size + 1),  # types are told from the whole file
        parse_options=module.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=module.ConvertOptions(
            null_values=[*MISSING, "?", " ?"], decimal_point="," if comma else ".", strings_can_be_null=False
        ),
    )
    if any(str(kind) == "binary" for kind in table.schema.types):
        raise _not_utf8(file)
    return table


def _check_header(file: Path, names: Sequence[str]) -> None:
    numbers = [name for name in names if re.fullmatch(r"\s*-?\d+([.,]\d+)?([eE][+-]?\d+)?\s*", name)]
    if names and len(numbers) == len(names):
        raise BadInput(
            f"{file}, whose first row is numbers ({', '.join(names[:3])}, …)", "a header: the names of the columns",
            "write one",
        )  # fmt: skip


def _not_utf8(file: Path) -> BadInput:
    return BadInput(f"{file}, which is no UTF-8", "a file in UTF-8", f"iconv -f latin1 -t utf-8 {file.name} > new{file.suffix}")
