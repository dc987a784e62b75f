"""Tables and the classifiers of scikit-learn on their columns, as a victim with a domain."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from tests.support.strangers import frame
from torch import Tensor, nn

from feint.data import Split
from feint.signature import Column, Columns


class TableVictim(nn.Module):
    """Classifier of scikit-learn on numbers, codes of categories and NaN."""

    def __init__(self, estimator: Any, domain: Columns) -> None:
        super().__init__()
        self.estimator, self.domain = estimator, domain

    def forward(self, x: Tensor) -> Tensor:
        tiny = np.finfo(np.float32).tiny
        p = self.estimator.predict_proba(x.numpy()) if len(x) else np.empty((0, len(self.estimator.classes_)))
        return torch.from_numpy(np.log(np.maximum(p, tiny))).float()


class PartialTree(nn.Module):
    """Tree of scikit-learn that answers a row with missing values by the node at which one of them is asked for.

    The prediction API that Tramèr et al. attacked with incomplete queries does so.
    """

    def __init__(self, tree: DecisionTreeClassifier, data: Split) -> None:
        super().__init__()
        whole = data.domain
        assert isinstance(whole, Columns)
        self.tree, self.one_hot = tree, one_hot(whole).fit(data.values)
        self.domain = Columns(tuple(replace(column, optional=True) for column in whole.columns))

    def forward(self, x: Tensor) -> Tensor:
        codes = self.one_hot.transform(x.nan_to_num().numpy()).astype(np.float32)
        source = self.one_hot_columns()
        nodes = [self._node(row, missing[source]) for row, missing in zip(codes, x.isnan().numpy(), strict=True)]
        value = self.tree.tree_.value[nodes, 0]
        return torch.from_numpy(np.log(np.maximum(value / value.sum(1, keepdims=True), 1e-30))).float()

    def one_hot_columns(self) -> np.ndarray:
        """The column of the table that each feature of the tree is made of."""
        names = self.one_hot.get_feature_names_out()
        return np.array([int(name.split("__")[1].split("_")[0][1:]) for name in names])

    def _node(self, row: np.ndarray, missing: np.ndarray) -> int:
        tree, node = self.tree.tree_, 0
        while tree.children_left[node] != -1 and not missing[tree.feature[node]]:
            is_left = row[tree.feature[node]] <= tree.threshold[node]
            node = (tree.children_left if is_left else tree.children_right)[node]
        return node


def one_hot(domain: Columns, *, scaled: bool = False) -> ColumnTransformer:
    """Return an encoder of the categories of a table, which leaves numbers as they are or scales them."""
    categories = [i for i, column in enumerate(domain.columns) if column.categories is not None]
    codes = [np.arange(len(domain.columns[i].categories or ())) for i in categories]
    numbers = [i for i in range(len(domain.columns)) if i not in categories]
    return ColumnTransformer(
        [
            ("numbers", StandardScaler() if scaled else "passthrough", numbers),
            ("categories", OneHotEncoder(categories=codes, sparse_output=False), categories),
        ]
    )


def victim_of(estimator: Any, data: Split, *, scaled: bool = False) -> TableVictim:
    """Return an estimator on one-hot categories and numbers of a table, fitted to it unless it is already."""
    domain = data.domain
    assert isinstance(domain, Columns)
    encoder = one_hot(domain, scaled=scaled).fit(data.values)
    if not hasattr(estimator, "classes_"):
        estimator.fit(encoder.transform(data.values), data.labels.numpy())
    return TableVictim(make_pipeline(encoder, estimator), domain)


def made_table(classes: int = 3, *, optional: bool = False, n: int = 2000) -> Split:
    """A table of a real number, a whole one, a category and a share; its labels are chance, so that no leaf is pure."""
    domain = Columns(
        (
            Column("amount", low=-5, high=300, mean=100, deviation=50, optional=optional, missing=0.2),
            Column("age", integer=True, low=10, high=90, mean=40, deviation=15, optional=optional, missing=0.2),
            Column("city", ("Oslo", "Wien", "京都"), shares=(0.2, 0.3, 0.5)),
            Column("share", low=0, high=1),
        )
    )
    labels = np.random.default_rng(0).integers(0, classes, n)
    return Split.of(domain.sample(n, 0), labels, domain=domain, name="made")


def noisy_tree(data: Split, leaves: int, *, least: int = 9) -> DecisionTreeClassifier:
    """A tree for a table, whose leaves have distinct answers since the rows have random weights."""
    domain = data.domain
    assert isinstance(domain, Columns)
    tree = DecisionTreeClassifier(max_leaf_nodes=leaves, min_samples_leaf=least, random_state=0)
    weight = np.random.default_rng(0).random(len(data))
    return tree.fit(one_hot(domain).fit_transform(data.values), data.labels.numpy(), weight)


def random_rows(domain: Columns, n: int = 5000, *, missing: float = 0.0) -> Tensor:
    """Rows of uniform values, some of which may be missing."""
    rows = domain.sample(n, 1, published=False)
    rows[np.random.default_rng(2).random(rows.shape) < missing] = np.nan
    return torch.from_numpy(rows)


@functools.cache
def table(name: str, *, rows: int | None = None) -> tuple[Split, Split]:
    """Return the training and test parts of a table of FEINT_DATA; skip the test without it."""
    train, test = (frame(name, part).fillna("?") for part in ("train", "test"))
    categories = {c: sorted({*train[c], *test[c]}) for c in train if train[c].dtype.kind not in "if"}
    domain = Columns.describe({c: train[c].tolist() for c in train if c != "label"}, categories)
    parts = []
    for part, title in ((train[:rows], "train"), (test[:rows], "test")):
        x = domain.from_table({c: part[c].tolist() for c in part if c != "label"})
        parts.append(Split.of(x, part.label.to_numpy(), domain=domain, name=name, part=title))
    return parts[0], parts[1]
