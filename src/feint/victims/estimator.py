"""Classifiers of scikit-learn as victims, from this process or from a file of skops."""

import hashlib
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from feint._optional import require
from feint.errors import BadInput, DamagedFile, MissingData

TRUSTED = {  # types that scikit-learn's classifiers need and skops does not trust by default; all are data
    "sklearn.tree._tree.Tree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
}


class Estimator(Protocol):
    """Interface of a classifier of scikit-learn, or of any object that is used like one."""

    @property
    def classes_(self) -> Any:
        """Class labels (K,)."""
        ...

    def predict_proba(self, X: Any) -> Any:  # noqa: N803, the name is scikit-learn's
        """Return probabilities (N, K) of inputs (N, features)."""
        ...


class FromEstimator(nn.Module):
    """Adapter of a fitted classifier of scikit-learn, without a gradient.

    Inputs (N, C, H, W) in [0, 1] are flattened to float64. Logits (N, K) are the logarithms of `predict_proba`, which
    softmax inverts. Class k is the k-th of `classes_`. The `state_dict` has a digest of all that the estimator learned.

    Args:
        estimator: The classifier. Classes that are numbers must be 0 to K − 1, so that class k is label k.

    Raises:
        BadInput: The classifier is not fitted, has no probabilities, or has other classes.
    """

    digest: Tensor

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        missing = [name for name in ("classes_", "predict_proba") if getattr(estimator, name, None) is None]
        if missing:
            raise BadInput(
                f"{type(estimator).__name__} without {' and '.join(missing)}", "a fitted classifier that gives "
                "probabilities", "fit it; where it only labels, calibrate it: sklearn.calibration",
            )  # fmt: skip
        labels = np.asarray(estimator.classes_)
        if labels.dtype == object or labels.ndim != 1 or len(labels) < 2:
            raise BadInput(f"classes {estimator.classes_}", "one output of two or more classes", "fit one for each")
        if labels.dtype.kind in "iuf" and not np.array_equal(labels, np.arange(len(labels))):
            raise BadInput(
                f"classes {labels.tolist()}", f"0 … {len(labels) - 1}", "fit it to numbered labels, or to names"
            )
        self.estimator, self.classes = estimator, len(labels)
        digest = hashlib.sha256()
        _update_digest(digest, estimator, set())
        self.register_buffer("digest", torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if not len(x):
            return torch.zeros(0, self.classes)
        try:
            p = torch.from_numpy(np.array(self.estimator.predict_proba(x.detach().cpu().flatten(1).double().numpy())))
        except ValueError as error:  # scikit-learn's error for inputs of another size
            raise BadInput(
                f"inputs of shape {tuple(x.shape[1:])} ({error})", "as many features", "resize them"
            ) from error
        return p.clamp_min(torch.finfo(torch.float32).tiny).log().float()


def load_estimator(path: Path | str) -> FromEstimator:
    """Load a classifier of scikit-learn from a file of skops.

    Args:
        path: The file.

    Returns:
        The classifier as a model.

    Raises:
        MissingData: There is no such file, or skops is not installed.
        DamagedFile: The file is broken, or a tree in it has nodes that lead out of it.
        BadInput: The file has types that are not scikit-learn's. None of them is imported or run.
    """
    path = Path(path)
    skops = require("skops.io", "sklearn")
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "a file that skops wrote", "check the path")
    try:
        foreign = set(skops.get_untrusted_types(file=path)) - TRUSTED
        if foreign:
            raise BadInput(
                f"{path}, which holds {', '.join(sorted(foreign))}", "a classifier of scikit-learn",
                "load it yourself, if you trust it: feint.victims.FromEstimator",
            )  # fmt: skip
        estimator = skops.load(path, trusted=sorted(TRUSTED))
        for tree in _trees(estimator, set()):
            _check_tree(tree)
        return FromEstimator(estimator)
    except BadInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, zipfile.BadZipFile) as error:
        raise DamagedFile(
            f"{path} ({error})", "a classifier that skops wrote", "write it again: skops.io.dump"
        ) from error


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
    return [value.__getstate__()]


def _trees(value: Any, visited: set[int]) -> Iterable[Any]:
    """Yield every tree of scikit-learn within `value`."""
    if id(value) in visited or isinstance(value, (str, bytes, int, float, type(None), np.generic, type)):
        return
    visited.add(id(value))
    if type(value).__name__ == "Tree":
        yield value
    elif not (isinstance(value, np.ndarray) and value.dtype != object):
        for part in _parts(value):
            yield from _trees(part, visited)


def _check_tree(tree: Any) -> None:
    """Raise `ValueError` where a node leads out of the tree or back: scikit-learn follows nodes unchecked."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner, count = left != -1, tree.node_count
    nodes = np.arange(count)[inner]
    children = np.stack([left, right])[:, inner]
    invalid = (children <= nodes) | (children >= count) | (feature[inner] < 0) | (feature[inner] >= tree.n_features)
    if invalid.any():
        raise ValueError("a tree whose nodes lead out of it")
