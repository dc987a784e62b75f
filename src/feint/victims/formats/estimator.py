"""Classifiers of scikit-learn, from this process or from a file of skops."""

import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from feint._optional import require
from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData, NotFitted, one_line
from feint.signature import Column, Columns
from feint.victims.formats.estimator_content import TRUSTED, check_content, digest_of, objects
from feint.victims.formats.estimator_inputs import columns_of, mixes_texts, takes_text
from feint.victims.inputs import ColumnInputs
from feint.victims.outputs import label_text
from feint.victims.raw import Metadata, RawModel, TensorSpec

SCORES = {"predict_proba": "probabilities", "decision_function": "decisions", "predict": "labels"}
NOTE = "it has no predict_proba: softmax of its decision scores stands for probabilities, which are not calibrated"


class EstimatorModel(RawModel):
    """Fitted classifier of scikit-learn, or any object that is used like one.

    Its input "X" is a matrix (N, F) of numbers, an object matrix of numbers and names, or texts (N,). Its output "y"
    has probabilities, decision scores where it has none, or labels where it has neither.

    Args:
        estimator: The classifier.
        place: Where it comes from, for messages.

    Raises:
        NotFitted: The classifier is not fitted.
    """

    suffix = ".skops"

    def __init__(self, estimator: Any, place: str = "") -> None:
        self.estimator, self.place = estimator, place or type(estimator).__name__
        self._method = next((name for name in SCORES if hasattr(estimator, name)), None)
        if self._method == "decision_function" and _decides_by_pairs(estimator):
            self._method = "predict"
        self.metadata = self._describe()
        if self.metadata.columns:
            self.metadata = replace(self.metadata, columns=self._with_missing(self.metadata.columns))
        columns = self.metadata.columns
        text = not columns and takes_text(estimator)
        rows = (None, len(columns)) if columns else ()  # (): its first step says nothing of its inputs
        self.inputs = (TensorSpec("X", "string", (None,)) if text else TensorSpec("X", "any", rows),)
        shape = (None,) if self.metadata.values == "labels" else (None, len(self.metadata.classes) or None)
        self.outputs = (TensorSpec("y", "any" if self.metadata.values == "labels" else "float64", shape),)
        self.digest = digest_of(estimator)

    def _describe(self) -> Metadata:
        """Return classes, columns and kind of scores, or the task of an estimator that is no classifier."""
        task = _task(self.estimator, self._method)
        if task is not None:
            return Metadata(task=task)
        classes = getattr(self.estimator, "classes_", None)
        if classes is None:
            raise NotFitted(f"{self.place} without classes_", "a fitted classifier", "fit it, and write it again")
        if isinstance(classes, list) or np.ndim(classes) != 1 or _has_several_labels(self.estimator):
            return Metadata(task="multi-label classification")
        names = tuple(map(label_text, np.asarray(classes).tolist()))
        assert self._method is not None
        values = SCORES[self._method]
        note = NOTE if values == "decisions" else _threshold_note(self.estimator)
        return Metadata(names, columns_of(self.estimator), values, note=note)

    def _with_missing(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """Return the columns with whether the estimator takes a missing value in each: it is asked."""
        domain = Columns(columns)
        takes = ColumnInputs("X", categories="names")
        groups = [[i] for i in range(len(columns))] if len(columns) <= 64 else [[*range(len(columns))]]
        optional = set()
        for group in groups:
            x = domain.sample(1, 0)
            x[:, group] = np.nan
            try:
                self.run(takes.encode(torch.from_numpy(x), domain))
            except BadInput:
                continue
            optional.update(group)
        return tuple(replace(column, optional=i in optional) for i, column in enumerate(columns))

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"y": self._call(str(self._method), arrays["X"])}

    def own_labels(self, arrays: Mapping[str, Any]) -> np.ndarray | None:
        if not hasattr(self.estimator, "predict"):
            return None
        labels = map(label_text, self._call("predict", arrays["X"]).ravel().tolist())
        return np.array([self.metadata.classes.index(label) for label in labels])

    def _call(self, method: str, x: Any) -> np.ndarray:
        """Return what a method of the estimator makes of its inputs."""
        if isinstance(x, np.ndarray):
            x = self._frame(x)
        try:
            y = getattr(self.estimator, method)(x)
        except (
            ValueError,
            TypeError,
            KeyError,
            IndexError,
            AttributeError,
        ) as error:  # what scikit-learn raises for other inputs
            raise BadInput(
                f"inputs of shape {np.shape(x)} ({one_line(error, 200)}){self._origin(x, error)}",
                f"inputs that {self.place} takes", "check the columns, their categories and missing values",
            ) from error  # fmt: skip
        return np.asarray(y)

    def refit(self, arrays: Mapping[str, Any], labels: np.ndarray, path: Path, *, seed: int) -> None:
        """Fit a clone, with another seed where it takes one; see `Refittable`."""
        base, skops = require("sklearn.base", "sklearn"), require("skops.io", "sklearn")
        x = arrays["X"]
        try:
            clone = base.clone(self.estimator)
            seeded = [name for name in clone.get_params() if name.rpartition("__")[2] == "random_state"]
            clone.set_params(**dict.fromkeys(seeded, seed))
            clone.fit(self._frame(x) if isinstance(x, np.ndarray) else x, self.estimator.classes_[labels])
        except (ValueError, TypeError, AttributeError, IndexError) as error:
            raise BadRecipe(
                f"{self.place}, of which a clone cannot be fitted ({one_line(error, 160)})", "one that can",
                "train another model of its kind yourself",
            ) from error  # fmt: skip
        skops.dump(clone, path)

    def _origin(self, x: Any, error: Exception) -> str:
        """Return the column of the text that an error quotes as no number, in words, "" where none is found."""
        quoted = re.search(r"could not convert string to float: (['\"])(.*)\1", str(error))
        rows = np.asarray(x, object)
        if quoted is None or rows.ndim != 2 or rows.shape[1] != len(self.metadata.columns):
            return ""
        places = (rows == quoted[2]).any(0).nonzero()[0]
        return f", in the column {self.metadata.columns[places[0]].name!r}" if len(places) else ""

    def _frame(self, x: np.ndarray) -> Any:
        """Return an array as the estimator was fitted to it: as a data frame where it knows names of columns."""
        names = getattr(self.estimator, "feature_names_in_", None)
        if names is None or x.ndim != 2 or x.shape[1] != len(names):
            return x
        pandas = require("pandas", "sklearn")
        frame = pandas.DataFrame(x, columns=list(names)).infer_objects()
        words = {column.name for column in self.metadata.columns if column.categories}
        empty = [name for name in words if frame[name].dtype.kind == "f"]  # all missing: no numbers
        return frame.astype(dict.fromkeys(empty, object))


def load_estimator(path: Path | str) -> EstimatorModel:
    """Load a classifier of scikit-learn from a file of skops.

    Args:
        path: The file.

    Returns:
        The classifier.

    Raises:
        MissingData: There is no such file, or skops is not installed.
        DamagedFile: The file is broken, or a tree in it has nodes that lead out of it.
        BadInput: The file has types that are not scikit-learn's. None of them is imported or run.
        NotFitted: The classifier is not fitted.
    """
    path = Path(path)
    skops = require("skops.io", "sklearn")
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "a file that skops wrote", "check the path")
    try:
        foreign = set(skops.get_untrusted_types(file=path)) - TRUSTED
        if foreign:
            raise BadInput(
                f"{path}, which holds {', '.join(sorted(foreign))}",
                "types of scikit-learn and NumPy that are data alone",
                "if you trust the file, load it in a function of yours: package.module:function",
            )
        estimator = skops.load(path, trusted=sorted(TRUSTED))
        check_content(estimator)
        model = EstimatorModel(estimator, str(path))
        model.repeatable = True
        return model
    except (BadInput, NotFitted):
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, zipfile.BadZipFile) as error:
        raise DamagedFile(
            f"{path} ({one_line(error, 200)})", "a classifier that skops wrote", "write it again: skops.io.dump"
        ) from error


def _task(estimator: Any, method: str | None) -> str | None:
    """Return the task of an estimator that is no classifier, or None."""
    tags = estimator.__sklearn_tags__() if hasattr(estimator, "__sklearn_tags__") else None
    kind = tags.estimator_type if tags is not None else getattr(estimator, "_estimator_type", None)
    kinds = {"regressor": "regression", "clusterer": "clustering", "outlier_detector": "outlier detection"}
    if kind in kinds:
        return kinds[kind]
    if mixes_texts(estimator):
        return "texts and columns together"
    if method is None:
        return "no classification: it has neither predict_proba nor decision_function nor predict"
    return None


def _decides_by_pairs(estimator: Any) -> bool:
    """Return whether the decision scores are those of pairs of classes, whose number may be that of the classes."""
    pairs = [part for part in objects(estimator) if getattr(part, "decision_function_shape", None) == "ovo"]
    return bool(pairs) and len(estimator.classes_) > 2


def _has_several_labels(estimator: Any) -> bool:
    """Return whether an estimator, or a step of it, was fitted to several labels for an input."""
    return any(str(getattr(part, "y_type_", "")).startswith("multilabel") for part in objects(estimator))


def _threshold_note(estimator: Any) -> str | None:
    """Return a note for a classifier that labels by a threshold of its own instead of the greatest probability."""
    threshold = getattr(estimator, "best_threshold_", getattr(estimator, "threshold", "auto"))
    if threshold == "auto":
        return None
    return f"its own labels depend on the threshold {threshold:.3g}; accuracy and copies are judged by probabilities"
