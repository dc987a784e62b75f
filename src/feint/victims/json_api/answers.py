"""Answers of JSON APIs: where their scores or labels are, and what is missing or rounded."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feint.data.labels import loose_name
from feint.errors import BadInput, UnknownName, one_line
from feint.victims.outputs import label_text

SCORES = "probabilities", "scores", "probs", "proba", "confidences", "logits", "predictions", "outputs", "output"
LABELS = (
    "label", "class", "prediction", "predicted_class", "predicted_label", "class_name", "category", "class_id",
    "label_id", "result",
)  # fmt: skip
CONFIDENCES = "score", "confidence", "probability", "prob"
SCORED = "labels", "classes", "class_names", "categories"  # names of the scores, in a list beside theirs
ERRORS = "error", "errors", "exception"
VALUES = "probabilities", "percent", "logits"
SHOWN = 160  # characters of an answer that an error shows
DECIMALS = 4  # so many, or fewer, are rounded scores
LOGITS = 'set values = "logits" in [answer] of victim.toml, or point to the label alone'
PERCENT = 100.0
IN_PERCENT = 'set values = "percent" in [answer] of victim.toml, if they are percentages'
DECIMAL = r"-?\d+(\.\d+)?([eE]-?\d+)?( ?%)?"
ENOUGH = 10  # scores from which rounding can be told


@dataclass(frozen=True)
class Pointers:
    """JSON Pointers (RFC 6901) into an answer; None is found by looking.

    Attributes:
        items: List with an answer for each input of a batch.
        scores: Scores in an answer: a list, with the labels in another one beside it where their order is its own; an
            object by label, a list of {label, score} or [label, score], or the one number of two classes.
        label: Label in an answer.
        score: Probability of that label.
        values: "probabilities", "percent" or "logits".
    """

    items: str | None = None
    scores: str | None = None
    label: str | None = None
    score: str | None = None
    values: str = "probabilities"

    def __post_init__(self) -> None:
        if self.values not in VALUES:
            raise UnknownName.among("kind of values", self.values, VALUES)
        if self.score is not None and self.label is None:
            raise BadInput("score without label", "the label whose probability it is", "add label to [answer]")


@dataclass
class AnswerReader:
    """Reader of answers as rows of scores.

    Attributes:
        pointers: Where scores and labels are.
        classes: Names of the classes.
        remarks: What was noticed, by topic.
    """

    pointers: Pointers
    classes: tuple[str, ...]
    remarks: dict[str, str] = field(default_factory=dict)
    _decimals: int = 0
    _count: int = 0

    def read(self, document: Any, count: int) -> np.ndarray:
        """Return the scores (n, K) of an answer to `count` inputs; one of another form raises `BadInput`."""
        items = self._items(document, count)
        return np.stack([self._row(item) for item in items])

    def _items(self, document: Any, count: int) -> list[Any]:
        pointer = self.pointers.items
        if pointer is None and count == 1 and not (isinstance(document, list) and len(document) == 1):
            return [document]
        node = document if pointer is None else find(document, pointer)
        if pointer is None and isinstance(node, dict):
            lists = [value for value in node.values() if isinstance(value, list) and len(value) == count]
            node = lists[0] if len(lists) == 1 else node
        if not isinstance(node, list) or len(node) != count:
            raise BadInput(
                f"an answer to {count} inputs of another form: {_shown(document)}", f"a list of {count} answers",
                "point to it: items in [answer] of victim.toml, like /predictions",
            )  # fmt: skip
        return node

    def _row(self, item: Any) -> np.ndarray:
        pointers = self.pointers
        if pointers.scores is not None:
            scores = find(item, pointers.scores)
            return self._scores(scores, _names_beside(find(item, pointers.scores.rpartition("/")[0]), scores))
        if pointers.label is not None:
            score = None if pointers.score is None else find(item, pointers.score)
            return self._label(find(item, pointers.label), score)
        return self._guess(item, item)

    def _guess(self, node: Any, item: Any) -> np.ndarray:
        """Return the scores of an answer of a usual form."""
        if isinstance(node, (str, bool, int)):
            return self._label(node, None)
        if isinstance(node, float):
            return self._scores(node)
        if isinstance(node, list) and node:
            return self._guess(node[0], item) if len(node) == 1 and not _entry(node[0]) else self._scores(node)
        if isinstance(node, dict):
            names = {name.lower(): name for name in node}
            scores = next((names[n] for n in SCORES if n in names and isinstance(node[names[n]], (list, dict))), None)
            if scores is not None:
                labels = _names_beside(node, node[scores])
                return self._guess(node[scores], item) if labels is None else self._scores(node[scores], labels)
            label = next((names[n] for n in LABELS if n in names), None)
            score = next((names[n] for n in CONFIDENCES if n in names), None)
            if label is not None and isinstance(node[label], float) and not node[label].is_integer():
                return self._scores(node[label])
            if label is not None and isinstance(node[label], (str, bool, int, float)):
                return self._label(node[label], None if score is None else node[score])
            if error := _first(node, ERRORS):
                raise BadInput(
                    f"an error instead of an answer: {_shown(error)}", "scores or a label", "ask its operator"
                )
            if len(node) > 1 and all(_is_number(value) for value in node.values()):
                return self._scores(node)
            if len(node) == 1:
                return self._guess(next(iter(node.values())), item)
        raise BadInput(
            f"an answer of no usual form: {_shown(item)}", "scores or a label",
            'point to them in victim.toml: [answer] scores = "/…" or label = "/…"',
        )  # fmt: skip

    def _scores(self, node: Any, labels: Sequence[str] | None = None) -> np.ndarray:
        """Return scores in the order of the classes, from a list (of `labels`), from entries, or from one number."""
        if _is_number(node):
            if len(self.classes) != 2:
                raise BadInput(f"one score, {node}", f"scores of {len(self.classes)} classes", "point to all of them")
            return self._complete({1: self._number(node)} | ({0: 0.0} if self.pointers.values == "logits" else {}))
        entries = _entries(node, labels)
        if entries is not None:
            scores = {self._class(label): self._number(score) for label, score in entries}
            if len(scores) == len(entries):
                return self._complete(scores)
        plain = entries is None and isinstance(node, list) and all(map(_is_number, node))
        if not plain or len(node) != len(self.classes):
            raise BadInput(
                f"scores of another form: {_shown(node)}", f"{len(self.classes)} numbers, or labels with their scores",
                "mend scores in [answer], or classes, of victim.toml",
            )  # fmt: skip
        return self._complete(dict(enumerate(map(self._number, node))))

    def _label(self, label: Any, score: Any) -> np.ndarray:
        """Return the scores of one label: all of the mass without a probability, else the rest is spread evenly."""
        k, count = self._class(label), len(self.classes)
        if score is None:
            self.remarks["labels"] = "the API returns labels alone"
            return np.eye(count, dtype=np.float32)[k]
        p = self._number(score) if _is_number(score) else math.nan
        if not 1 / count - 1e-3 <= p <= 1 + 1e-6:
            raise BadInput(
                f"the score {score!r} of the label {label!r}", f"its probability, from 1/{count} to 1",
                "point to the label alone: it is enough" if not 1 < p <= PERCENT else IN_PERCENT,
            )  # fmt: skip
        return self._complete({k: p})

    def _class(self, label: Any) -> int:
        """Return the class of a label, by its name in any case of letters, or by its number where names are none."""
        text = label_text(label)
        if text in self.classes:
            return self.classes.index(text)
        if text.isdecimal() and int(text) < len(self.classes) and not any(map(str.isdecimal, self.classes)):
            return int(text)
        alike = [k for k, name in enumerate(self.classes) if loose_name(name) == loose_name(text)]
        if len(alike) == 1:
            return alike[0]
        got, expected, _ = UnknownName.among("label of an answer", text, self.classes).args
        raise UnknownName(got, expected, "mend classes or answer in victim.toml")

    def _complete(self, scores: Mapping[int, float]) -> np.ndarray:
        """Return a row (K,) with the scores that the answer leaves out, and without what rounding took or gave."""
        count = len(self.classes)
        if not all(map(math.isfinite, scores.values())):
            raise BadInput(
                f"scores {[*scores.values()]}", "finite numbers", "ask its operator: the model has overflowed"
            )
        row = np.zeros(count)
        row[list(scores)] = list(scores.values())
        if self.pointers.values == "logits":
            if len(scores) < count:
                raise BadInput(f"logits of {len(scores)} of {count} classes", "all", "point to probabilities instead")
            return row.astype(np.float32)
        total, slack = row.sum(), 0.5 * len(scores) * 10.0**-self._decimals + 1e-3
        if row.min() < 0 or total > 1 + slack or (len(scores) == count and total < 1 - slack):
            raise BadInput(
                f"scores from {row.min():.3g} to {row.max():.3g} that sum to {total:.3g}",
                "probabilities, which sum to 1",
                IN_PERCENT if _is_percent(row, total, complete=len(scores) == count) else LOGITS,
            )  # fmt: skip
        if len(scores) == count - 1:
            row[np.setdiff1d(np.arange(count), list(scores))] = max(0.0, 1 - total)
        elif len(scores) < count:
            shown = f"the API returns {len(scores)} of {count} scores"
            self.remarks["top"] = f"{shown}: the rest of the mass is spread evenly over the others"
            rest = np.setdiff1d(np.arange(count), list(scores))
            row[rest] = max(0.0, 1 - total) / len(rest)
        return (row / row.sum()).astype(np.float32)

    def _number(self, score: Any) -> float:
        """Return a score, a percentage as a share."""
        percent = self.pointers.values == "percent" or str(score).endswith("%")
        self._note_rounding(str(score).strip("% "), 2 if percent else 0)
        return float(str(score).strip("% ")) / (PERCENT if percent else 1)

    def _note_rounding(self, text: str, shift: int) -> None:
        """Remark on the fewest decimals that all scores so far fit in, with `shift` more for percentages."""
        decimals = 9 if "e" in text else len(text.partition(".")[2])
        self._decimals = max(self._decimals, decimals + shift)
        self._count += 1
        self.remarks.pop("rounding", None)
        if self._count >= ENOUGH and self._decimals <= DECIMALS:
            self.remarks["rounding"] = (
                f"the API rounds its scores to {self._decimals} decimal{'s' if self._decimals != 1 else ''}"
            )


def find(document: Any, pointer: str) -> Any:
    """Return what a JSON Pointer finds in a document.

    Raises:
        BadInput: It finds nothing, or begins without a slash.
    """
    if pointer and not pointer.startswith("/"):
        raise BadInput(
            f"the pointer {pointer!r}", 'a JSON Pointer, like "/predictions/0/scores"', f'write "/{pointer}"'
        )
    node = document
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = node[name]
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            raise BadInput(
                f"no {name!r} in the answer {_shown(document)}", f"the pointer {pointer} to find something",
                "mend it in [answer] of victim.toml",
            )  # fmt: skip
    return node


def _is_percent(row: np.ndarray, total: float, *, complete: bool) -> bool:
    """Return whether a row may be of percentages: all of them, or the greatest few."""
    return row.min() >= 0 and (abs(total - PERCENT) < 2 if complete else row.max() > 1 and total < PERCENT + 2)


def _entry(node: Any) -> bool:
    """Return whether a node is a label with its score."""
    if isinstance(node, list):
        pair = len(node) == 2 and isinstance(node[0], str) and _is_number(node[1])
        return pair and not (_is_number(node[0]) and isinstance(node[1], str))  # "0.3", "0.7" are two scores
    return isinstance(node, dict) and _first(node, LABELS) is not None and _score(node) is not None


def _entries(node: Any, labels: Sequence[str] | None) -> list[tuple[Any, Any]] | None:
    """Return labels with their scores, None where the node is no such list or object."""
    if labels is not None and all(map(_is_number, node)):
        return [*zip(labels, node, strict=True)]
    if isinstance(node, list) and node and all(map(_entry, node)):
        return [(e[0], e[1]) if isinstance(e, list) else (_first(e, LABELS), _score(e)) for e in node]
    return [*node.items()] if isinstance(node, dict) and all(map(_is_number, node.values())) else None


def _names_beside(node: Any, scores: Any) -> list[str] | None:
    """Return the labels of a list of scores that stand in a list beside them."""
    names = _first(node, SCORED) if isinstance(node, dict) else None
    if not isinstance(names, list) or not isinstance(scores, list) or len(names) != len(scores):
        return None
    return names if all(isinstance(name, str) for name in names) else None


def _first(node: Mapping[str, Any], names: Sequence[str]) -> Any:
    lower = {name.lower(): value for name, value in node.items()}
    return next((lower[name] for name in names if name in lower), None)


def _score(entry: Mapping[str, Any]) -> Any:
    """Return the score of a label by a usual name, or the only number beside it; None where there is neither."""
    named = _first(entry, CONFIDENCES)
    numbers = [value for key, value in entry.items() if key.lower() not in LABELS and _is_number(value)]
    score = numbers[0] if named is None and len(numbers) == 1 else named
    return score if _is_number(score) else None


def _is_number(value: Any) -> bool:
    """Return whether a value is a number, or a text that spells a decimal one or a percentage."""
    if isinstance(value, str):
        return re.fullmatch(DECIMAL, value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(node: Any) -> str:
    return one_line(repr(node), SHOWN)
