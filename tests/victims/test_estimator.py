"""Classifiers of scikit-learn as victims: what they answer, and what a file of theirs may hold."""

import json
import zipfile

import numpy as np
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from feint import cli, data, victims
from feint.attacks import EquationSolving
from feint.attacks.parametric.linear_parameters import parameters
from feint.defenses.inputs import APMSA
from feint.errors import BadInput, DamagedFile, MissingData
from feint.models.networks import Network
from feint.service import Defense, Service

RNG = np.random.default_rng(0)
X, Y = RNG.random((90, 4)), np.arange(90) % 3
MODELS = [
    LogisticRegression(),
    DecisionTreeClassifier(max_depth=3, random_state=0),
    RandomForestClassifier(4, random_state=0),
    make_pipeline(StandardScaler(), LogisticRegression()),
    OneVsRestClassifier(LogisticRegression()),
    MLPClassifier(4, max_iter=1000, tol=1e-2, random_state=0),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda estimator: type(estimator).__name__)
def test_it_answers_with_the_estimators_probabilities_also_from_a_file(model, tmp_path):
    model.fit(X, Y)
    x = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    skops.io.dump(model, tmp_path / "model.skops")
    plain, read = victims.FromEstimator(model), victims.load_any(tmp_path / "model.skops")
    wanted = torch.from_numpy(model.predict_proba(x.flatten(1).double().numpy())).float()
    for victim in (plain, read):
        assert torch.allclose(victims.predict(victim, x), wanted, atol=1e-6)
        assert torch.equal(Service(victim).oracle(client="a", budget=20).ask(x), victims.predict(victim, x))
        assert victims.predict(victim, x[:0]).shape == (0, 3)
    assert victims.fingerprint(plain) == victims.fingerprint(read)
    assert victims.fingerprint(victims.FromEstimator(clone(model).fit(X[:60], Y[:60]))) != victims.fingerprint(plain)


def test_what_is_no_classifier_with_probabilities_is_refused():
    for model, says in (
        (LinearRegression().fit(X, Y), "classes_"),
        (RidgeClassifier().fit(X, Y), "predict_proba"),
        (LogisticRegression(), "classes_"),
        (LogisticRegression().fit(X, Y + 1), "0 … 2"),
        (DecisionTreeClassifier().fit(X, np.stack([Y, Y], 1)), "one output"),
    ):
        with pytest.raises(BadInput, match=says):
            victims.FromEstimator(model)
    victim = victims.FromEstimator(LogisticRegression().fit(X, np.array(["a", "b", "c"])[Y]))
    with pytest.raises(BadInput, match="features"):
        victim(torch.rand(2, 1, 3, 3))
    with pytest.raises(BadInput, match="gradient"):
        Service(victim, Defense(inputs=[APMSA()])).oracle(client="a", budget=5).ask(torch.rand(2, 1, 2, 2))


def test_a_file_of_foreign_types_is_refused_and_a_broken_one_named(tmp_path):
    skops.io.dump(make_pipeline(FunctionTransformer(np.save), LogisticRegression()).fit, tmp_path / "foreign.skops")
    with pytest.raises(BadInput, match=r"numpy.*save"):
        victims.load_any(tmp_path / "foreign.skops")
    (tmp_path / "noise.skops").write_bytes(b"not a file of skops")
    with pytest.raises(DamagedFile, match="skops"):
        victims.load_any(tmp_path / "noise.skops")
    with pytest.raises(MissingData, match="not there"):
        victims.load_any(tmp_path / "nothing.skops")
    skops.io.dump(["a", "list"], tmp_path / "list.skops")
    with pytest.raises(BadInput, match="list without"):
        victims.load_any(tmp_path / "list.skops")


def test_tree_with_invalid_child_indices_is_refused(tmp_path):
    model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, Y)
    skops.io.dump(model, tmp_path / "tree.skops")
    with zipfile.ZipFile(tmp_path / "tree.skops") as good, zipfile.ZipFile(tmp_path / "bad.skops", "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            if name.endswith(".npy"):
                import io

                array = np.load(io.BytesIO(content))
                if array.dtype.names:
                    array["left_child"][0] = 10**9
                    buffer = io.BytesIO()
                    np.save(buffer, array)
                    content = buffer.getvalue()
            bad.writestr(name, content)
        assert "schema.json" in good.namelist()
        assert json.loads(good.read("schema.json"))
    with pytest.raises(DamagedFile, match="lead out"):
        victims.load_any(tmp_path / "bad.skops")


def test_feint_steal_takes_such_a_file(tmp_path, capsys):
    digits = data.load("digits")
    model = LogisticRegression(max_iter=2000).fit(digits.train.inputs().flatten(1).numpy(), digits.train.labels.numpy())
    skops.io.dump(model, tmp_path / "victim.skops")
    words = ["steal", "EquationSolving", "--victim", str(tmp_path / "victim.skops"), "--pool", "digits"]
    words += ["--budget", "65", "--out", str(tmp_path / "stolen")]
    with pytest.raises(SystemExit):
        cli.main(words)
    assert "--surrogate" in capsys.readouterr().err
    cli.main([*words, "--surrogate", "linear"])
    weight, bias = parameters(victims.load(tmp_path / "stolen"))
    assert np.allclose(weight.numpy(), model.coef_ - model.coef_.mean(0), atol=1e-5)
    assert np.allclose(bias.numpy(), model.intercept_ - model.intercept_.mean(), atol=1e-4)
    cli.main(["evaluate", str(tmp_path / "stolen"), "--victim", str(tmp_path / "victim.skops"), "--data", "digits"])
    assert "100.00%" in capsys.readouterr().out


def test_binary_regression_is_solved_too():
    model = LogisticRegression(C=100).fit(X, Y == 1)
    oracle = Service(victims.FromEstimator(model)).oracle(client="a", budget=5)
    weight, bias = parameters(EquationSolving(Network("linear", (1, 2, 2), 2)).steal(oracle))
    assert np.allclose((weight[1] - weight[0]).numpy(), model.coef_[0], rtol=1e-5)
    assert np.allclose((bias[1] - bias[0]).numpy(), model.intercept_[0], rtol=1e-4)
