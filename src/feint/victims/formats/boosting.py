"""Boosted trees in their libraries' own files: XGBoost, LightGBM and CatBoost."""

import hashlib
import json
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from feint._optional import require
from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData, one_line
from feint.signature import Column
from feint.victims.formats import native_load
from feint.victims.formats.tree_nodes import check_nodes
from feint.victims.formats.ubjson import check_ubjson
from feint.victims.outputs import label_text
from feint.victims.raw import Metadata, RawModel, TensorSpec

HINGE = "margins of a hinge are taken as logits; they are no calibrated probabilities"


class BoosterModel(RawModel):
    """File of boosted trees. Its input "X" is a matrix (N, F), its output "y" the scores of classes.

    Args:
        path: The file.

    Raises:
        MissingData: There is no such file, or the library is not installed.
        DamagedFile: The library cannot read the file, or a tree in it has nodes that lead out of it.
    """

    library: str
    suffix: str
    dtype = "float64"
    repeatable = True

    def __init__(self, path: Path | str) -> None:
        self.place = str(path)
        if not Path(path).is_file():
            raise MissingData(f"{path}, which is not there", f"a file of {self.library}", "check the path")
        module = require(self.library, "boosting")
        try:
            self._booster = self._load(module, str(path))
            self.metadata = self._describe()
        except Exception as error:  # the libraries' own exceptions share no other base
            raise DamagedFile(
                f"{path} ({one_line(str(error).partition('Stack trace')[0], 160)})",
                f"a model that {self.library} wrote",
                "save it again: save_model",
            ) from error
        self.inputs = (TensorSpec("X", self.dtype, (None, len(self.metadata.columns))),)
        self.outputs = (TensorSpec("y", "float64", (None, len(self.metadata.classes) or None)),)
        self.digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()

    @abstractmethod
    def _load(self, module: Any, path: str) -> Any:
        """Return the booster of a file."""

    @abstractmethod
    def _describe(self) -> Metadata:
        """Return classes, columns and kind of scores of the booster."""

    @abstractmethod
    def _scores(self, x: np.ndarray) -> Any:
        """Return the scores of rows (N, F)."""

    @abstractmethod
    def _train(self, x: np.ndarray, labels: np.ndarray, seed: int) -> Any:
        """Return a booster that is trained in the same way on rows (N, F) with classes (N,)."""

    def refit(self, arrays: Mapping[str, Any], labels: np.ndarray, path: Path, *, seed: int) -> None:
        """Train a booster by what the file says of its training; see `Refittable`."""
        try:
            self._train(arrays["X"], labels, seed).save_model(str(path))
        except Exception as error:  # as above
            raise BadRecipe(
                f"{self.place}, of which none can be trained again ({one_line(error, 160)})", "one that can",
                "train another model of its kind yourself",
            ) from error  # fmt: skip

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        try:
            return {"y": np.asarray(self._scores(arrays["X"]), np.float64)}
        except Exception as error:  # as above
            raise BadInput(
                f"rows of shape {np.shape(arrays['X'])} ({one_line(error, 160)})", f"rows that {self.place} takes",
                "check the columns and their categories",
            ) from error  # fmt: skip


class XgboostModel(BoosterModel):
    """Model of XGBoost in JSON or UBJSON: margins as logits. Rounds after the best iteration do not count."""

    library, suffix = "xgboost", ".json"

    def _load(self, module: Any, path: str) -> Any:
        if Path(path).suffix == ".ubj":
            check_ubjson(Path(path).read_bytes())
        saved = _load_apart(self.library, module.core, path)
        _check_learner(json.loads(saved)["learner"])
        booster = module.Booster(params={"nthread": 1})
        booster.load_model(bytearray(saved))
        return booster

    def _describe(self) -> Metadata:
        learner = json.loads(self._booster.save_config())["learner"]
        objective, parameters = learner["objective"]["name"], learner["learner_model_param"]
        columns, question = self._columns()
        count = int(parameters["num_class"])
        if int(parameters.get("num_target", 1)) > 1:
            return Metadata(columns=columns, task="multi-label classification")
        if objective.startswith("multi:"):
            return Metadata(_numbered(count), columns, "logits", open=question)
        if objective in ("binary:logistic", "binary:logitraw", "reg:logistic"):
            return Metadata(_numbered(2), columns, "sigmoid-logit", open=question)
        if objective == "binary:hinge":
            return Metadata(_numbered(2), columns, "decisions", open=question, note=HINGE)
        return Metadata(columns=columns, task="ranking" if objective.startswith("rank:") else "regression")

    def _columns(self) -> tuple[tuple[Column, ...], str | None]:
        """Return the columns, and the question that remains where the file does not have their categories."""
        booster = self._booster
        count = booster.num_features()
        names, types = booster.feature_names or [f"x{i}" for i in range(count)], booster.feature_types or []
        categorical = {name for name, kind in zip(names, types, strict=False) if kind == "c"}
        stored = booster.get_categories(export_to_arrow=True).to_arrow() if categorical else []
        read = {name: _ascii(values) for name, values in stored if values is not None}
        known = {name: categories for name, categories in read.items() if categories}
        unknown = ", ".join(sorted(categorical - {*known})[:8])
        columns = tuple(Column(name, known.get(name), optional=True) for name in names)
        return columns, f"the categories of {unknown}" if unknown else None

    def _scores(self, x: np.ndarray) -> Any:
        return self._booster.predict(self._matrix(x), output_margin=True, iteration_range=(0, self._rounds))

    def _train(self, x: np.ndarray, labels: np.ndarray, seed: int) -> Any:
        """Return a booster of as many rounds and as deep trees; the file has nothing else of the training."""
        learner = json.loads(self._booster.save_config())["learner"]
        count, kind = int(learner["learner_model_param"]["num_class"]), learner["learner_train_param"]["booster"]
        depth = max(row.count("\t") for dump in self._booster.get_dump() for row in dump.splitlines())
        objective = learner["objective"]["name"]
        parameters = {"booster": kind, "objective": objective, "max_depth": depth, "seed": seed, "nthread": 1}
        parameters |= {"num_class": count} if count else {}
        matrix = self._matrix(x, label=labels)
        return require(self.library, "boosting").train(
            parameters, matrix, self._rounds or self._booster.num_boosted_rounds()
        )

    @property
    def _rounds(self) -> int:
        """Number of rounds that count; 0 for all."""
        best = self._booster.attr("best_iteration")
        return 0 if best is None else int(best) + 1

    def _matrix(self, x: np.ndarray, **more: Any) -> Any:
        booster = self._booster
        return require(self.library, "boosting").DMatrix(
            x, feature_names=booster.feature_names, feature_types=booster.feature_types, nthread=1, **more
        )


class LightGbmModel(BoosterModel):
    """Model of LightGBM in text: probabilities. Those of one against all are normalised."""

    library, suffix = "lightgbm", ".txt"

    def _load(self, module: Any, path: str) -> Any:
        text = Path(path).read_text()
        if not text.startswith("tree"):
            raise ValueError("no first line 'tree'")
        _check_text(text)
        _load_apart(self.library, module.basic, path)
        return module.Booster(model_str=text)

    def _describe(self) -> Metadata:
        model = self._booster.dump_model(num_iteration=1)
        objective = model.get("objective", "").partition(" ")[0]
        columns = tuple(_lightgbm_columns(model))
        if objective in ("binary", "cross_entropy", "xentropy"):
            return Metadata(_numbered(2), columns, "sigmoid")
        if objective.startswith("multiclass"):
            return Metadata(_numbered(model["num_class"]), columns, "probabilities")
        return Metadata(columns=columns, task="ranking" if "rank" in objective else "regression")

    def _scores(self, x: np.ndarray) -> Any:
        p = np.asarray(self._booster.predict(x, num_threads=1))
        return p if p.ndim == 1 else p / p.sum(1, keepdims=True)

    def _train(self, x: np.ndarray, labels: np.ndarray, seed: int) -> Any:
        booster, library = self._booster, require(self.library, "boosting")
        recipe = {name: value for name, value in booster.params.items() if not name.endswith("_seed")}
        names, categorical = booster.feature_name(), _lightgbm_categorical(booster.dump_model(num_iteration=1))
        rows = library.Dataset(x, labels, feature_name=names, categorical_feature=categorical)
        more = {"num_iterations": booster.current_iteration(), "seed": seed, "num_threads": 1, "verbosity": -1}
        return library.train(recipe | more, rows)


class CatBoostModel(BoosterModel):
    """Model of CatBoost (.cbm): raw scores as logits. Its file has no categories, only their hashes."""

    library, suffix = "catboost", ".cbm"
    dtype = "any"

    def _load(self, module: Any, path: str) -> Any:
        booster = module.CatBoost()
        booster.load_model(path)
        return booster

    def _describe(self) -> Metadata:
        booster = self._booster
        self._categorical = set(booster.get_cat_feature_indices())
        names = _without_defaults(list(map(str, booster.feature_names_)), "")
        columns = tuple(Column(name, optional=i not in self._categorical) for i, name in enumerate(names))
        loss = str(booster.get_all_params().get("loss_function", ""))
        if booster.get_text_feature_indices() or booster.get_embedding_feature_indices():
            return Metadata(columns=columns, task="texts and columns together")
        if loss.startswith("Multi") and not loss.startswith(("MultiClass", "MultiRMSE")):
            return Metadata(columns=columns, task="multi-label classification")
        if loss.partition(":")[0] not in ("Logloss", "CrossEntropy", "MultiClass", "MultiClassOneVsAll"):
            return Metadata(columns=columns, task="regression")
        classes = tuple(map(label_text, booster.classes_))
        values = "logits" if loss.startswith("MultiClass") else "sigmoid-logit"
        values = "probabilities" if loss.startswith("MultiClassOneVsAll") else values
        unknown = [names[i] for i in sorted(self._categorical)]
        question = f"the categories of {', '.join(unknown[:8])}" if unknown else None
        return Metadata(classes or _numbered(2), columns, values, open=question)

    def _scores(self, x: np.ndarray) -> Any:
        pool = self._pool(x)
        if self.metadata.values == "probabilities":
            p = np.asarray(self._booster.predict(pool, prediction_type="Probability", thread_count=1))
            return p / p.sum(1, keepdims=True)
        return self._booster.predict(pool, prediction_type="RawFormulaVal", thread_count=1)

    def _train(self, x: np.ndarray, labels: np.ndarray, seed: int) -> Any:
        library, classes = require(self.library, "boosting"), self._booster.classes_
        names = np.array(classes if len(classes) else range(len(self.metadata.classes)))
        more = {"iterations": self._booster.tree_count_, "random_seed": seed, "thread_count": 1, "verbose": False}
        recipe = {
            name: value for name, value in self._booster.get_params().items()
            if name not in ("n_estimators", "num_boost_round", "num_trees", "random_state", "logging_level", "silent")
        }  # fmt: skip
        return library.CatBoost(recipe | more | {"allow_writing_files": False}).fit(self._pool(x, names[labels]))

    def _pool(self, x: np.ndarray, labels: np.ndarray | None = None) -> Any:
        rows = [[self._value(i, value) for i, value in enumerate(row)] for row in x.tolist()]
        return require(self.library, "boosting").Pool(rows, labels, cat_features=sorted(self._categorical))

    def _value(self, position: int, value: Any) -> Any:
        return label_text(value) if position in self._categorical else value


def _ascii(values: Any) -> tuple[str, ...]:
    """Return the categories that XGBoost stored; () for those that it may have cut.

    XGBoost 3.2.0 counts characters where bytes are stored: "Köln", "München" come back as "Köl", "nMünch", and words of
    other scripts as bytes that end within a letter.
    """
    try:
        names = tuple(map(label_text, values.to_pylist()))
    except UnicodeDecodeError:
        return ()
    return names if all(map(str.isascii, names)) else ()


def _load_apart(library: str, binding: Any, path: str) -> bytes:
    """Load a file in a process of its own first: damaged ones end it, of LightGBM 45 of 100, of XGBoost 2 to 8.

    The latter reads beyond arrays of a damaged file without an end: what one process survives may end another. What it
    read is therefore taken as it wrote it.

    Args:
        library: Name of the library.
        binding: Module of its package that has the native library.
        path: The file.

    Returns:
        The booster that was loaded, in JSON; nothing of LightGBM.

    Raises:
        ValueError: The process ended early.
    """
    command = [sys.executable, "-I", "-S", native_load.__file__, library, binding._LIB._name, path]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"a process that loads it ends with code {done.returncode} {reason}".strip())
    return done.stdout


def _check_learner(learner: dict[str, Any]) -> None:
    """Raise `ValueError` where a tree of XGBoost leads out of itself or of the features."""
    features = int(learner["learner_model_param"]["num_feature"])
    booster = learner["gradient_booster"]
    for tree in booster.get("gbtree", booster).get("model", {}).get("trees", []):  # those of DART lie deeper
        left, right, feature = (tree[name] for name in ("left_children", "right_children", "split_indices"))
        check_nodes(left, right, feature, features, is_inner=np.array(left) != -1)


def _without_defaults(names: list[str], start: str) -> list[str]:
    """Return the names of columns, x0, x1, … where a library numbered them itself, so that they match by position."""
    defaults = [f"{start}{i}" for i in range(len(names))]
    return [f"x{i}" for i in range(len(names))] if names == defaults else names


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _lightgbm_categorical(model: dict[str, Any]) -> list[str]:
    """Return the names of the categorical columns of a dumped model."""
    return [name for name in model["feature_names"] if model["feature_infos"].get(name, {}).get("values")]


def _lightgbm_columns(model: dict[str, Any]) -> Iterable[Column]:
    """Yield the columns of a dumped model, with the categories that pandas had."""
    categorical = _lightgbm_categorical(model)
    known = model.get("pandas_categorical") or []
    names = dict(zip(categorical, known, strict=False)) if len(known) == len(categorical) else {}
    for name, shown in zip(model["feature_names"], _without_defaults(model["feature_names"], "Column_"), strict=True):
        values = names.get(name)
        yield Column(shown, None if values is None else tuple(map(label_text, values)), optional=True)


def _check_text(text: str) -> None:
    """Raise `ValueError` where a tree in LightGBM's text leads out of itself or of the features."""
    fields = [line.partition("=") for line in text.splitlines() if "=" in line]
    features = next((int(value) + 1 for key, _, value in fields if key == "max_feature_idx"), 0)
    columns: dict[str, list[list[int]]] = {"left_child": [], "right_child": [], "split_feature": []}
    for key, _, value in fields:
        if key in columns:
            columns[key].append([int(number) for number in value.split()])
    for left, right, feature in zip(*columns.values(), strict=True):
        n, children = len(left), np.array([left, right], np.int64)
        numbered = np.where(children < 0, n - 1 - children, children)  # the leaf −child − 1 of n + 1, after the nodes
        check_nodes(numbered[0], numbered[1], feature, features, count=2 * n + 1)
