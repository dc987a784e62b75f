"""Rows of tables as inputs of `Columns`: matched by name to a model's columns, or described from the data."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from feint.data.remarks import Remark, listed
from feint.data.tables import MISSING, NO_NUMBERS
from feint.errors import BadInput, UnknownName
from feint.signature import Column, Columns

ROW_NAMES = r"unnamed: ?\d+|index|__index_level_\d+__|row_?(id|num|number|names)?|id|.*_id|.*Id|uuid|guid|"
SIGN = r"(?:[$€£¥%]|EUR|USD|CHF|GBP)?"
DRESSED = (
    rf"{SIGN}\s?-?(?:0|[1-9]\d{{0,2}})(?:[.,'’ \u00a0\u202f]?\d{{3}})*(?:[.,]\d+)?\s?{SIGN}"  # 1,234.50; € 12; 7 %
)
DIFFERENT = 20  # so many such words or more are no categories
NUMBERED = r"([A-Za-z_ ]*?)(\d+)"  # x0, f1, Column_2: names that tell a position alone
Table = Mapping[str, Sequence[Any]]


def from_rows(table: Table, domain: Columns | None) -> tuple[np.ndarray, Columns, tuple[Remark, ...]]:
    """Return the rows of a table as inputs.

    Args:
        table: Values of each column, without the label.
        domain: The model's columns; None describes them from the table, without those that name rows.

    Returns:
        Inputs (N, D) float64, their domain, and remarks on what was dropped or matched otherwise than by name.

    Raises:
        BadInput: A column is missing, or a value is missing where the model takes none, or is no number.
    """
    if domain is None:
        table, remarks = without_row_names(table)
        if not table:
            raise BadInput("a table of labels alone", "columns of numbers or words beside the label", "check the file")
        table = {name: _clean(values, None) for name, values in table.items()}
        domain = Columns.describe(table)
    else:
        table, remarks = _matched(table, domain)
        for column in domain.columns:
            if column.categories is None:
                _check_numbers(column.name, table[column.name])
        table = {c.name: _clean(table[c.name], c) for c in domain.columns}
    x = domain.from_table(table)
    domain.check(x)
    return x, domain, remarks


def described(*parts: Table) -> Columns:
    """Return the domain of the first part, with the categories and missing values of all.

    Raises:
        BadInput: The parts differ in their columns.
    """
    if any(part.keys() != parts[0].keys() for part in parts):
        different = {name for part in parts for name in part.keys() ^ parts[0].keys()}
        raise BadInput(f"{listed(sorted(different))} in one part alone", "the same columns in all", "mend them")
    parts = tuple({name: _clean(values, None) for name, values in part.items()} for part in parts)
    first = parts[0]
    whole = Columns.describe({name: [value for part in parts for value in part[name]] for name in first})
    categories = {c.name: c.categories for c in whole.columns if c.categories is not None}
    columns = Columns.describe(first, categories).columns
    both = zip(columns, whole.columns, strict=True)
    return Columns(tuple(replace(c, optional=c.optional or every.optional) for c, every in both))


def without_row_names(table: Table) -> tuple[Table, tuple[Remark, ...]]:
    """Return a table without columns that name rows, and remarks on them.

    The index that pandas writes, a number with a name like "id" and a word are such a column where the value of each
    row is different: nothing can be learned from a value that never comes again, and no client knows it.
    """
    for name, values in table.items():
        _check_numbers(name, values)
    names = [name for name, values in table.items() if _names_rows(name, values)]
    remarks = (Remark("row names", {"columns": listed(names)}),) if names else ()
    return {name: values for name, values in table.items() if name not in names}, remarks


def _check_numbers(name: str, values: Sequence[Any]) -> None:
    """Raise `BadInput` for numbers that are words, since they have separators of thousands, signs or units."""
    words = {value.strip() for value in values if isinstance(value, str)} - {*MISSING, *NO_NUMBERS}
    if len(words) < DIFFERENT or not all(re.fullmatch(DRESSED, word) for word in words):
        return
    dressed = [word for word in words if not re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", word)]
    if len(dressed) >= DIFFERENT:
        raise BadInput(
            f"the column {name!r} of words like {min(dressed)!r}", "plain numbers, like 1234.5",
            "write them without separators of thousands, signs and units",
        )  # fmt: skip


def _names_rows(name: str, values: Sequence[Any]) -> bool:
    if len(values) < 3 or len(set(values)) < len(values):
        return False
    if re.fullmatch(ROW_NAMES, name) or re.fullmatch(ROW_NAMES, name.lower()):
        return all(isinstance(value, (int, str)) for value in values)
    return all(isinstance(value, str) for value in values)


def _matched(table: Table, domain: Columns) -> tuple[Table, tuple[Remark, ...]]:
    """Return the model's columns of a table, by name, and remarks on the others."""
    spelled = spelled_names(table, domain.names)
    absent = [name for name in domain.names if name not in spelled]
    if len(absent) == len(domain.names) and _by_position(table, domain):
        names = [name for name in table if not _names_rows(name, table[name])][: len(domain.names)]
        remark = Remark("columns by position", {"columns": listed(names), "count": str(len(names))})
        return {c: table[name] for c, name in zip(domain.names, names, strict=True)}, (remark,)
    extra = [name for name in table if name not in spelled.values()]
    if absent:
        raise _unlike(absent, extra, domain)
    remarks = []
    renamed = [f"{name} = {model}" for model, name in spelled.items() if name != model]
    if renamed:
        remarks.append(Remark("columns renamed", {"columns": listed(renamed)}))
    if extra:
        remarks.append(Remark("columns left out", {"columns": listed(extra), "count": str(len(extra))}))
    order = [name for name in table if name in spelled.values()]
    if order != [spelled[name] for name in domain.names]:
        remarks.append(Remark("columns in another order", {}))
    return {model: table[name] for model, name in spelled.items()}, tuple(remarks)


def spelled_names(spellings: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Return how data spell the names of columns.

    Args:
        spellings: Names of the data's columns.
        names: Names of the model's columns.

    Returns:
        The data's name of each of `names` that occurs; case, spaces and punctuation may differ.
    """
    spellings = [*spellings]
    loose: dict[str, list[str]] = {}
    for name in spellings:
        if name not in names:
            loose.setdefault(re.sub(r"[\W_]", "", name).casefold(), []).append(name)
    spelled = {}
    for name in names:
        alike = loose.get(re.sub(r"[\W_]", "", name).casefold(), [])
        if name in spellings:
            spelled[name] = name
        elif len(alike) == 1:
            spelled[name] = alike.pop()
    return spelled


def _by_position(table: Table, domain: Columns) -> bool:
    """Return whether either side names positions alone, and there are as many columns."""
    names = [name for name in table if not _names_rows(name, table[name])]
    return len(names) == len(domain.names) and (_numbered(names) or _numbered(domain.names))


def _numbered(names: Sequence[str]) -> bool:
    matches = [re.fullmatch(NUMBERED, name) for name in names]
    if not all(matches):
        return False
    numbers = [int(match[2]) for match in matches if match]
    return len({match[1] for match in matches if match}) == 1 and numbers in (
        list(range(len(names))),
        list(range(1, len(names) + 1)),
    )


def _unlike(absent: Sequence[str], extra: Sequence[str], domain: Columns) -> BadInput:
    got = f"no column {listed(absent)}" + (f", and the unknown {listed(extra)}" if extra else "")
    expected = f"the {len(domain.names)} columns that the model takes"
    if len(absent) == 1 and extra:
        near = UnknownName.among("column", absent[0], extra).args[2]
        return BadInput(
            got, expected, f"rename or add them; {near}" if near.startswith("did") else "rename or add them"
        )
    return BadInput(got, expected, "rename or add them")


def _clean(values: Sequence[Any], column: Column | None) -> Sequence[Any]:
    """Return the values of one column: words for missing values as None, and words as the model spells them."""
    categories = {*(column.categories or ())} if column is not None else set()
    numeric = column is not None and column.categories is None
    padded: dict[str, list[str]] = {}  # words by the numbers that CSV makes of them: 1234 of "01234"
    for name in sorted(categories):
        if re.fullmatch(r"0\d+", name):
            padded.setdefault(name.lstrip("0") or "0", []).append(name)
    spelled = {value: _cell(value, categories, padded, numeric=numeric) for value in set(values)}
    return [spelled[value] for value in values]


def _cell(value: Any, categories: set[str], padded: Mapping[str, Sequence[str]], *, numeric: bool) -> Any:
    """Return one value as `Columns.from_table` takes it."""
    if value is None or value != value:
        return None
    if not isinstance(value, str):
        return _category(value, categories, padded)
    word = value if value in categories else value.strip()
    if word not in categories and (word in MISSING or (word in NO_NUMBERS and (numeric or categories))):
        return None
    return word


def _category(value: Any, categories: set[str], padded: Mapping[str, Sequence[str]]) -> Any:
    """Return a number or a boolean as a category spells it, or as it is where none does.

    Raises:
        BadInput: Categories differ by their leading zeros alone.
    """
    number, *others = _spellings(value)
    alike = [text for text in (number, *padded.get(number, ())) if text in categories]
    if len(alike) > 1:
        raise BadInput(
            f"the number {number} for a column of the words {listed(alike)}", "words, which keep their leading zeros",
            "write the table as Parquet, with a column of strings",
        )  # fmt: skip
    return next((text for text in (*alike, *others) if text in categories), value)


def _spellings(value: Any) -> tuple[str, ...]:
    """Return a number or a boolean as a category may spell it."""
    if isinstance(value, bool):
        return str(value), str(value).lower(), str(int(value))
    if not float(value).is_integer():
        return (str(value),)
    flag = str(bool(value)) if value in (0, 1) else str(value)
    return str(int(value)), str(float(value)), flag, flag.lower()
