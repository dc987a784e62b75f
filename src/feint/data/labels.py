"""Labels as owners write them, and the classes of a model that they stand for."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feint.data.remarks import listed
from feint.errors import BadInput, UnknownName

COLUMNS = "label", "fine_label", "labels", "target", "class", "y"  # columns that hold the class, the first one present
MOST_CLASSES = 1000  # more labels, and more than half as many as rows, are a regression target or names of rows


@dataclass(frozen=True)
class Labels:
    """Labels (N,) of a file.

    Attributes:
        names: Different labels as text: numbers by value, words in natural order (1, 2, 10), or as the file lists them.
        codes: Position (N,) of each row's label in `names`.
        absent: Names of classes without any row, like those of empty directories.
        listed: Whether the file lists its classes, so that the order of `names` is theirs.
    """

    names: tuple[str, ...]
    codes: np.ndarray
    absent: tuple[str, ...] = ()
    listed: bool = False

    @property
    def numbers(self) -> tuple[int, ...] | None:
        """Labels as whole numbers, False and True as 0 and 1; None for words, and where the file lists its classes."""
        values = {"False": 0, "True": 1}
        if self.listed or not all(name in values or re.fullmatch(r"-?\d{1,9}", name) for name in self.names):
            return None
        return tuple(values[name] if name in values else int(name) for name in self.names)


@dataclass(frozen=True)
class Assignment:
    """Class of a model for each label.

    Attributes:
        rule: "name", "number", "number from 1", "order", or "text order" (1, 10, 2).
        classes: Index of the class for each of `Labels.names`.
    """

    rule: str
    classes: tuple[int, ...]

    def of(self, labels: Labels) -> np.ndarray:
        """Return the class indices (N,) int64 of labels."""
        return np.array(self.classes, np.int64)[labels.codes]


def label_column(names: Sequence[str], chosen: str | None = None, *, inputs: Sequence[str] = ()) -> str | None:
    """Return the column that holds the label. A chosen one that is not there raises `UnknownName`.

    Args:
        names: Names of all columns.
        chosen: Name of the column, where it is known.
        inputs: Columns that the model takes, which hold no label.

    Returns:
        The chosen column, or the first of `COLUMNS` in any case of letters; None where there is none.
    """
    if chosen is not None:
        return _one_of(names, chosen)
    lower = {name.strip().lower(): name for name in reversed(names) if name not in inputs}
    return next((lower[name] for name in COLUMNS if name in lower), None)


def read_labels(values: Any, classes: Sequence[str] | None = None) -> Labels:
    """Read labels: whole numbers of any type, booleans, words, or one-hot rows.

    Args:
        values: Labels (N,) or one-hot rows (N, K), an array or a list; None and NaN are missing.
        classes: Classes that the file lists, of which the labels are indices.

    Returns:
        The labels.

    Raises:
        BadInput: A label is missing, is a fraction, or names no class.
    """
    cells = _flat(values)
    missing = [i for i, cell in enumerate(cells) if cell is None or cell != cell or cell == ""]
    if missing:
        raise BadInput(
            f"{len(missing):,} rows without a label, the first of them row {missing[0] + 1:,}",
            "a label in each row", "leave these rows out, or label them",
        )  # fmt: skip
    if classes is not None:
        return _indices(cells, tuple(map(str, classes)))
    texts = [_text(cell) for cell in cells]
    names = tuple(sorted({*texts}, key=natural))
    position = {name: i for i, name in enumerate(names)}
    return Labels(names, np.array([position[text] for text in texts], np.int64))


def assignments(labels: Labels, classes: int | Sequence[str] | None = None) -> tuple[Assignment, ...]:
    """Return every plausible assignment of labels to a model's classes, the most plausible first.

    Names count first; then numbers from 0 or from 1; then the order of the labels. `feint inspect` measures which one
    is right. Where some labels are names of classes, and one is not, `UnknownName` is raised.

    Args:
        labels: The labels.
        classes: Names of the model's classes, or their number K; None where the model is unknown.

    Returns:
        The assignments, all different.

    Raises:
        BadInput: There is no plausible assignment; or the model is unknown, and almost every row has another label.
    """
    names, k = (None, classes) if classes is None or isinstance(classes, int) else (tuple(classes), len(classes))
    if k is None and len(labels.names) > MOST_CLASSES and 2 * len(labels.names) > len(labels.codes):
        raise BadInput(
            f"{len(labels.names):,} different labels in {len(labels.codes):,} rows", "classes",
            "choose the column of the class (--label): Feint protects classifiers, not regression",
        )  # fmt: skip
    options = {}
    for assignment in _options(labels, names, k):
        options.setdefault(assignment.classes, assignment)
    if not options:
        known = f"{k} classes" if names is None else f"{k} classes ({listed(names)})"
        raise BadInput(
            f"{len(labels.names)} different labels ({listed(labels.names)})", f"labels of the model's {known}",
            "number the labels from 0, or write the model's names of the classes",
        )  # fmt: skip
    return tuple(options.values())


def united(parts: Sequence[Labels]) -> tuple[Labels, ...]:
    """Return the labels of several parts of one set with the same names, those of all parts."""
    if all(part.names == parts[0].names for part in parts):
        return tuple(parts)
    names = tuple(sorted({name for part in parts for name in part.names}, key=natural))
    position = {name: i for i, name in enumerate(names)}
    return tuple(
        Labels(names, np.array([position[name] for name in part.names], np.int64)[part.codes]) for part in parts
    )


def class_names(labels: Labels, assignment: Assignment, count: int | None = None) -> tuple[str, ...]:
    """Return the names of the classes that labels are assigned to; a class without a label is called by its number.

    Args:
        labels: The labels.
        assignment: Their classes.
        count: Number of classes, where it is known.

    Returns:
        The names.
    """
    named = dict(zip(assignment.classes, labels.names, strict=True))
    return tuple(named.get(i, str(i)) for i in range(count or max(named) + 1))


def natural(text: str) -> tuple[object, ...]:
    """Return the key by which 1, 2 and 10 are in this order, and -1 is before 0."""
    if re.fullmatch(r"-?\d+", text):
        return 0, int(text), ()
    return 1, 0, tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", text))


def _one_of(names: Sequence[str], name: str) -> str:
    if name not in names:
        raise UnknownName.among("label column", name, names)
    return name


def _options(labels: Labels, names: tuple[str, ...] | None, k: int | None) -> Iterator[Assignment]:
    numbers, n = labels.numbers, len(labels.names)
    if names is not None and (matched := _by_name(labels.names, names, strict=numbers is None)):
        yield Assignment("name", matched)
    if numbers is not None:
        low, high = min(numbers), max(numbers)
        if low == 0 if k is None else low >= 0 and high < k:
            yield Assignment("number", numbers)
        if low == 1 if k is None else low >= 1 and high <= k:
            yield Assignment("number from 1", tuple(number - 1 for number in numbers))
    if k in (None, n):
        yield Assignment("order", tuple(range(n)))
        if not labels.listed:
            yield Assignment("text order", _ranks(labels.names))
    elif n + len(labels.absent) == k:
        everything = tuple(sorted({*labels.names, *labels.absent}, key=natural))
        yield Assignment("order", tuple(everything.index(name) for name in labels.names))
        text_order = sorted(everything)
        yield Assignment("text order", tuple(text_order.index(name) for name in labels.names))


def _by_name(labels: Sequence[str], classes: Sequence[str], *, strict: bool) -> tuple[int, ...] | None:
    """Return the class of each label by its name, None where not every label is a name; `strict` refuses a mixture."""
    exact = {name: i for i, name in enumerate(classes)}
    loose = {loose_name(name): i for i, name in enumerate(classes)}
    if len(loose) < len(classes):
        loose = {}
    matched = [exact.get(label, loose.get(loose_name(label))) for label in labels]
    absent = [label for label, index in zip(labels, matched, strict=True) if index is None]
    if not absent:
        return tuple(index for index in matched if index is not None)
    if strict and len(absent) < len(labels):
        raise UnknownName.among("label", absent[0], classes)
    return None


def loose_name(name: str) -> str:
    """Return a name without differences of Unicode form, case, and spaces at its ends."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def _ranks(names: Sequence[str]) -> tuple[int, ...]:
    ordered = sorted(names)
    return tuple(ordered.index(name) for name in names)


def _flat(values: Any) -> list[Any]:
    """Return the cells of labels; one-hot rows become the positions of their ones."""
    rows = values if isinstance(values, np.ndarray) else np.array(values, object) if _are_lists(values) else None
    if rows is None or (rows.ndim == 1 and rows.dtype != object):
        return list(values)
    if rows.ndim == 2 and rows.shape[1] == 1:
        return rows[:, 0].tolist()
    try:
        hot = np.array([np.asarray(row, np.float64) for row in rows])
    except (TypeError, ValueError):
        hot = np.empty(0)
    if hot.ndim != 2 or not np.isin(hot, (0, 1)).all() or not (hot.sum(1) == 1).all():
        raise BadInput(
            f"labels of shape {np.shape(rows)}", "one class for each row: (N,), or one-hot rows (N, K)",
            "choose one label: Feint protects classifiers of one class an input",
        )  # fmt: skip
    return hot.argmax(1).tolist()


def _are_lists(values: Any) -> bool:
    return any(isinstance(value, (list, tuple, np.ndarray)) for value in values)


def _text(cell: Any) -> str:
    """Return a label as text; a float must be whole."""
    if isinstance(cell, (bool, np.bool_)):
        return str(bool(cell))
    if isinstance(cell, (float, np.floating)):
        if not float(cell).is_integer():
            raise BadInput(
                f"the label {float(cell):g}", "classes: whole numbers, booleans or words",
                "choose the column of the class (--label): Feint protects classifiers, not regression",
            )  # fmt: skip
        return str(int(cell))
    if isinstance(cell, bytes):
        return cell.decode(errors="replace").strip()
    if isinstance(cell, Mapping):
        raise BadInput("labels with several fields", "one class for each row", "choose another column (--label)")
    return str(cell).strip()


def _indices(cells: Sequence[Any], classes: tuple[str, ...]) -> Labels:
    """Return labels that are indices of the classes that their file lists."""
    index = {name: i for i, name in enumerate(classes)} | {str(i): i for i in range(len(classes))}
    codes = [index.get(_text(cell)) for cell in cells]
    if None in codes:
        bad = _text(cells[codes.index(None)])
        raise BadInput(
            f"the label {bad!r}", f"0 to {len(classes) - 1}, of the file's {len(classes)} classes", "label these rows"
        )
    return Labels(classes, np.array(codes, np.int64), listed=True)
