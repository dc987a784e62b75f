"""Decision trees of scikit-learn over the columns of a table, as victims whose answers tell leaves apart."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

from feint.data import Split
from feint.signature import Columns


class PartialTree(nn.Module):
    """Tree that answers a row with missing values by the node at which one of them is asked for.

    The prediction API that Tramèr et al. attacked with incomplete queries does so. An answer is the class shares of the
    node's training rows with one row more of each class (Laplace), so that leaves of one class but of different sizes
    have different answers, as confidences have.

    Args:
        tree: Tree on the one-hot columns of the table.
        data: Rows that it was grown on.
        optional: Whether a value may be missing; otherwise the domain is that of the data.
    """

    def __init__(self, tree: DecisionTreeClassifier, data: Split, *, optional: bool = True) -> None:
        super().__init__()
        whole = data.domain
        assert isinstance(whole, Columns)
        self.domain = Columns(tuple(replace(column, optional=True) for column in whole.columns)) if optional else whole
        self.tree, self._encoder = tree.tree_, one_hot(whole).fit(data.values)
        # x3_1.0 is a category of column 3, x3 its numbers
        names = [name.split("__")[1].split("_")[0] for name in self._encoder.get_feature_names_out()]
        self._column = np.array([int(name[1:]) for name in names])
        counts = self.tree.value[:, 0] * self.tree.weighted_n_node_samples[:, None] + 1
        self._logits = np.log(counts / counts.sum(1, keepdims=True)).astype(np.float32)

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return int(self.tree.n_leaves)

    @property
    def identities(self) -> int:
        """Number of different answers of leaves."""
        return len(np.unique(self._logits[self.tree.children_left < 0], axis=0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._logits[self.nodes(x)])

    def nodes(self, x: Tensor) -> np.ndarray:
        """Return the node (N,) at which each row (N, D) is answered."""
        codes = np.asarray(self._encoder.transform(x.nan_to_num().numpy()), np.float32)
        missing, rows = x.isnan().numpy()[:, self._column], np.arange(len(x))
        node = np.zeros(len(x), np.int64)
        for _ in range(self.tree.max_depth):
            feature = self.tree.feature[node].clip(0)  # -2 in leaves
            goes_on = (self.tree.children_left[node] >= 0) & ~missing[rows, feature]
            is_left = codes[rows, feature] <= self.tree.threshold[node]
            child = np.where(is_left, self.tree.children_left[node], self.tree.children_right[node])
            node = np.where(goes_on, child, node)
        return node


def one_hot(domain: Columns, *, scaled: bool = False) -> ColumnTransformer:
    """Return an encoder of the categories of a table, which leaves numbers as they are or scales them."""
    categories = [i for i, column in enumerate(domain.columns) if column.categories is not None]
    codes: Any = [np.arange(len(domain.columns[i].categories or ())) for i in categories]
    numbers = [i for i in range(len(domain.columns)) if i not in categories]
    return ColumnTransformer(
        [
            ("numbers", StandardScaler() if scaled else "passthrough", numbers),
            ("categories", OneHotEncoder(categories=codes, sparse_output=False), categories),
        ]
    )
