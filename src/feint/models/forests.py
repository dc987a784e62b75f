"""Forests that scikit-learn fits: boosted trees and random forests, as tensors that give its probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feint._optional import require
from feint.models.estimator_body import NEVER, EstimatorBody, class_rows
from feint.models.simplex import finite_log
from feint.models.tree import Forest
from feint.signature import Columns, Domain

MOST_CATEGORIES = 255  # of a column that scikit-learn's boosting splits by subsets


class BoostedTrees(Forest, EstimatorBody):
    """Gradient-boosted trees, fitted by scikit-learn's `HistGradientBoostingClassifier`.

    Columns of up to 255 categories are split by subsets of them, and missing values go to the better side. The loss is
    the cross-entropy to soft targets: each input is once in the training for each class, with the share of that class.
    Against a boosted victim on `adult`, whose probabilities are the answers, that gave a copy of higher fidelity than a
    regression on the log-odds: 89.6 % instead of 85.6 % after 100 queries, 97.1 % instead of 96.7 % after 5,000; on
    labels the two are alike.

    Args:
        features: Number of features of an input.
        classes: Number K of classes.
        categories: Number of categories of each feature, 0 for numbers; None where all are numbers.
    """

    def __init__(self, features: int, classes: int, categories: Sequence[int] | None = None) -> None:
        super().__init__(features, classes, precision=torch.float64)
        self.categories = np.array([0] * features if categories is None else categories)

    @classmethod
    def of(cls, domain: Domain, features: int, classes: int) -> "BoostedTrees":
        """Return new trees for the features of a domain."""
        columns = domain.columns if isinstance(domain, Columns) else ()
        return cls(features, classes, [len(column.categories or ()) for column in columns] or None)

    def fit(self, x: Tensor, targets: Tensor, *, seed: int) -> None:
        rows, classes, weight = class_rows(targets)
        present = np.unique(classes)
        bias = torch.full((targets.shape[1],), NEVER)
        bias[present] = 0.0
        if len(present) == 1:  # nothing to learn, and scikit-learn refuses
            self.load_state_dict(self.state_dict() | {"bias": bias})
            return
        by_subset = (self.categories > 0) & (self.categories <= MOST_CATEGORIES)
        features = x.double().cpu().flatten(1).numpy()[rows]
        estimator = require("sklearn.ensemble", "sklearn").HistGradientBoostingClassifier(
            learning_rate=0.05, max_iter=300, max_leaf_nodes=15, min_samples_leaf=10, early_stopping=False,
            categorical_features=by_subset if by_subset.any() else None, random_state=seed,
        )  # fmt: skip
        estimator.fit(features, classes, sample_weight=weight)
        self.load_state_dict(boosted_state(estimator, by_subset, self.categories, bias))


class RandomForest(Forest, EstimatorBody):
    """Random forest, fitted by scikit-learn's `RandomForestRegressor` to the probabilities.

    The mean squared error over one-hot rows is the Gini impurity, so that on labels the trees are those of a random
    forest classifier; on soft targets a leaf has their mean. Categories are split as codes.

    Args:
        features: Number of features of an input.
        classes: Number K of classes.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes, precision=torch.float32)  # of scikit-learn's inputs

    def forward(self, x: Tensor) -> Tensor:
        return finite_log(super().forward(x))

    def fit(self, x: Tensor, targets: Tensor, *, seed: int) -> None:
        largest = torch.finfo(torch.float32).max
        features = x.cpu().flatten(1).clamp(-largest, largest).float().numpy()
        estimator = require("sklearn.ensemble", "sklearn").RandomForestRegressor(
            200, max_features=0.5, random_state=seed
        )
        self.load_state_dict(forest_state(estimator.fit(features, targets.double().cpu().numpy())))


def boosted_state(estimator: Any, by_subset: np.ndarray, categories: np.ndarray, bias: Tensor) -> dict[str, Tensor]:
    """Return the tensors of boosted trees.

    Args:
        estimator: Fitted `HistGradientBoostingClassifier`.
        by_subset: Whether each feature (D,) is split by subsets of its categories.
        categories: Number of categories of each feature (D,).
        bias: Logits (K,) before the first tree.

    Returns:
        Tensors of a `Forest`.
    """
    # scikit-learn moves such features to the front, and numbers the categories that occur
    order = np.concatenate([np.flatnonzero(by_subset), np.flatnonzero(~by_subset)])
    encoder = estimator._preprocessor.named_transformers_["encoder"] if by_subset.any() else None
    known = [codes[~np.isnan(codes)].astype(np.int64) for codes in encoder.categories_] if encoder else []
    present = estimator.classes_
    targets = present[1:] if len(present) == 2 else present  # of two classes, the trees give the log-odds
    bias, trees, subsets = bias.clone(), [], [np.zeros(max(categories.max(), 1), bool)]
    bias[targets] += torch.from_numpy(estimator._baseline_prediction).float().flatten()
    for iteration in estimator._predictors:
        for target, predictor in zip(targets, iteration, strict=True):
            nodes = predictor.nodes
            is_leaf, missing_left = nodes["is_leaf"].astype(bool), nodes["missing_go_to_left"].astype(bool)
            tree = {
                "feature": np.where(is_leaf, 0, order[np.where(is_leaf, 0, nodes["feature_idx"])]),
                "threshold": nodes["num_threshold"],
                "left": np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
                "right": np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
                "missing_left": missing_left,
                "subset": np.full(len(nodes), -1),
                "logits": np.zeros((len(nodes), len(bias))),
            }
            tree["logits"][is_leaf, target] = nodes["value"][is_leaf]
            for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~is_leaf):
                tree["subset"][node] = len(subsets)
                subsets.append(np.full_like(subsets[0], missing_left[node]))  # unknown categories count as missing
                codes = known[nodes["feature_idx"][node]]
                bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
                subsets[-1][codes] = np.unpackbits(bits.view(np.uint8), bitorder="little")[: len(codes)]
            trees.append(tree)
    return _stacked(trees, np.stack(subsets), bias)


def forest_state(estimator: Any) -> dict[str, Tensor]:
    """Return the tensors of a random forest, whose sum is the mean of its trees.

    Args:
        estimator: Fitted `RandomForestRegressor` of K outputs.

    Returns:
        Tensors of a `Forest`.
    """
    trees = []
    for tree in (member.tree_ for member in estimator.estimators_):
        is_leaf = tree.children_left < 0
        trees.append(
            {
                "feature": np.where(is_leaf, 0, tree.feature),
                "threshold": _rounded_down(tree.threshold),
                "left": tree.children_left,
                "right": tree.children_right,
                "missing_left": tree.missing_go_to_left.astype(bool),
                "subset": np.full(len(is_leaf), -1),
                "logits": np.where(is_leaf[:, None], tree.value[:, :, 0], 0.0) / len(estimator.estimators_),
            }
        )
    return _stacked(trees, np.zeros((1, 1), bool), torch.zeros(trees[0]["logits"].shape[1]))


def _rounded_down(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 that are at most the thresholds: they compare alike with every float32."""
    nearest = threshold.astype(np.float32)
    return np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _stacked(trees: Sequence[dict[str, np.ndarray]], subsets: np.ndarray, bias: Tensor) -> dict[str, Tensor]:
    """Return the tensors of a forest of these trees, in which −1 as a child is none."""
    sizes = [len(tree["left"]) for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    for root, tree in zip(roots, trees, strict=True):
        for side in ("left", "right"):
            tree[side] = np.where(tree[side] < 0, 0, tree[side] + root)
    state = {name: torch.from_numpy(np.concatenate([tree[name] for tree in trees])) for name in trees[0]}
    return state | {"subsets": torch.from_numpy(subsets), "roots": torch.from_numpy(roots), "bias": bias}
