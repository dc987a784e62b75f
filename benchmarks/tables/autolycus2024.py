"""AUTOLYCUS (Oksuz, Halimi and Ayday, PETS 2024) without its explanations, on its data.

No suite: victims are models of scikit-learn on codes of categories, with the settings of the paper's artifact. The
attacker draws rows from the published statistics of each column, reads labels or probabilities, and chooses among the
surrogates of a table by answers set aside. The paper's attacker reads labels and explanations, and begins with a few
rows of each class.
"""

import functools
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor, nn

from benchmarks.tables.rows import Jobs, Row
from benchmarks.tables.whole_tables import WholeTable, whole_table
from feint import victims
from feint.attacks import HardLabels, default_surrogates, tune
from feint.evaluation import metrics
from feint.models.training import learn
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service

STATE = 101  # of the artifact's estimators
SEEDS = range(3)
ACCESS = "labels", "probabilities"


class OnCodes(nn.Module):
    """Classifier of scikit-learn on numbers and codes of categories, of all classes of a table."""

    def __init__(self, estimator: Any, table: WholeTable) -> None:
        super().__init__()
        self.domain, self._classes = table.domain, len(table.classes)
        self._estimator = estimator.fit(table.train.values, table.train.labels.numpy())

    def forward(self, x: Tensor) -> Tensor:
        p = np.zeros((len(x), self._classes))
        p[:, self._estimator.classes_] = self._estimator.predict_proba(x.numpy())
        return torch.from_numpy(np.log(np.maximum(p, np.finfo(np.float32).tiny))).float()


class Similarity(NamedTuple):
    """Published similarity: how often the copy agreed with the victim after this many queries.

    Attributes:
        victim: Name in `VICTIMS`.
        explanations: Settings of the explanations that the paper's attacker read.
        queries: Number of queries.
        fidelity: Agreement on test rows, the mean over the artifact's runs.
    """

    victim: str
    explanations: str
    queries: int
    fidelity: float


VICTIMS: Mapping[str, tuple[str, Callable[[], Any]]] = {
    "Nursery, logistic regression": ("nursery", lambda: LogisticRegression(max_iter=10_000, random_state=STATE)),
    "Nursery, random forest": ("nursery", lambda: RandomForestClassifier(max_depth=15, random_state=STATE)),
    "Adult, logistic regression": ("adult", lambda: LogisticRegression(max_iter=10_000, random_state=STATE)),
    "Adult, random forest": ("adult", lambda: RandomForestClassifier(max_depth=15, random_state=STATE)),
    "Crop, decision tree": ("crop", lambda: DecisionTreeClassifier(max_depth=15, random_state=STATE)),
}
SIMILARITIES = (
    Similarity("Nursery, logistic regression", "LIME, 3 features", 15, 0.666),
    Similarity("Nursery, logistic regression", "LIME, 3 features", 115, 0.941),
    Similarity("Nursery, logistic regression", "LIME, 3 features", 265, 0.978),
    Similarity("Nursery, logistic regression", "LIME, 3 features", 515, 0.987),
    Similarity("Nursery, logistic regression", "LIME, 3 features", 1015, 0.991),
    Similarity("Nursery, random forest", "LIME, 3 features", 1015, 0.919),
    Similarity("Adult, random forest", "LIME, 3 features", 852, 0.874),
    Similarity("Adult, logistic regression", "LIME, 11 features", 106, 0.829),
    Similarity("Adult, logistic regression", "LIME, 11 features", 253, 0.867),
    Similarity("Adult, logistic regression", "LIME, 11 features", 506, 0.830),
    Similarity("Adult, logistic regression", "LIME, 11 features", 1006, 0.850),
    Similarity("Crop, decision tree", "SHAP, 3 features", 34, 0.380),
    Similarity("Crop, decision tree", "SHAP, 3 features", 68, 0.687),
    Similarity("Crop, decision tree", "SHAP, 3 features", 102, 0.836),
    Similarity("Crop, decision tree", "SHAP, 3 features", 136, 0.879),
    Similarity("Crop, decision tree", "SHAP, 3 features", 170, 0.881),
)


@functools.cache
def victim(name: str) -> tuple[OnCodes, WholeTable]:
    """Return the victim of this name, and its table."""
    table, make = VICTIMS[name]
    return OnCodes(make(), whole_table(table)), whole_table(table)


def jobs(progress: ProgressCallback) -> Jobs:
    """Each published similarity, from labels and from probabilities, with three seeds."""
    for entry in SIMILARITIES:
        for access in ACCESS:
            for seed in SEEDS:
                name = f"{entry.victim}-{entry.queries}-{access}-{seed}"
                yield name, partial(theft, entry.victim, entry.queries, access, seed, progress)


def theft(name: str, budget: int, access: str, seed: int, progress: ProgressCallback) -> Row:
    """Draw rows, read the answers, and train the surrogate that explains answers set aside best."""
    model, table = victim(name)
    x = torch.from_numpy(table.domain.sample(budget, seed))
    service = Service(model)
    p = torch.cat([service(Query(batch, "attacker")).p for batch in x.split(500)])
    p = HardLabels().read(p) if access == "labels" else p
    surrogate = tune(x, p, default_surrogates(table.domain, p.shape[1]), seed=seed, progress=progress).surrogate
    stolen = learn(surrogate.network, x, p, surrogate.training, seed=seed, progress=progress)
    clean, labels = victims.answers(model, table.test), table.test.labels
    scores = metrics.theft(metrics.StolenAnswers(victims.answers(stolen, table.test), clean, labels))
    about = {"victim": name, "access": access, "asked": service.ledger["attacker"].queries, "seed": seed}
    accuracy = metrics.accuracy(clean, labels)
    return {**about, "surrogate": surrogate.network.name, "n_test": len(labels), "victim_accuracy": accuracy, **scores}
