"""Content of files of skops: which types are trusted, what is checked in them, and their digest."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from feint._optional import require
from feint.victims.formats.tree_nodes import check_nodes

_KERNELS = (
    "ConstantKernel WhiteKernel RBF Matern RationalQuadratic ExpSineSquared DotProduct Sum Product Exponentiation"
)
_METRICS = "EuclideanDistance64 ManhattanDistance64 MinkowskiDistance64 ChebyshevDistance64"
TRUSTED = {  # types that skops does not trust by default; all are data, and `check_content` checks their indices
    "functools.partial",  # of a function that is trusted itself
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._classification.accuracy_score",
    "sklearn.metrics._classification.balanced_accuracy_score",
    "sklearn.metrics._classification.f1_score",
    "sklearn.metrics._scorer._CurveScorer",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "sklearn.utils.validation.check_array",
    *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS.split()),
    *(f"sklearn.metrics._dist_metrics.{name}" for name in _METRICS.split()),
}


def check_content(estimator: Any) -> None:
    """Check all indices that scikit-learn's compiled code follows unchecked, and build search trees anew.

    Raises `ValueError` where a tree has nodes that lead out of it.
    """
    for part in objects(estimator):
        kind = type(part).__name__
        if kind == "Tree":
            _check_tree(part)
        elif hasattr(part, "_predictors") and hasattr(part, "_bin_mapper"):
            _check_predictors(part)
        elif hasattr(part, "_fit_X") and getattr(part, "_tree", None) is not None:
            _rebuild_search(part)


def objects(value: Any, visited: dict[int, Any] | None = None) -> Iterable[Any]:
    """Yield every object within `value`, itself first; arrays of numbers and plain values are left out.

    `visited` holds the objects: the states that are made here would else give their addresses to others, unseen.
    """
    visited = {} if visited is None else visited
    if id(value) in visited or isinstance(value, (str, bytes, int, float, type(None), np.generic, type)):
        return
    if isinstance(value, np.ndarray) and value.dtype != object:
        return
    visited[id(value)] = value
    yield value
    for part in _parts(value):
        yield from objects(part, visited)


def digest_of(value: Any) -> str:
    """Return the hexadecimal SHA-256 of all content of an object."""
    digest = hashlib.sha256()
    _update_digest(digest, value, set())
    return digest.hexdigest()


def _update_digest(digest: Any, value: Any, above: set[int]) -> None:
    """Add all content of `value` to the hash, without addresses and padding; `above` guards against cycles."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        value = {name: value[name] for name in value.dtype.names}  # without the padding between the fields
    if isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    elif isinstance(value, (str, bytes, int, float, complex, bool, type(None), np.generic, type)):
        digest.update(f"{type(value).__name__} {value!r};".encode())
    elif id(value) not in above:
        digest.update(f"{type(value).__qualname__}(".encode())
        for part in _parts(value):
            _update_digest(digest, part, above | {id(value)})
        digest.update(b")")


def _parts(value: Any) -> Iterable[Any]:
    """Return the items of a container, or the state of an object as `copy` reads it."""
    if isinstance(value, dict):
        return [part for pair in sorted(value.items(), key=lambda pair: str(pair[0])) for part in pair]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, (list, tuple, np.ndarray)):
        return list(value)
    if callable(value) and not hasattr(value, "__dict__"):
        return [getattr(value, "__qualname__", type(value).__qualname__)]  # a compiled function
    return [value.__getstate__()]


def _check_tree(tree: Any) -> None:
    """Raise `ValueError` where a node leads out of the tree or back: scikit-learn follows nodes unchecked."""
    left, right = tree.children_left, tree.children_right
    check_nodes(left, right, tree.feature, tree.n_features, is_inner=left != -1)


def _check_predictors(booster: Any) -> None:
    """Raise `ValueError` where a tree of HistGradientBoosting leads out of itself, of the features or the bitsets."""
    features = int(booster._n_features)
    categorical = booster._bin_mapper.is_categorical_
    for predictor in (predictor for predictors in booster._predictors for predictor in predictors):
        nodes, sets = predictor.nodes, predictor.raw_left_cat_bitsets
        is_inner = nodes["is_leaf"] == 0
        if not len(nodes) or sets.ndim != 2 or sets.shape[1] != 8:
            raise ValueError("a tree without nodes or with bitsets of another size")
        check_nodes(nodes["left"], nodes["right"], nodes["feature_idx"], features, is_inner=is_inner)
        by_set = nodes[is_inner & (nodes["is_categorical"] == 1)]
        unknown = by_set["bitset_idx"].astype(np.int64) >= len(sets)
        if unknown.any() or not np.asarray(categorical, bool)[by_set["feature_idx"]].all():
            raise ValueError("a tree whose categories lead out of it")


def _rebuild_search(neighbors: Any) -> None:
    """Build the search tree of nearest neighbors from its points: the compiled code follows stored ones unchecked."""
    tree = require("sklearn.neighbors", "sklearn")
    kind = tree.KDTree if type(neighbors._tree).__name__ == "KDTree" else tree.BallTree
    parameters = dict(neighbors.effective_metric_params_)
    neighbors._tree = kind(neighbors._fit_X, neighbors.leaf_size, metric=neighbors.effective_metric_, **parameters)
