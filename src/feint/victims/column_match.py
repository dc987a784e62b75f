"""Match of the columns of data with those of a model, by name or by position."""

import re
from dataclasses import replace

from feint.data.labels import COLUMNS as LABELS
from feint.data.tabular import spelled_names
from feint.errors import BadInput
from feint.signature import Column, Columns


def match_columns(domain: Columns, columns: tuple[Column, ...]) -> Columns:
    """Return the domain of data with a model's columns, in the model's order, matched by name.

    Args:
        domain: Domain of the data.
        columns: Columns of the model; those called x0, x1, … have no names, and match by position.

    Returns:
        Columns of the data, with the model's categories and whether values may be missing. Names are the model's, which
        may differ in case, spaces and punctuation; those of the data where the model's file has _ for all but letters.

    Raises:
        BadInput: A column is missing. Further columns are left out.
    """
    by_name = {column.name: column for column in domain.columns}
    names = [column.name for column in columns]
    nameless = names == [f"x{i}" for i in range(len(names))]
    if nameless and len(names) == len(domain.columns):
        return domain
    if nameless:
        got = f"{len(domain.columns)} columns, {', '.join(domain.names[:8])}"
        raise BadInput(got, f"{len(names)}, as the model takes", "add or remove columns, in the order of its training")
    spelled = spelled_names(domain.names, names)
    absent = [name for name in names if name not in spelled]
    extra = [name for name in domain.names if name not in spelled.values()]
    if absent:
        parts = [f"no column {', '.join(absent[:8])}"]
        parts += [f"the unknown column {', '.join(extra[:8])}"] if extra else []
        taken = next((name for name in absent if name.lower() in LABELS), None)
        remedy = f"name the column of the label: --label COLUMN, as the model takes {taken!r}" if taken else ""
        raise BadInput(
            " and ".join(parts), f"the model's {len(names)} columns", remedy or "rename, add or remove columns"
        )
    return Columns(tuple(_merge(by_name[spelled[column.name]], column) for column in columns))


def _merge(data: Column, model: Column) -> Column:
    """Return a column of data with the model's name, and with the categories of the model, if the model knows them."""
    mangled = re.sub(r"\W", "_", data.name) == model.name  # as LightGBM and skl2onnx write names
    data = replace(data, name=data.name if mangled else model.name, optional=model.optional)
    if not model.categories or model.categories == data.categories:
        return data
    shares = dict(zip(data.categories or (), data.shares or (), strict=False))
    published = tuple(shares.get(name, 0.0) for name in model.categories) if shares else None
    return replace(
        data, categories=model.categories, shares=published, integer=False, low=None, high=None, mean=None,
        deviation=None,
    )  # fmt: skip
