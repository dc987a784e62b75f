"""One part of a data set as its files have it, and its inputs in a model's domain."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feint._optional import require
from feint.data.arrays import Arrays, choose, from_array, read_npz
from feint.data.images import from_images
from feint.data.labels import Labels, label_column, read_labels
from feint.data.remarks import Remark, listed
from feint.data.tables import cells, declared
from feint.data.tabular import described, from_rows, without_row_names
from feint.data.texts import from_texts, from_tokens, length_of
from feint.errors import BadInput
from feint.signature import Columns, Domain, Pixels, Text, Tokens

if TYPE_CHECKING:
    import pyarrow

IMAGES = "image", "img", "image_bytes", "jpg", "png"  # columns of images, where the type does not tell
TEXTS = "text", "texts", "sentence", "content", "review", "message", "document", "comment", "tweet", "body"
TOKENS = "input_ids", "tokens", "token_ids"
BESIDE = 2  # columns beside one of tokens without a usual name, like a number and a file's name; more are a table


@dataclass(frozen=True)
class Part:
    """Inputs and labels of one part of a data set, as files have them.

    Attributes:
        kind: Kind of domain of the inputs; None for an array, whose kind the model tells.
        inputs: Names and contents of images, texts, sequences, columns by name, or the name of an array and the array.
        labels: Labels; None where the part has none.
        remarks: What was left out.
    """

    kind: type[Domain] | None
    inputs: Any
    labels: Labels | None
    remarks: tuple[Remark, ...] = ()


def table_part(
    table: "pyarrow.Table", domain: Domain | None = None, *, label: str | None = None, labelled: bool = True
) -> Part:
    """Return the inputs and labels of a table.

    Args:
        table: The table, as `read_table` reads it.
        domain: What the model takes; None tells it from the columns.
        label: Column of the label; None for the first of the usual names.
        labelled: Whether labels are required.

    Returns:
        The part.

    Raises:
        BadInput: There is no column of inputs, or none of labels.
    """
    known = domain.names if isinstance(domain, Columns) else ()
    column = label_column(table.column_names, label, inputs=known)
    if column is None and labelled:
        raise BadInput(
            f"columns {listed(table.column_names, 12)}", "one of labels: label, labels, target, class or y",
            "name it: --label COLUMN" + (", or write a header, if these are values" if _has_decimals(table) else ""),
        )  # fmt: skip
    about = declared(table)
    labels = None
    if column is not None and labelled:
        labels = read_labels(cells(table, column), about.get(column, {}).get("names"))
    rest = table.drop_columns([column]) if column is not None else table
    kind = _kind(rest, about) if domain is None else type(domain)
    return _READERS[kind](rest, labels, about)


def _has_decimals(table: "pyarrow.Table") -> bool:
    """Return whether the name of a column is a number with decimals, as where a table has no header."""
    return any(re.fullmatch(r"\s*-?\d+[.,]\d+\s*", name) for name in table.column_names)


def npz_part(path: Path, domain: Domain | None, *, label: str | None = None, labelled: bool = True) -> Part:
    """Return the inputs and labels of an .npz file. Arguments and errors as in `table_part`."""
    arrays = read_npz(path)
    name, labels = choose(path, arrays, label, labelled=labelled)
    read = read_labels(labels, None) if labels is not None and labelled else None
    return Part(None, (name, arrays[name]), read)


def converted(part: Part, domain: Domain | None, *, square: int | None = None) -> Arrays:
    """Return the inputs of a part in a domain, as it stores them.

    Args:
        part: The part.
        domain: What the model takes; None describes it from the inputs.
        square: Height and width that the centre squares of images are scaled to.

    Returns:
        Inputs (N, …), their domain, and remarks.

    Raises:
        BadInput: The inputs are of another kind than the domain, or outside it.
    """
    if part.kind is None:
        name, x = part.inputs
        return from_array(name, x, domain)
    if domain is not None and type(domain) is not part.kind:
        raise BadInput(part.kind.noun, f"{domain.noun}, which the model takes", "choose other data")
    convert, options = _CONVERTERS[part.kind], {"square": square} if part.kind is Pixels else {}
    x, own_domain, remarks = convert(part.inputs, domain, **options)
    return x, own_domain, (*part.remarks, *remarks)


def domain_of(parts: Sequence[Part]) -> Domain | None:
    """Return the domain of the parts of one set, described from the first, and wide enough for all.

    Args:
        parts: Parts of one set.

    Returns:
        The domain; None for images and arrays, which tell it themselves.

    Raises:
        BadInput: The parts have inputs of several kinds, or different columns.
    """
    first = parts[0]
    if len({part.kind for part in parts}) > 1:
        raise BadInput("parts of several kinds", "the same inputs in all", "mend the files")
    if first.kind is Columns:
        names = without_row_names(first.inputs)[0].keys()
        return described(*({name: part.inputs[name] for name in names if name in part.inputs} for part in parts))
    if first.kind is Text:
        return Text(length_of(np.array([len(str(text).encode(errors="replace")) for text in first.inputs])))
    if first.kind is Tokens:
        most = max(max(row, default=0) for part in parts for row in part.inputs)
        return Tokens(length_of(np.array([len(row) for row in first.inputs])), max(2, int(most) + 1))
    return None


def _kind(table: "pyarrow.Table", about: Mapping[str, Any]) -> type[Domain]:
    """Return the kind of domain that the columns of a table tell."""
    if _image_column(table, about) is not None:
        return Pixels
    if _token_column(table) is not None:
        return Tokens
    return Columns if _text_column(table) is None else Text


def _image_column(table: "pyarrow.Table", about: Mapping[str, Any]) -> str | None:
    pyarrow = require("pyarrow", "data")
    for field in table.schema:
        struct = pyarrow.types.is_struct(field.type) and any(part.name == "bytes" for part in field.type)
        binary = _is_binary(field.type) and field.name.lower() in IMAGES
        if struct or about.get(field.name, {}).get("_type") == "Image" or binary:
            return field.name
    return None


def _token_column(table: "pyarrow.Table") -> str | None:
    """Return the column of lists of whole numbers: the one with a usual name, or the only one beside a few others."""
    types = require("pyarrow", "data").types
    lists = [f.name for f in table.schema if _is_list(f.type) and types.is_integer(f.type.value_type)]
    only = lists[0] if len(lists) == 1 and table.num_columns <= 1 + BESIDE else None
    return next((name for name in lists if name.lower() in TOKENS), only)


def _text_column(table: "pyarrow.Table") -> str | None:
    """Return the column of texts: the one with a usual name, or the only one, where half of its values differ."""
    words = [field.name for field in table.schema if _is_words(field.type)]
    named = next((name for name in words if name.lower() in TEXTS), None)
    if named is not None:
        return named
    if len(words) == 1 and table.num_columns == 1 and 2 * len(set(cells(table, words[0]))) >= table.num_rows:
        return words[0]
    return None


def _is_list(kind: Any) -> bool:
    types = require("pyarrow", "data").types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_binary(kind: Any) -> bool:
    types = require("pyarrow", "data").types
    return types.is_binary(kind) or types.is_large_binary(kind)


def _is_words(kind: Any) -> bool:
    types = require("pyarrow", "data").types
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _left_out(table: "pyarrow.Table", used: Collection[str]) -> tuple[Remark, ...]:
    names = [name for name in table.column_names if name not in used]
    return (Remark("columns left out", {"columns": listed(names), "count": str(len(names))}),) if names else ()


def _images(table: "pyarrow.Table", labels: Labels | None, about: Mapping[str, Any]) -> Part:
    binary = [field.name for field in table.schema if _is_binary(field.type)]
    column = _image_column(table, about) or (binary[0] if len(binary) == 1 else None)
    if column is None:
        return _numbers(table, labels)
    values = cells(table, column)
    sources = [(f"row {i + 1:,} of {column!r}", _content(i, value)) for i, value in enumerate(values)]
    return Part(Pixels, sources, labels)


def _content(i: int, value: Any) -> Path | bytes:
    content = value if not isinstance(value, Mapping) else value.get("bytes") or value.get("path")
    if content is None or isinstance(content, Mapping):
        raise BadInput(f"row {i + 1:,} without an image", "an image in each row", "leave the row out")
    return Path(content) if isinstance(content, str) else bytes(content)


def _numbers(table: "pyarrow.Table", labels: Labels | None) -> Part:
    """Return the pixels of a table that has a column for each."""
    types = require("pyarrow", "data").types
    numbers = [field.name for field in table.schema if types.is_integer(field.type) or types.is_floating(field.type)]
    if len(numbers) < table.num_columns or not numbers:
        raise BadInput(
            f"columns {listed(table.column_names)}", "images, which the model takes: a column of their bytes",
            "write the bytes of each file to Parquet, or sort the files into a directory for each class",
        )  # fmt: skip
    matrix = np.stack([column.to_numpy() for column in table.columns], 1)
    return Part(None, ("the table", matrix), labels)


def _texts(table: "pyarrow.Table", labels: Labels | None, _: Mapping[str, Any]) -> Part:
    column = _text_column(table)
    if column is None:
        words = [field.name for field in table.schema if _is_words(field.type)]
        if len(words) != 1:
            raise BadInput(f"columns {listed(table.column_names)}", "a column of texts", "rename it to text")
        column = words[0]
    return Part(Text, cells(table, column), labels, _left_out(table, {column}))


def _tokens(table: "pyarrow.Table", labels: Labels | None, _: Mapping[str, Any]) -> Part:
    column = _token_column(table)
    if column is None:
        raise BadInput(f"columns {listed(table.column_names)}", "a column of lists of tokens", "rename it to input_ids")
    values = cells(table, column)
    if None in values:
        raise BadInput(f"row {values.index(None) + 1:,} without tokens", "a list in each row", "leave the row out")
    return Part(Tokens, values, labels, _left_out(table, {column}))


def _rows(table: "pyarrow.Table", labels: Labels | None, _: Mapping[str, Any]) -> Part:
    types = require("pyarrow", "data").types
    nested = [f for f in table.schema if types.is_nested(f.type) or types.is_binary(f.type)]
    if nested and len(nested) == table.num_columns:
        raise BadInput(
            f"the column {nested[0].name!r} of {nested[0].type!s:.60}…", "columns of numbers, words or booleans",
            "write one column for each of its values, as pandas.json_normalize does",
        )  # fmt: skip
    columns = {}
    for field in (field for field in table.schema if field not in nested):
        words = types.is_temporal(field.type)
        column = cells(table, field.name)
        columns[field.name] = [None if v is None else str(v) for v in column] if words else column
    left_out = {"columns": listed([field.name for field in nested])}
    return Part(Columns, columns, labels, (Remark("columns nested", left_out),) if nested else ())


_READERS: dict[type[Domain], Callable[..., Part]] = {Pixels: _images, Text: _texts, Tokens: _tokens, Columns: _rows}
_CONVERTERS: dict[type[Domain], Callable[..., Arrays]] = {
    Pixels: from_images, Text: from_texts, Tokens: from_tokens, Columns: from_rows,
}  # fmt: skip
