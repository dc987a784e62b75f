"""Questions of a claim in a file, for a service that somebody asks elsewhere, and the answers that come back."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from feint._optional import require
from feint.data.folders import ROWS
from feint.data.tables import cells, read_table
from feint.errors import BadInput
from feint.oracle import CountingOracle
from feint.ownership.mark import Mark
from feint.ownership.plan import planned
from feint.query import Answer, Query
from feint.recipes.recipe import fingerprint
from feint.recipes.store import atomic_write
from feint.signature import Columns, Domain, Pixels, Text, Tokens, mark
from feint.transcript import Transcript

QUESTION, LABEL = "question", "label"
TABLES = ".csv", ".parquet", ".jsonl"


def is_answers(place: str) -> bool:
    """Return whether a suspect is a file of recorded answers: no model is a file of rows."""
    return "://" not in place and Path(place).suffix.lower() in ROWS


def questions(marks: Sequence[Mark], most: int) -> dict[str, np.ndarray]:
    """Return the inputs (…) about which a claim asks, in its order, by the names of the questions.

    An input of several marks is one question. Its name is a hash of it, which does not tell the mark.

    Args:
        marks: The marks, of one domain.
        most: Greatest number of questions of a claim.

    Returns:
        The inputs.

    Raises:
        BadInput: They are marked answers of more inputs: the claim chooses among all of them.
    """
    if any(mark.accounts and len(mark) > most for mark in marks):
        raise BadInput(
            f"{max(map(len, marks)):,} marked answers", f"{most:,} questions at most", "raise --budget",
        )  # fmt: skip
    named = dict[str, np.ndarray]()
    for each, rows in planned(marks, most):
        x = each.x[rows.start : rows.stop].numpy()
        for name, row in zip(_names(x), x, strict=True):
            named.setdefault(name, row)
    return named


def _names(x: np.ndarray) -> list[str]:
    """Return the names of inputs (N, …) as questions."""
    return [f"q{hashlib.sha256(code).hexdigest()[:12]}" for code in mark(x)]


def write_questions(place: Path, named: Mapping[str, np.ndarray], domain: Domain) -> None:
    """Write questions: a table of rows, texts or tokens, a directory of PNG images, or arrays.

    Args:
        place: File whose suffix tells the format; without a suffix a directory of images.
        named: The inputs by the names of the questions.
        domain: Their domain.

    Raises:
        BadInput: Inputs of this domain do not go into such a file, or it is there.
    """
    x, kind = np.stack([*named.values()]), place.suffix.lower()
    if kind not in (formats := _formats(domain)):
        expected = ", ".join(suffix or "a directory" for suffix in formats)
        raise BadInput(f"{place} for {domain.noun}", expected, "choose another --out")
    if place.exists():
        raise BadInput(f"{place}, which is there", "a new file or directory", "choose another --out")
    if isinstance(domain, Columns) and QUESTION in domain.names:
        raise BadInput(f"a model with a column {QUESTION!r}", "a name that is free", "rename it in model.toml")
    with atomic_write(place) as partial:
        if kind == "":
            partial.mkdir()
            for name, levels in zip(named, domain.encode(x), strict=True):
                channels_last = np.moveaxis(levels, 0, -1) if len(levels) > 1 else levels[0]
                require("PIL.Image", "data").fromarray(channels_last).save(partial / f"{name}.png")
        elif kind == ".npz":
            with partial.open("wb") as file:
                np.savez_compressed(file, question=np.array([*named]), x=domain.encode(x))
        else:
            _write_table(partial, kind, {QUESTION: [*named]} | _columns(domain, x))


def _formats(domain: Domain) -> tuple[str, ...]:
    """Return the suffixes of files that hold inputs of a domain; "" is a directory of images."""
    if isinstance(domain, Pixels):
        return ("", ".npz") if len(domain.shape) == 3 and domain.shape[0] in (1, 3) else (".npz",)
    return (".parquet", ".jsonl", ".npz") if isinstance(domain, Tokens) else TABLES


def _columns(domain: Domain, x: np.ndarray) -> dict[str, list[Any]]:
    """Return inputs (N, …) that are no images as columns of a table."""
    if isinstance(domain, Columns):
        return domain.to_table(x)
    return {"text": domain.to_strings(x)} if isinstance(domain, Text) else {"input_ids": x.tolist()}


def _write_table(file: Path, kind: str, columns: Mapping[str, list[Any]]) -> None:
    if kind == ".jsonl":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
        return
    table = require("pyarrow", "data").table(columns)
    if kind == ".csv":
        require("pyarrow.csv", "data").write_csv(table, file)
    else:
        require("pyarrow.parquet", "data").write_table(table, file)


def read_answers(file: Path, marks: Sequence[Mark]) -> dict[str, int]:
    """Read the labels that were answered, by the names of the questions; a question without a label is left out.

    Args:
        file: Table with the columns "question" and "label".
        marks: The marks whose questions they are.

    Returns:
        The labels.

    Raises:
        BadInput: A column is missing, there is no answer, a question is none of these marks or has two labels, or a
            label is no number of a class.
    """
    table, classes = read_table(file), marks[0].classes
    absent = [name for name in (QUESTION, LABEL) if name not in table.column_names]
    if absent:
        raise BadInput(
            f"{file} without a column {' and '.join(absent)}", f"the columns {QUESTION} and {LABEL}",
            "keep the names of the questions beside the answers",
        )  # fmt: skip
    known = {name for each in marks for name in _names(each.x.numpy())}
    labels = dict[str, int]()
    for name, answered in zip(map(str, cells(table, QUESTION)), cells(table, LABEL), strict=True):
        if name not in known:
            raise BadInput(f"the question {name} in {file}", "questions of this mark", "name the mark they are of")
        if (label := _label(answered, classes, file)) is None:
            continue
        if labels.setdefault(name, label) != label:
            raise BadInput(f"two labels of the question {name} in {file}", "one", "keep the first")
    if not labels:
        raise BadInput(f"{file} without a label", "one or more answers", "ask the questions of feint questions")
    return labels


def _label(answered: Any, classes: int, file: Path) -> int | None:
    """Return an answered label; None where the cell is empty."""
    text = "" if answered is None or answered != answered else str(answered).strip()  # NaN
    if not text:
        return None
    number = text.removesuffix(".0")  # of a column with empty cells
    if not (number.isdecimal() and int(number) < classes):
        raise BadInput(
            f"the label {text!r} in {file}", f"a class number from 0 to {classes - 1}",
            "write the number of the class in the order of the marked model",
        )  # fmt: skip
    return int(number)


class RecordedSuspect:
    """Suspect that was asked elsewhere, by the recorded labels of its answers.

    Args:
        labels: Labels by the names of the questions.
        marks: The marks whose questions they are.
    """

    def __init__(self, labels: Mapping[str, int], marks: Sequence[Mark]) -> None:
        self.labels, self.marks = labels, marks

    @property
    def digest(self) -> str:
        """Digest by which the same answers are recognised."""
        return fingerprint(sorted(self.labels.items()))

    def oracle(self, *, budget: int, past: Transcript | None = None) -> CountingOracle:
        """Return an oracle that ends after the last answer. Its answer to a question without one is a row of NaN."""
        answered = [
            name in self.labels
            for each, rows in planned(self.marks, budget)
            for name in _names(each.x[rows.start : rows.stop].numpy())
        ]
        if not any(answered):
            raise BadInput(
                f"no answer to the first {budget:,} questions", "one or more", "raise --budget",
            )  # fmt: skip
        return CountingOracle(self._send, budget=len(answered) - answered[::-1].index(True), past=past)

    def _send(self, query: Query) -> Answer:
        one_hot = torch.cat([torch.eye(self.marks[0].classes), torch.full((1, self.marks[0].classes), torch.nan)])
        return Answer(one_hot[[self.labels.get(name, -1) for name in _names(query.values)]])
