"""Classifiers of scikit-learn, from this process or from a file of skops."""

import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from feint._optional import require
from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData, NotFitted, one_line
from feint.signature import Column, Columns
from feint.victims.formats.estimator_content import TRUSTED, check_content, digest_of, objects
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
        text = not columns and _takes_text(estimator)
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
        return Metadata(names, _columns(self.estimator), values, note=note)

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
        return EstimatorModel(estimator, str(path))
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
    if _mixes_texts(_first(estimator)):
        return "texts and columns together"
    if method is None:
        return "no classification: it has neither predict_proba nor decision_function nor predict"
    return None


def _first(estimator: Any) -> Any:
    """Return the first part of an estimator that takes the inputs."""
    return next(iter(_firsts(estimator)))


def _firsts(estimator: Any) -> Iterable[Any]:
    """Yield the fitted parts that take an estimator's inputs: the first steps of its pipelines."""
    if hasattr(estimator, "steps"):
        inner = [estimator.steps[0][1]]
    elif hasattr(estimator, "calibrated_classifiers_"):
        inner = [calibrated.estimator for calibrated in estimator.calibrated_classifiers_]
    elif isinstance(getattr(estimator, "estimators_", None), list) and not hasattr(estimator, "estimators_features_"):
        inner = estimator.estimators_  # of voting, stacking, one against the rest
    else:  # of searches, thresholds and frozen estimators
        inner = [getattr(estimator, name, None) for name in ("best_estimator_", "estimator_", "estimator")]
        inner = [part for part in inner if part is not None and not isinstance(part, str)][:1]
    for part in inner:
        yield from _firsts(part)
    if not inner:
        yield estimator


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


def _takes_text(estimator: Any) -> bool:
    first = _first(estimator)
    parts = [part for _, part in getattr(first, "transformer_list", [("", first)])]
    return all(hasattr(_first(part), "build_analyzer") for part in parts)


def _mixes_texts(first: Any) -> bool:
    parts = [part for _, part, _ in getattr(first, "transformers_", [])]
    return any(hasattr(_first(part), "build_analyzer") for part in parts)


def _columns(estimator: Any) -> tuple[Column, ...]:
    """Return the columns that an estimator was fitted to, with the categories that its encoders know."""
    names = getattr(estimator, "feature_names_in_", None)
    count = len(names) if names is not None else getattr(estimator, "n_features_in_", None)
    if count is None:
        return ()
    names = [f"x{i}" for i in range(count)] if names is None else list(map(str, names))
    known: dict[str, dict[Any, None]] = {}  # what any of several encoders knows; None is a missing value
    for part in _firsts(estimator):
        for name, categories in _categories(part, names):
            known.setdefault(name, {}).update({v if v == v else None: None for v in categories.tolist()})
    return tuple(_column(name, known.get(name)) for name in names)


def _column(name: str, categories: Collection[Any] | None) -> Column:
    if categories is None:
        return Column(name)
    values = [value for value in categories if value is not None]
    optional = len(values) < len(categories)
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        integer = all(float(value).is_integer() for value in values)
        return Column(name, None, optional, integer, float(min(values)), float(max(values)))
    return Column(name, tuple(map(str, values)), optional)


def _categories(part: Any, names: list[str]) -> Iterable[tuple[str, np.ndarray]]:
    """Yield column and categories of each encoder that sees the inputs themselves."""
    if hasattr(part, "transformers_"):  # a ColumnTransformer
        for _, transformer, chosen in part.transformers_:
            yield from _categories(transformer, _chosen(chosen, names))
        return
    steps = [step for _, step in part.steps] if hasattr(part, "steps") else [part]
    preprocessor = getattr(part, "_preprocessor", None)  # of HistGradientBoosting
    if preprocessor is not None:
        steps = [preprocessor]
        for encoder, chosen in (
            (e, _chosen(c, names)) for _, e, c in preprocessor.transformers_ if hasattr(e, "categories_")
        ):
            yield from zip(chosen, encoder.categories_, strict=False)
        return
    encoder = next((step for step in steps if isinstance(getattr(step, "categories_", None), list)), None)
    if encoder is not None:
        yield from zip(names, encoder.categories_, strict=False)


def _chosen(chosen: Any, names: list[str]) -> list[str]:
    """Return the names of the columns that a ColumnTransformer chose, by name, number, mask or slice."""
    if isinstance(chosen, slice):
        return names[chosen] if isinstance(chosen.start, int | None) else names
    return [names[key] if isinstance(key, (int, np.integer)) else str(key) for key in _positions(chosen)]


def _positions(chosen: Any) -> list[Any]:
    values = [chosen] if isinstance(chosen, (str, int)) else list(chosen)
    if values and all(isinstance(value, (bool, np.bool_)) for value in values):
        return [i for i, value in enumerate(values) if value]
    return values
