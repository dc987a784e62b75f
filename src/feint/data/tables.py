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
OBJECTS = "an object on each line"
ROWS = {".txt": "a text on each line", ".jsonl": OBJECTS, ".ndjson": OBJECTS, ".json": "a list of objects"}  # expected
MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "#N/A", "<NA>"]  # as pandas reads them
NO_NUMBERS = "?", ".", "-", "--", "None"  # missing among numbers, and values among words: UCI, SAS, Excel, Python
PACKED = ".gz", ".bz2", ".zst"  # which pyarrow unpacks
UTF16 = b"\xff\xfe", b"\xfe\xff"  # first bytes
HEAD = 1 << 16  # bytes that tell the delimiter
DELIMITERS = ",;\t|"


def read_table(*files: Path) -> "pyarrow.Table":
    """Read a table of one or several files of the same columns.

    An absent file raises `MissingData`, and one that is not what its suffix says `DamagedFile`.

    Args:
        *files: Files with a suffix of `SUFFIXES`, or that and one of `PACKED`.

    Returns:
        The table. Its metadata are those of the first file.

    Raises:
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
    """Return what the Hugging Face hub's metadata declare of each column, like names of classes; {} without them."""
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


def suffix(file: Path) -> str:
    """Return the suffix that tells the format, without that of a compressed file: ".csv" of x.csv.gz."""
    name = Path(file.name if file.suffix not in PACKED else file.stem).suffix.lower()
    return ".parquet" if name == ".pq" else name


def _read(file: Path) -> "pyarrow.Table":
    pyarrow = require("pyarrow", "data")
    if not file.is_file():
        raise MissingData(f"{file}, which is not there", "a file of rows", "check the path")
    try:
        with pyarrow.input_stream(str(file)) as stream:  # which decompresses
            content = stream.read()
        if content[:2] in UTF16:
            content = content.decode("utf-16").encode()
        elif suffix(file) != ".parquet" and b"\0" in content[:HEAD]:
            remedy = f"if it is UTF-16: {_iconv(file, 'utf-16le')}"
            raise BadInput(f"{file} with bytes of zero", "text in UTF-8", remedy)
        table = _parse(file, content)
        names = [name.strip() for name in table.column_names]
    except FeintError:
        raise
    except (pyarrow.ArrowException, csv.Error, OSError, ValueError, OverflowError) as error:
        if "UTF8" in str(error) or isinstance(error, UnicodeDecodeError):
            raise _not_utf8(file) from error
        kind = suffix(file).lstrip(".").upper()
        raise DamagedFile(f"{file} ({one_line(error, 160)})", f"a readable {kind} file", "write it again") from error
    if twice := {name for name in names if names.count(name) > 1}:
        remedy = "rename one, or write a header, if these are values"
        raise BadInput(f"{file} with two columns {min(twice)!r}", "columns of different names", remedy)
    return table.rename_columns(names).replace_schema_metadata(table.schema.metadata)


def _parse(file: Path, content: bytes) -> "pyarrow.Table":
    # pyarrow's threads stay out: with torch in the process, they abort it at its exit (pyarrow 26.0.1)
    pyarrow = require("pyarrow", "data")
    if not content.strip():
        rows = ROWS.get(suffix(file), "a table with a header and rows")
        raise BadInput(f"{file}, which is empty", rows, "check the file")
    match suffix(file):
        case ".parquet":
            return require("pyarrow.parquet", "data").ParquetFile(pyarrow.BufferReader(content)).read(use_threads=False)
        case ".txt":
            return pyarrow.table({"text": [line for line in content.decode().splitlines() if line.strip()]})
        case ".jsonl" | ".ndjson":
            return _parse_json_lines(content)
        case ".json":
            return _parse_json(file, content)
        case kind:
            return _parse_csv(file, content, "\t" if kind == ".tsv" else DELIMITERS)


def _parse_json_lines(content: bytes) -> "pyarrow.Table":
    module = require("pyarrow.json", "data")
    options = module.ReadOptions(block_size=len(content) + 1, use_threads=False)
    return module.read_json(require("pyarrow", "data").BufferReader(content), read_options=options)


def _parse_json(file: Path, content: bytes) -> "pyarrow.Table":
    """Return the table of a list of objects; other JSON is read as JSON Lines."""
    try:
        rows = json.loads(content)
    except json.JSONDecodeError:
        return _parse_json_lines(content)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput(f"{file} of another form", 'a list of objects: [{"column": value, …}, …]', "write it so")
    return require("pyarrow", "data").Table.from_pylist(rows)


def _parse_csv(file: Path, content: bytes, delimiters: str) -> "pyarrow.Table":
    # The delimiter is told from the header, and a decimal comma from the first rows.
    module = require("pyarrow.csv", "data")
    content = re.sub(rb"^(\xef\xbb\xbf)?\"?sep=.\"?\r?\n", b"", content)  # Excel's line that tells the delimiter
    header, *rest = content[:HEAD].decode("utf-8-sig", errors="ignore").splitlines()
    delimiter = max(delimiters, key=header.count)
    _check_header(file, next(csv.reader([header], delimiter=delimiter), []))
    edge = re.escape(delimiter)
    comma = delimiter != "," and any(re.search(rf"(^|{edge})-?\d+,\d+({edge}|$)", line) for line in rest)
    table = module.read_csv(
        require("pyarrow", "data").BufferReader(content),
        # types are told from the whole file
        read_options=module.ReadOptions(block_size=len(content) + 1, use_threads=False),
        parse_options=module.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=module.ConvertOptions(
            null_values=[*MISSING, *NO_NUMBERS, " ?"], decimal_point="," if comma else ".", strings_can_be_null=False
        ),
    )
    if any(str(kind) == "binary" for kind in table.schema.types):
        raise _not_utf8(file)
    return table


def _check_header(file: Path, names: Sequence[str]) -> None:
    numbers = [name for name in names if re.fullmatch(r"\s*-?\d+([.,]\d+)?([eE][+-]?\d+)?\s*", name)]
    if len(names) == 1 and names[0].startswith(("#", "%", "@")):
        raise BadInput(
            f"{file}, whose first row is {names[0]!r}", "a header: the names of the columns", "delete what is before it"
        )
    if names and len(numbers) == len(names):
        raise BadInput(
            f"{file}, whose first row is numbers ({', '.join(names[:3])}, …)", "a header: the names of the columns",
            "write a first row with names",
        )  # fmt: skip


def _not_utf8(file: Path) -> BadInput:
    return BadInput(f"{file}, which is no UTF-8", "a file in UTF-8", _iconv(file, "latin1"))


def _iconv(file: Path, encoding: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {file.name} > new{file.suffix}"
