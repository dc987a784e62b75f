"""Classifiers of scikit-learn on the line: fitted in this process, or read from a file that is not run."""

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

TRUSTED = {  # what skops does not trust by itself and scikit-learn's classifiers are made of; all are data
    "sklearn.tree._tree.Tree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
}


class Estimator(Protocol):
    """What is asked of a classifier of scikit-learn, or of anything that is used like one."""

    @property
    def classes_(self) -> Any: ...

    def predict_proba(self, X: Any) -> Any: ...  # noqa: N803, the name is scikit-learn's


class FromEstimator(nn.Module):
    """A fitted classifier of scikit-learn as a model: inputs (N, C, H, W) in [0, 1], which it sees flattened and in
    float64, to logits (N, K), the logarithms of `predict_proba`, which softmax undoes. There is no gradient.

    Class k is the k-th of `classes_`; whole numbers must be 0 … K − 1, so that class k is label k. Its `state_dict`
    holds a digest of all that the estimator learned. Raises `BadInput`.
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
        found = hashlib.sha256()
        _digest(estimator, found, set())
        self.register_buffer("digest", torch.frombuffer(bytearray(found.digest()), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        if not len(x):
            return torch.zeros(0, self.classes)
        try:
            p = torch.from_numpy(np.array(self.estimator.predict_proba(x.detach().cpu().flatten(1).double().numpy())))
        except ValueError as error:  # scikit-learn's word for inputs of another size
            raise BadInput(
                f"inputs of shape {tuple(x.shape[1:])} ({error})", "as many features", "resize them"
            ) from error
        return p.clamp_min(torch.finfo(torch.float32).tiny).log().float()


def load_estimator(path: Path | str) -> FromEstimator:
    """The classifier in a file that skops wrote. Raises `MissingData`, `DamagedFile`, or `BadInput` for a file that
    holds any type but scikit-learn's classifiers: nothing of it is imported or run then."""
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
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, zipfile.BadZipFile) as error:
        if isinstance(error, BadInput):
            raise
        raise DamagedFile(
            f"{path} ({error})", "a classifier that skops wrote", "write it again: skops.io.dump"
        ) from error


def _digest(value: Any, found: Any, above: set[int]) -> None:
    """Feed all that `value` holds to the hash `found`, with no address and no padding; `above` guards against rings."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        value = {name: value[name] for name in value.dtype.names}  # whatever lies between the fields is not theirs
    if isinstance(value, np.ndarray) and value.dtype != object:
        found.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
    elif isinstance(value, (str, bytes, int, float, complex, bool, type(None), np.generic, type)):
        found.update(f"{type(value).__name__} {value!r};".encode())
    elif id(value) not in above:
        found.update(f"{type(value).__qualname__}(".encode())
        for part in _parts(value):
            _digest(part, found, above | {id(value)})
        found.update(b")")


def _parts(value: Any) -> Iterable[Any]:
    """What an object is made of: the items of a container, or its state as a copy would take it."""
    if isinstance(value, dict):
        return [it for pair in sorted(value.items(), key=lambda pair: str(pair[0])) for it in pair]
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, (list, tuple, np.ndarray)):
        return list(value)
    return [value.__getstate__()]


def _trees(value: Any, seen: set[int]) -> Iterable[Any]:
    """Every tree of scikit-learn within `value`."""
    if id(value) in seen or isinstance(value, (str, bytes, int, float, type(None), np.generic, type)):
        return
    seen.add(id(value))
    if type(value).__name__ == "Tree":
        yield value
    elif not (isinstance(value, np.ndarray) and value.dtype != object):
        for part in _parts(value):
            yield from _trees(part, seen)


def _check_tree(tree: Any) -> None:
    """Raise `ValueError` where a node leads out of the tree or back: scikit-learn would follow it unchecked."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner, count = left != -1, tree.node_count
    nodes = np.arange(count)[inner]
    children = np.stack([left, right])[:, inner]
    astray = (children <= nodes) | (children >= count) | (feature[inner] < 0) | (feature[inner] >= tree.n_features)
    if astray.any():
        raise ValueError("a tree whose nodes lead out of it")
