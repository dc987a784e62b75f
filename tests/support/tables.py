"""Tables and the classifiers of scikit-learn on their columns, as a victim with a domain."""

import functools
from typing import Any

import numpy as np
import torch
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.support.strangers import frame
from torch import Tensor, nn

from feint.data import Split
from feint.signature import Columns


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

    def __init__(self, tree: Any, one_hot: Any, domain: Columns) -> None:
        super().__init__()
        self.tree, self.one_hot, self.domain = tree, one_hot, domain

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
    """Return the estimator fitted to one-hot categories and numbers of a table."""
    domain = data.domain
    assert isinstance(domain, Columns)
    pipeline = make_pipeline(one_hot(domain, scaled=scaled), estimator).fit(data.values, data.labels.numpy())
    return TableVictim(pipeline, domain)


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
