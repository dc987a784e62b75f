"""Tables and the classifiers of scikit-learn on their columns, as a victim with a domain."""

import functools
from typing import Any

import numpy as np
import torch
from benchmarks.tables.trees import one_hot
from sklearn.pipeline import make_pipeline
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
