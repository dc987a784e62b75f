"""Answers of JSON APIs: where their scores or labels are, and what is missing or rounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feint.errors import BadInput, UnknownName, one_line
from feint.victims.outputs import label_text

SCORES = "probabilities", "scores", "probs", "proba", "confidences", "logits", "predictions", "outputs", "output"
LABELS = (
    "label", "class", "prediction", "predicted_class", "predicted_label", "class_name", "category", "class_id",
    "label_id", "result",
)  # fmt: skip
CONFIDENCES = "score", "confidence", "probability", "prob"
SHOWN = 160  # characters of an answer that an error shows
DECIMALS = 4  # so many, or fewer, are rounded scores
ENOUGH = 10  # scores from which rounding can be told


@dataclass(frozen=True)
class Pointers:
    """JSON Pointers (RFC 6901) into an answer; None is found by looking.

    Attributes:
        items: List with an answer for each input of a batch.
        scores: Scores in an answer: a list, an object by label, a list of {label, score}, or the one number of two
            classes.
        label: Label in an answer.
        score: Probability of that label.
        values: "probabilities" or "logits".
    """

    items: str | None = None
    scores: str | None = None
    label: str | None = None
    score: str | None = None
    values: str = "probabilities"

    def __post_init__(self) -> None:
        if self.values not in ("probabilities", "logits"):
            raise UnknownName.among("kind of values", self.values, ("probabilities", "logits"))
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
            return self._scores(find(item, pointers.scores))
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
                return self._guess(node[scores], item)
            label = next((names[n] for n in LABELS if n in names), None)
            score = next((names[n] for n in CONFIDENCES if n in names), None)
            if label is not None and isinstance(node[label], float) and not node[label].is_integer():
                return self._scores(node[label])
            if label is not None and isinstance(node[label], (str, bool, int, float)):
                return self._label(node[label], None if score is None else node[score])
            if len(node) > 1 and all(_is_number(value) for value in node.values()):
                return self._scores(node)
            if len(node) == 1:
                return self._guess(next(iter(node.values())), item)
        raise BadInput(
            f"an answer of no usual form: {_shown(item)}", "scores or a label",
            'point to them in victim.toml: [answer] scores = "/…" or label = "/…"',
        )  # fmt: skip

    def _scores(self, node: Any) -> np.ndarray:
        """Return scores in the order of the classes, from a list, from entries by label, or from one number."""
        if _is_number(node):
            if len(self.classes) != 2:
                raise BadInput(f"one score, {node}", f"scores of {len(self.classes)} classes", "point to all of them")
            node = [1 - node, node] if self.pointers.values == "probabilities" else [0.0, node]
        if isinstance(node, list) and node and all(_entry(entry) for entry in node):
            node = {label_text(_first(entry, LABELS)): _first(entry, CONFIDENCES) for entry in node}
        if isinstance(node, dict) and all(map(_is_number, node.values())):
            return self._complete({self._class(name): float(score) for name, score in node.items()})
        if not isinstance(node, list) or not all(map(_is_number, node)) or len(node) != len(self.classes):
            raise BadInput(
                f"scores of another form: {_shown(node)}", f"{len(self.classes)} numbers, or labels with their scores",
                "mend scores in [answer], or classes, of victim.toml",
            )  # fmt: skip
        return self._complete(dict(enumerate(map(float, node))))

    def _label(self, label: Any, score: Any) -> np.ndarray:
        """Return the scores of one label: all of the mass without a probability, else the rest is spread evenly."""
        k, count = self._class(label), len(self.classes)
        if score is None:
            self.remarks["labels"] = "the API returns labels alone"
            return np.eye(count, dtype=np.float32)[k]
        if not _is_number(score) or not 1 / count - 1e-3 <= score <= 1 + 1e-6:
            raise BadInput(
                f"the score {score!r} of the label {label!r}", f"its probability, from 1/{count} to 1",
                "leave score out of [answer]: labels alone are fine",
            )  # fmt: skip
        return self._complete({k: float(score)})

    def _class(self, label: Any) -> int:
        """Return the class of a label, by its name or number."""
        text = label_text(label)
        if text in self.classes:
            return self.classes.index(text)
        if text.isdecimal() and int(text) < len(self.classes):
            return int(text)
        unknown = UnknownName.among("label of an answer", text, self.classes)
        raise unknown

    def _complete(self, scores: Mapping[int, float]) -> np.ndarray:
        """Return a row (K,) with the scores that the answer leaves out, and without what rounding took or gave."""
        self._note_rounding(scores.values())
        count = len(self.classes)
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
                'set values = "logits" in [answer] of victim.toml, or point to the label alone',
            )  # fmt: skip
        if len(scores) == count - 1:
            row[np.setdiff1d(np.arange(count), list(scores))] = max(0.0, 1 - total)
        elif len(scores) < count:
            shown = f"the API returns {len(scores)} of {count} scores"
            self.remarks["top"] = f"{shown}: the rest of the mass is spread evenly over the others"
            rest = np.setdiff1d(np.arange(count), list(scores))
            row[rest] = max(0.0, 1 - total) / len(rest)
        return (row / row.sum()).astype(np.float32)

    def _note_rounding(self, scores: Any) -> None:
        """Remark on the fewest decimals that all scores so far fit in."""
        for score in scores:
            text = repr(score)
            self._decimals = max(self._decimals, 9 if "e" in text else len(text.partition(".")[2]))
            self._count += 1
        self.remarks.pop("rounding", None)
        if self._count >= ENOUGH and self._decimals <= DECIMALS:
            self.remarks["rounding"] = f"the API rounds its scores to {self._decimals} decimals"


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


def _entry(node: Any) -> bool:
    """Return whether a node is a label with its score."""
    return isinstance(node, dict) and _first(node, LABELS) is not None and _is_number(_first(node, CONFIDENCES))


def _first(node: Mapping[str, Any], names: Sequence[str]) -> Any:
    lower = {name.lower(): value for name, value in node.items()}
    return next((lower[name] for name in names if name in lower), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(node: Any) -> str:
    return one_line(repr(node), SHOWN)
