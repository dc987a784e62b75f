"""Tables under FEINT_DATA as papers divide them: training rows of which no pool is cut off, and test rows."""

import functools
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from feint.data import Split
from feint.data.folders import divided
from feint.data.tables import read_table
from feint.errors import MissingData
from feint.signature import Columns

Table = dict[str, list[Any]]


class WholeTable(NamedTuple):
    """Training and test rows of a table, and the names of its classes."""

    train: Split
    test: Split
    classes: tuple[str, ...]

    @property
    def domain(self) -> Columns:
        """Columns of the table, with the statistics of the training rows."""
        assert isinstance(self.train.domain, Columns)
        return self.train.domain


@functools.cache
def whole_table(name: str, label: str = "label") -> WholeTable:
    """Return a table of FEINT_DATA; a missing category counts as a category "?".

    Args:
        name: Name of the set.
        label: Column that is the class; every other one is an input.

    Returns:
        The table.

    Raises:
        MissingData: The set is not under FEINT_DATA.
    """
    folder = Path(os.environ.get("FEINT_DATA", "")).expanduser() / name
    if not folder.is_dir():
        raise MissingData(f"no table {name!r}", f"FEINT_DATA/{name}/train-*.parquet and test-*.parquet", "fetch it")
    train, test = (_read(divided(folder)[part]) for part in ("train", "test"))
    classes = tuple(sorted({*train[label], *test[label]}))
    labels = [np.array([classes.index(value) for value in part.pop(label)]) for part in (train, test)]
    categories = {c: sorted({*train[c], *test[c]}) for c in train if isinstance(train[c][0], str)}
    domain = Columns.describe(train, categories)
    inputs = [domain.from_table(part) for part in (train, test)]
    rows, held = (Split.of(x, y, domain=domain, name=name) for x, y in zip(inputs, labels, strict=True))
    return WholeTable(rows, held, classes)


def _read(files: Any) -> Table:
    """Return the values of each column of Parquet files."""
    table = read_table(*files).to_pydict()
    return {name: _filled(values) for name, values in table.items()}


def _filled(values: list[Any]) -> list[Any]:
    words = any(isinstance(value, str) for value in values)
    return ["?" if value is None else str(value) for value in values] if words else values
