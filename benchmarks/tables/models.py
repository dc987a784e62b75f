"""Models as owners have them: what an attacker gets of tables and texts, with real inputs and with drawn ones.

No suite: victims are files of other libraries, and the attacker chooses a surrogate by the answers of each cell.

The victim is trained on the training part of a named set, the attacker's pool is the set's own, and the copy is judged
on its test part. APGP top-1 keeps every label, so that its worst case is that of labels alone.
"""

import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables.packages import PACKAGES
from benchmarks.tables.rows import Jobs, Row
from feint import data, victims
from feint._optional import require
from feint.attacks import HardLabels, default_surrogates, tune
from feint.data import Dataset
from feint.defense import Defense
from feint.defenses.outputs import APGP
from feint.evaluation import metrics
from feint.models.training import learn
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service
from feint.signature import Columns, Text

BUDGETS = 100, 1000, 5000
ACCESS = "probabilities", "labels", "probabilities behind APGP top-1"


def table_of(images: Dataset) -> Columns:
    """Return the domain of a table."""
    assert isinstance(images.domain, Columns)
    return images.domain


def frame(images: Dataset, part: str) -> Any:
    """Return the inputs of a part of a table as a data frame, with categories as such."""
    split, domain = getattr(images, part), table_of(images)
    pandas = require("pandas", "sklearn")
    table = pandas.DataFrame(domain.to_table(split.inputs().numpy()))
    for column in domain.columns:
        if column.categories is not None:
            table[column.name] = pandas.Categorical(table[column.name], categories=column.categories)
    return table


def boosted(images: Dataset, folder: Path) -> Path:
    """Write an XGBoost classifier of a table."""
    xgboost = require("xgboost", "boosting")
    model = xgboost.XGBClassifier(n_estimators=60, max_depth=5, enable_categorical=True, n_jobs=1)
    model.fit(frame(images, "train"), images.train.labels.numpy()).save_model(folder / "model.json")
    return folder / "model.json"


def regression(images: Dataset, folder: Path) -> Path:
    """Write a logistic regression of a table, with encoder and scaler, as scikit-learn's pipeline."""
    compose, pipeline, preprocessing, linear_model = (
        require(f"sklearn.{name}", "sklearn") for name in ("compose", "pipeline", "preprocessing", "linear_model")
    )
    columns = table_of(images).columns
    x = frame(images, "train").astype({c.name: object for c in columns if c.categories})
    words = [column for column in columns if column.categories is not None]
    known = [[*(column.categories or ()), *([np.nan] if column.optional else [])] for column in words]
    encoder = preprocessing.OneHotEncoder(categories=known)
    encoded = compose.ColumnTransformer(
        [("words", encoder, [column.name for column in words])], remainder=preprocessing.StandardScaler()
    )
    model = pipeline.make_pipeline(encoded, linear_model.LogisticRegression(max_iter=500))
    require("skops.io", "sklearn").dump(model.fit(x, images.train.labels.numpy()), folder / "model.skops")
    return folder / "model.skops"


def tfidf(images: Dataset, folder: Path) -> Path:
    """Write a TF-IDF pipeline of texts."""
    text, pipeline, linear_model = (
        require(f"sklearn.{name}", "sklearn") for name in ("feature_extraction.text", "pipeline", "linear_model")
    )
    assert isinstance(images.domain, Text)
    texts = images.domain.to_strings(images.train.inputs().numpy())
    vectorizer = text.TfidfVectorizer(ngram_range=(1, 2), min_df=3)
    model = pipeline.make_pipeline(vectorizer, linear_model.LogisticRegression(C=10, max_iter=500))
    require("skops.io", "sklearn").dump(model.fit(texts, images.train.labels.numpy()), folder / "model.skops")
    return folder / "model.skops"


VICTIMS: dict[str, tuple[str, Callable[[Dataset, Path], Path]]] = {
    "Adult, XGBoost": ("adult", boosted),
    "Adult, logistic regression": ("adult", regression),
    "German credit, XGBoost": ("german_credit", boosted),
    "German credit, logistic regression": ("german_credit", regression),
    "SMS spam, TF-IDF": ("sms_spam", tfidf),
    "IMDB, TF-IDF": ("imdb", tfidf),
}


@cache
def victim(name: str) -> tuple[nn.Module, Dataset]:
    """Return a victim from its file, and its data set."""
    if name in PACKAGES:
        return PACKAGES[name].load()
    kind, make = VICTIMS[name]
    images = data.load(kind)
    with tempfile.TemporaryDirectory() as folder:
        model = victims.load_any(make(images, Path(folder)), domain=images.domain).eval()
        known = victims.domain_of(model)
        if isinstance(known, Columns):  # the codes of the set's categories are those of the model
            pairs = zip(known.columns, table_of(images).columns, strict=True)
            assert all(mine.categories == theirs.categories for mine, theirs in pairs)
        return model, images


def jobs(progress: ProgressCallback) -> Jobs:
    """What an attacker gets of each victim, by what they read, what they ask, and how much."""
    for name in (*VICTIMS, *PACKAGES):
        most, table = _pool(name)
        sources = ("pool", "marginals") if table else ("pool",)
        for source in sources:
            for access in ACCESS if source == "pool" else ACCESS[:1]:
                for budget in dict.fromkeys(min(budget, most) if source == "pool" else budget for budget in BUDGETS):
                    yield f"{name}-{source}-{access}-{budget}", partial(theft, name, source, access, budget, progress)


def _pool(name: str) -> tuple[int, bool]:
    """Return how many inputs the attacker's pool has, and whether they are rows of a table."""
    if name in PACKAGES:
        return PACKAGES[name].pool, False
    images = data.load(VICTIMS[name][0])
    return len(images.pool), isinstance(images.domain, Columns)


def theft(name: str, source: str, access: str, budget: int, progress: ProgressCallback) -> Row:
    model, images = victim(name)
    x = queries(images, source, budget)
    p = answers(model, images, access, x)
    tuning = tune(x, p, default_surrogates(images.domain, p.shape[1]), progress=progress)
    stolen = learn(tuning.surrogate.network, x, p, tuning.surrogate.training, progress=progress)
    clean = victims.answers(model, images.test)
    scores = metrics.theft(metrics.StolenAnswers(victims.answers(stolen, images.test), clean, images.test.labels))
    labels = images.test.labels
    about = {"victim": name, "queries": source, "access": access, "budget": budget, "n_test": len(labels), "seed": 0}
    return about | {
        "surrogate": tuning.surrogate.network.name,
        "learned": tuning.learned,
        "victim_accuracy": metrics.accuracy(clean, labels),
        "majority": (labels.bincount().max() / len(labels)).item(),
        **scores,
    }


def queries(images: Dataset, source: str, budget: int) -> Tensor:
    """Return the attacker's inputs: random ones of the pool, or draws from the published statistics of each column."""
    if source == "marginals":
        return torch.from_numpy(images.domain.sample(budget, 0))
    rows = torch.randperm(len(images.pool), generator=torch.Generator().manual_seed(0))[:budget]
    return images.pool.inputs(rows)


def answers(model: nn.Module, images: Dataset, access: str, x: Tensor) -> Tensor:
    """Return what the attacker reads."""
    defense = Defense()
    if access == ACCESS[2]:
        defense = Defense(outputs=[APGP(top=1).fit(model, images.train.take(slice(0, 1000), part="train, first"))])
    service = Service(model, defense)
    p = torch.cat([service(Query(batch, "attacker")).p for batch in x.split(500)])
    return HardLabels().read(p) if access == ACCESS[1] else p
