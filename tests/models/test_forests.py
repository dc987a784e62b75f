"""Forests as tensors: they answer as scikit-learn does, missing values and categories included."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor

from feint.errors import DamagedFile
from feint.models import stored
from feint.models.forests import BoostedTrees, RandomForest, boosted_state, forest_state
from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.signature import Column, Columns

CATEGORIES = [0, 4, 0, 40, 0]
DOMAIN = Columns(
    tuple(
        Column(f"c{i}", tuple(map(str, range(size))) if size else None, optional=i > 0)
        for i, size in enumerate(CATEGORIES)
    )
)


def rows(n, *, seed=0, missing=0.1):
    """Rows of numbers and categories, some of them missing, and a score on which two of them act together."""
    random = np.random.default_rng(seed)
    x = np.stack([random.integers(0, size, n) if size else random.normal(1e4, 50, n) for size in CATEGORIES], 1)
    x = x.astype(np.float64)
    score = (x[:, 0] - 1e4) / 50 + (x[:, 1] == 2) * 2 + (x[:, 3] % 3 == 0) * np.sign(x[:, 2] - 1e4)
    x[:, 1:][random.random((n, len(CATEGORIES) - 1)) < missing] = np.nan
    return x, score


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("subsets", [True, False], ids=["subsets", "codes"])
def test_boosted_trees_answer_as_scikit_learn_does(classes, subsets):
    x, score = rows(700)
    by_subset = np.array([size > 0 and subsets for size in CATEGORIES])
    x[:500][x[:500, 3] >= 35, 3] = 0  # categories that no training row has
    estimator = HistGradientBoostingClassifier(
        max_iter=30, categorical_features=by_subset if subsets else None, random_state=0
    ).fit(x[:500], np.digitize(score[:500], [0, 1][: classes - 1]))
    trees = BoostedTrees(len(CATEGORIES), classes, CATEGORIES)
    trees.load_state_dict(boosted_state(estimator, by_subset, trees.categories, torch.zeros(classes)))
    assert (trees.subset >= 0).any() == subsets
    p = trees(torch.from_numpy(x)).double().softmax(1).numpy()
    np.testing.assert_allclose(p, estimator.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_random_forest_answers_as_scikit_learn_does(missing):
    x, score = rows(700, missing=missing)
    p = 1 / (1 + np.exp(-np.stack([score, -score], 1)))
    estimator = RandomForestRegressor(50, random_state=0).fit(x[:500], p[:500])
    x[500:, 2] = np.nan  # a value that may have been present in every training row
    thresholds = estimator.estimators_[0].tree_.threshold
    x[600:, 0] = np.random.default_rng(1).choice(thresholds[np.isfinite(thresholds)], 100)
    forest = RandomForest(len(CATEGORIES), 2)
    forest.load_state_dict(forest_state(estimator))
    np.testing.assert_allclose(forest(torch.from_numpy(x)).exp().numpy(), estimator.predict(x), atol=1e-6)


@pytest.mark.parametrize("name", ["boosted_trees", "random_forest"])
def test_probabilities_make_a_better_copy_than_labels(name):
    x, score = (torch.from_numpy(array) for array in rows(1300))
    p = torch.stack([-score, score], 1).mul(0.5).softmax(1)
    network, labels = Network(name, DOMAIN, 2), p.argmax(1)
    copies = [learn(network, x[:300], targets[:300], Training(), seed=1)(x[300:]) for targets in (p, labels)]
    soft, hard = ((z.softmax(1) - p[300:]).square().mean().sqrt() for z in copies)
    assert soft < 0.8 * hard
    assert (copies[0].argmax(1) == labels[300:]).float().mean() > 0.8


@pytest.mark.parametrize("shape", [DOMAIN, (1, 4, 4)], ids=["columns", "pixels"])
@pytest.mark.parametrize("name", ["boosted_trees", "random_forest"])
def test_a_forest_is_stored_and_the_same_seed_gives_the_same(name, shape, tmp_path):
    x = torch.from_numpy(rows(60)[0]) if shape is DOMAIN else torch.rand(60, 1, 4, 4)
    p = torch.rand(60, 5).softmax(1)
    network = Network(name, shape, 5)
    a, b = (learn(network, x, p, Training(), seed=3) for _ in range(2))
    assert stored.fingerprint(a) == stored.fingerprint(b)
    stored.save(tmp_path / "copy", a)
    assert torch.equal(stored.load(tmp_path / "copy")(x), a(x))
    assert not a.training


@pytest.mark.parametrize("name", ["boosted_trees", "random_forest"])
def test_classes_that_no_answer_has_are_never_predicted(name):
    x = torch.from_numpy(rows(60)[0])
    one = learn(Network(name, DOMAIN, 4), x, torch.full((60,), 2), Training())
    assert (one(x).argmax(1) == 2).all()
    two = learn(Network(name, DOMAIN, 4), x, torch.arange(60) % 2 + 1, Training())
    assert set(two(x).argmax(1).tolist()) <= {1, 2}
    assert two(x).softmax(1)[:, [0, 3]].max() < 1e-6


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("roots", lambda roots: roots + 10**6, "roots that are no nodes"),
        ("subset", lambda subset: subset + 10**6, "subsets of categories that are not there"),
        ("left", lambda left: left * 0 + 1, "nodes that are no tree"),
        ("feature", lambda feature: feature + 99, "a tree of other inputs"),
    ],
)
def test_damaged_trees_are_refused(name, damage, message, tmp_path):
    model = learn(Network("boosted_trees", DOMAIN, 2), torch.from_numpy(rows(60)[0]), torch.arange(60) % 2, Training())
    buffer = getattr(model.body, name)
    setattr(model.body, name, damage(buffer))
    stored.save(tmp_path / "copy", model)
    with pytest.raises(DamagedFile, match=message):
        stored.load(tmp_path / "copy")
