"""Classifiers of scikit-learn as victims: what they answer, and what a file of theirs may hold."""

import io
import json
import pickle
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from feint import cli, data, victims
from feint.attacks import EquationSolving
from feint.attacks.parametric.linear_parameters import parameters
from feint.defenses.inputs import APMSA
from feint.errors import BadInput, DamagedFile, MissingData, NotFitted, UnknownName
from feint.models.networks import Network
from feint.service import Defense, Service
from feint.signature import Columns, Pixels, Text
from feint.victims.inspection import inspect_model

RNG = np.random.default_rng(0)
X, Y = RNG.random((90, 4)), np.arange(90) % 3
IMAGES = Pixels((1, 2, 2))
MODELS = [
    LogisticRegression(),
    DecisionTreeClassifier(max_depth=3, random_state=0),
    RandomForestClassifier(4, random_state=0),
    GradientBoostingClassifier(n_estimators=3, random_state=0),
    HistGradientBoostingClassifier(max_iter=3),
    make_pipeline(StandardScaler(), LogisticRegression()),
    OneVsRestClassifier(LogisticRegression()),
    CalibratedClassifierCV(LinearSVC(), cv=2),
    CalibratedClassifierCV(LinearSVC(), cv=2, method="isotonic"),
    KNeighborsClassifier(5),
    GridSearchCV(LogisticRegression(), {"C": [1, 10]}, cv=2),
    VotingClassifier([("a", LogisticRegression()), ("b", DecisionTreeClassifier(random_state=0))], voting="soft"),
    MLPClassifier(4, max_iter=1000, tol=1e-2, random_state=0),
]


def dumped(model, folder):
    """Load the model from a file of skops."""
    skops.io.dump(model, folder / "model.skops")
    return folder / "model.skops"


@pytest.mark.parametrize("domain", [None, IMAGES], ids=["columns", "images"])
@pytest.mark.parametrize("model", MODELS, ids=lambda estimator: type(estimator).__name__)
def test_it_answers_with_the_estimators_probabilities_also_from_a_file(model, domain, tmp_path):
    model.fit(X, Y)
    plain = victims.adapt(victims.EstimatorModel(model), domain)
    read = victims.load_any(dumped(model, tmp_path), domain=domain)
    x = torch.from_numpy(plain.domain.sample(20, 0))
    wanted = torch.from_numpy(model.predict_proba(x.flatten(1).double().numpy())).float()
    for victim in (plain, read, pickle.loads(pickle.dumps(read))):
        assert torch.allclose(victims.predict(victim, x), wanted, atol=1e-6)
        assert torch.equal(Service(victim).oracle(client="a", budget=20).ask(x), victims.predict(victim, x))
        assert victims.predict(victim, x[:0]).shape == (0, 3)
    assert victims.fingerprint(plain) == victims.fingerprint(read)
    other = victims.adapt(victims.EstimatorModel(clone(model).fit(X[:60], Y[:60])), domain)
    assert victims.fingerprint(other) != victims.fingerprint(plain)


@pytest.mark.parametrize("model", [LinearSVC(), SVC(), RidgeClassifier(), SGDClassifier()], ids=repr)
@pytest.mark.parametrize("classes", [2, 3])
def test_decision_scores_stand_for_probabilities_with_a_note(model, classes, tmp_path):
    model.fit(X, Y % classes)
    victim = victims.load_any(dumped(model, tmp_path))
    assert "not calibrated" in victim.raw.metadata.note
    assert victim(torch.from_numpy(X)).argmax(1).tolist() == model.predict(X).tolist()


def test_decision_scores_of_pairs_of_classes_are_not_taken_for_those_of_classes(tmp_path):
    model = make_pipeline(StandardScaler(), SVC(decision_function_shape="ovo")).fit(X, Y)
    victim = victims.load_any(dumped(model, tmp_path))
    assert model.decision_function(X).shape == (90, 3)
    assert victim(torch.from_numpy(X)).argmax(1).tolist() == model.predict(X).tolist()


def test_a_threshold_of_its_own_is_noted(tmp_path):
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.3).fit(X, Y > 0)
    assert "threshold 0.3" in victims.load_any(dumped(model, tmp_path)).raw.metadata.note


def test_an_estimator_of_labels_alone_answers_with_them(tmp_path):
    parts = [("a", LogisticRegression()), ("b", DecisionTreeClassifier(random_state=0))]
    model = VotingClassifier(parts).fit(X, np.array(["x", "y", "z"])[Y])
    victim = victims.load_any(dumped(model, tmp_path))
    p = victims.predict(victim, torch.from_numpy(X))
    assert p.amax(1).min() > 0.999
    assert [victim.class_names[k] for k in p.argmax(1)] == model.predict(X).tolist()


@pytest.mark.parametrize(
    "names", [(1, 2, 3), ("one", "three", "two"), (False, True), (-1.0, 1.0), ("狗", "猫")], ids=str
)
def test_classes_of_any_name_are_matched_by_name(names, tmp_path):
    labels = np.array(names)[Y % len(names)]
    victim = victims.load_any(dumped(LogisticRegression(C=1e4).fit(X, labels), tmp_path))
    texts = [victims.label_text(name) for name in names]
    assert sorted(victim.class_names) == sorted(texts)
    ordered = victims.AdaptedModel(victim.raw, victim.adapter.with_classes(texts[::-1]))
    x = torch.from_numpy(X)
    assert ordered.class_names == tuple(texts[::-1])
    assert torch.equal(ordered(x), victim(x)[:, [victim.class_names.index(name) for name in ordered.class_names]])
    with pytest.raises(BadInput, match="those of the model"):
        victim.adapter.with_classes([*texts[1:], "other"])


ROWS = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, 90).astype(float),
        "job": RNG.choice(["boss", "clerk", "none"], 90),
        "rooms": RNG.integers(1, 4, 90),
        "owner": RNG.random(90) > 0.5,
        "income": RNG.normal(3e4, 1e4, 90),
    }
)
GOOD = np.where((ROWS.age > 45) ^ (ROWS.job == "boss"), "good", "bad")


def mixed(classifier, unknown="error"):
    """Return a pipeline of mixed columns with missing ages, fitted."""
    rows = ROWS.copy()
    rows.loc[::7, "age"] = np.nan
    encoder = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income"]),
        (OneHotEncoder(handle_unknown=unknown), ["job", "rooms"]),
        remainder="passthrough",
    )
    return make_pipeline(encoder, classifier).fit(rows, GOOD)


@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=999), RandomForestClassifier(3, random_state=0)])
def test_a_pipeline_of_mixed_columns_gets_the_data_frame_that_it_was_fitted_to(classifier, tmp_path):
    model = mixed(classifier)
    victim = victims.load_any(dumped(model, tmp_path))
    columns = {column.name: column for column in victim.domain.columns}
    assert columns["job"].categories == ("boss", "clerk", "none")
    assert (columns["rooms"].low, columns["rooms"].high) == (1, 3)
    optional = {name for name, column in columns.items() if column.optional}
    assert optional == {"age", "income", *(["owner"] if isinstance(classifier, RandomForestClassifier) else [])}
    table = {name: ROWS[name].tolist() for name in ["owner", "income", "job", "age", "rooms"]}  # in another order
    x = torch.from_numpy(victim.domain.from_table(table))
    assert torch.allclose(victims.predict(victim, x), torch.from_numpy(model.predict_proba(ROWS)).float(), atol=1e-6)
    assert victim.class_names == ("bad", "good")


def test_bad_columns_say_what_is_wrong(tmp_path):
    victim = victims.load_any(dumped(mixed(LogisticRegression(max_iter=999)), tmp_path))
    table = {name: ROWS[name].tolist() for name in ROWS}
    for changes, kind, says in (
        ({"job": ["king"] * 90}, UnknownName, "king"),
        ({"age": ["old"] * 90}, BadInput, "no number"),
        ({"wage": table["age"]}, BadInput, "unknown column 'wage'"),
    ):
        with pytest.raises(kind, match=says):
            victim.domain.from_table(table | changes)
    with pytest.raises(BadInput, match="no column 'age'"):
        victim.domain.from_table({name: values for name, values in table.items() if name != "age"})
    x = victim.domain.from_table(table | {"rooms": [None] * 90})
    with pytest.raises(BadInput, match="missing value of 'rooms'"):
        victim.domain.check(x)
    with pytest.raises(BadInput, match="columns"):
        victim(torch.from_numpy(X))
    with pytest.raises(BadInput, match="unknown categories"):
        victim(torch.tensor([[30.0, 1.0, 9.0, 1.0, 2e4]]).double())
    others = {k: v for k, v in table.items() if k != "age"}
    spelled = victims.load_any(tmp_path / "model.skops", domain=Columns.describe({"Age": table["age"]} | others))
    assert spelled.domain.names == victim.domain.names
    with pytest.raises(BadInput, match="no column age and the unknown column years"):
        victims.load_any(tmp_path / "model.skops", domain=Columns.describe({"years": table["age"]} | others))


def test_categories_by_the_type_of_pandas_reach_histogram_boosting(tmp_path):
    rows = ROWS[["age", "job"]].astype({"job": "category"})
    model = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype").fit(rows, GOOD)
    victim = victims.load_any(dumped(model, tmp_path))
    x = torch.from_numpy(victim.domain.from_table({"job": rows.job.tolist(), "age": rows.age.tolist()}))
    assert torch.allclose(victims.predict(victim, x), torch.from_numpy(model.predict_proba(rows)).float(), atol=1e-6)


CODED = make_pipeline(make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["job"])), LogisticRegression())


@pytest.mark.parametrize(
    "wrapper",
    [
        CalibratedClassifierCV(CODED, method="isotonic", cv=2),
        VotingClassifier([("a", CODED), ("b", CODED)], voting="soft"),
        GridSearchCV(CODED, {"logisticregression__C": [1, 10]}, cv=2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_columns_of_wrapped_pipelines_keep_their_categories_and_missing_values(wrapper, tmp_path):
    jobs = [None if i % 9 == 0 else job for i, job in enumerate(ROWS.job)]
    rows = ROWS[["age"]].assign(job=np.array(jobs, object))
    model = clone(wrapper).fit(rows, GOOD)
    victim = victims.load_any(dumped(model, tmp_path))
    columns = {column.name: column for column in victim.domain.columns}
    assert set(columns["job"].categories) == {job for job in jobs if job is not None}
    x = victim.domain.from_table({"age": rows.age.tolist(), "job": jobs})
    victim.domain.check(x)  # the encoders know a missing job
    p = victims.predict(victim, torch.from_numpy(x))
    assert torch.allclose(p, torch.from_numpy(model.predict_proba(rows)).float(), atol=1e-6)


TEXTS = ["a good film", "bad, bad film", "so so", "good day", "bad day"] * 6
MOODS = ["up", "down", "flat", "up", "down"] * 6


@pytest.mark.parametrize(
    "vectorizer",
    [
        TfidfVectorizer(ngram_range=(1, 2)),
        HashingVectorizer(n_features=32),
        make_pipeline(FunctionTransformer(), TfidfVectorizer()),
    ],
    ids=repr,
)
def test_a_pipeline_that_takes_strings_has_the_domain_of_texts(vectorizer, tmp_path):
    model = make_pipeline(vectorizer, LogisticRegression()).fit(TEXTS, MOODS)
    victim = victims.load_any(dumped(model, tmp_path), domain=Text(40))
    x = torch.from_numpy(victim.domain.from_strings([*TEXTS, "été 電影"]))
    wanted = torch.from_numpy(model.predict_proba([*TEXTS, "été 電影"])).float()
    assert torch.allclose(victims.predict(victim, x), wanted, atol=1e-6)


def test_what_is_no_classifier_is_refused_with_what_it_is(tmp_path):
    both = make_column_transformer((TfidfVectorizer(), "text"), ("passthrough", ["n"]))
    frame = pd.DataFrame({"text": TEXTS, "n": range(30)})
    for model, says in (
        (LinearRegression().fit(X, Y), "a model of regression.*ranges of its value"),
        (KMeans(2, n_init=1).fit(X), "clustering"),
        (IsolationForest(n_estimators=2).fit(X), "outlier detection"),
        (DecisionTreeClassifier().fit(X, np.stack([Y, Y], 1)), "multi-label"),
        (OneVsRestClassifier(LogisticRegression()).fit(X, np.stack([Y > 0, Y > 1], 1)), "multi-label"),
        (make_pipeline(both, LogisticRegression()).fit(frame, MOODS), "texts and columns together"),
        (StandardScaler().fit(X), "no classification"),
    ):
        with pytest.raises(BadInput, match=says):
            victims.load_any(dumped(model, tmp_path))
    with pytest.raises(NotFitted, match="classes_"):
        victims.load_any(dumped(LogisticRegression(), tmp_path))
    victim = victims.adapt(victims.EstimatorModel(LogisticRegression().fit(X, Y)), IMAGES)
    with pytest.raises(BadInput, match="resize"):
        victim(torch.rand(2, 1, 3, 3))
    with pytest.raises(BadInput, match="gradient"):
        Service(victim, Defense(inputs=[APMSA()])).oracle(client="a", budget=5).ask(torch.rand(2, 1, 2, 2))


def test_a_file_of_foreign_types_is_refused_and_a_broken_one_named(tmp_path):
    for function, name in ((np.save, r"numpy.*save"), (pd.read_pickle, r"pandas.*read_pickle")):
        file = dumped(make_pipeline(FunctionTransformer(function), LogisticRegression()), tmp_path)
        with pytest.raises(BadInput, match=name):
            victims.load_any(file)
    (tmp_path / "noise.skops").write_bytes(b"not a file of skops")
    with pytest.raises(DamagedFile, match="skops"):
        victims.load_any(tmp_path / "noise.skops")
    with pytest.raises(MissingData, match="does not exist"):
        victims.load_any(tmp_path / "nothing.skops")
    skops.io.dump(["a", "list"], tmp_path / "list.skops")
    with pytest.raises(BadInput, match="neither predict_proba"):
        victims.load_any(tmp_path / "list.skops")


def corrupted(file, change):
    """Write the file with every array changed by `change`, which returns an array or None."""
    bad = file.with_name("bad.skops")
    with zipfile.ZipFile(file) as good, zipfile.ZipFile(bad, "w") as archive:
        assert json.loads(good.read("schema.json"))
        for name in good.namelist():
            content = good.read(name)
            array = np.load(io.BytesIO(content)) if name.endswith(".npy") else None
            if array is not None and change(array):
                buffer = io.BytesIO()
                np.save(buffer, array)
                content = buffer.getvalue()
            archive.writestr(name, content)
    return bad


@pytest.mark.parametrize(
    ("field", "value"), [("left_child", 10**9), ("left_child", 0), ("feature", 4), ("feature", -3)]
)
def test_a_tree_that_leads_out_of_itself_is_refused(field, value, tmp_path):
    def change(array):
        if field in (array.dtype.names or ()):
            array[field][0] = value
            return True
        return False

    file = dumped(DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, Y), tmp_path)
    with pytest.raises(DamagedFile, match="lead out"):
        victims.load_any(corrupted(file, change))


@pytest.mark.parametrize("wrong", range(6))
@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(6, random_state=0),
        VotingClassifier([(f"{i}", make_pipeline(StandardScaler(), DecisionTreeClassifier())) for i in range(6)]),
    ],
    ids=["forest", "pipelines"],
)
def test_every_tree_of_a_file_is_checked(model, wrong, tmp_path):
    trees = []

    def change(array):
        if "left_child" not in (array.dtype.names or ()):
            return False
        trees.append(array)
        array["left_child"][0] = 10**9 if len(trees) == wrong + 1 else array["left_child"][0]
        return len(trees) == wrong + 1

    file = corrupted(dumped(clone(model).fit(X, Y), tmp_path), change)
    assert len(trees) > wrong
    for _ in range(3):  # what is skipped may depend on the memory that is free
        with pytest.raises(DamagedFile, match="lead out"):
            victims.load_any(file)


@pytest.mark.parametrize(
    "model", [OneVsRestClassifier(LogisticRegression()), MLPClassifier((4,), max_iter=2)], ids=repr
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_several_labels_within_a_pipeline_are_refused(model, tmp_path):
    file = dumped(make_pipeline(StandardScaler(), model).fit(X, np.stack([Y > 0, Y > 1], 1)), tmp_path)
    with pytest.raises(BadInput, match="multi-label classification"):
        victims.load_any(file)


@pytest.mark.parametrize("loss", ["modified_huber", "log_loss"])
def test_labels_that_are_not_those_of_the_highest_scores_are_said(loss):
    domain = Columns.describe({f"x{i}": X[:, i].tolist() for i in range(4)})
    labels = (X[:, 0] * 3).astype(int)
    model = SGDClassifier(loss=loss, random_state=0).fit(X, np.array(["low", "mid", "high"])[labels])
    split = data.Split.of(X, labels, domain=domain)
    said = [
        line for line in inspect_model(victims.EstimatorModel(model), split, ("low", "mid", "high")).evidence
        if "predict" in line
    ]  # fmt: skip
    if loss == "log_loss":
        assert said == []
        return
    (line,) = said  # ties of scores are decided by the order of the classes
    assert 25 < int(re.fullmatch(r"mind: its own labels .* on (\d+)%", line)[1]) < 45


@pytest.mark.parametrize(
    ("field", "value"), [("left", 10**9), ("right", 0), ("feature_idx", 4), ("is_categorical", 1), ("bitset_idx", 99)]
)
def test_a_histogram_tree_that_leads_out_of_itself_is_refused(field, value, tmp_path):
    def change(array):
        if field in (array.dtype.names or ()):
            array[field][0] = value
            array["is_categorical"][0] = field in ("is_categorical", "bitset_idx")
            return True
        return False

    file = dumped(HistGradientBoostingClassifier(max_iter=2).fit(X, Y), tmp_path)
    with pytest.raises(DamagedFile, match="out of it"):
        victims.load_any(corrupted(file, change))


@pytest.mark.parametrize(("field", "value"), [("bitset_idx", 99), ("feature_idx", 1)])
def test_a_histogram_tree_whose_categories_lead_out_of_it_is_refused(field, value, tmp_path):
    def change(array):
        if field in (array.dtype.names or ()) and array["is_categorical"].any():
            array[field][array["is_categorical"] == 1] = value
            return True
        return False

    codes = np.column_stack([np.arange(90) % 6, X])
    labels = np.isin(codes[:, 0], (1, 4)).astype(int)
    file = dumped(HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]).fit(codes, labels), tmp_path)
    assert victims.load_any(file).classes == 2
    with pytest.raises(DamagedFile, match="categories lead out"):
        victims.load_any(corrupted(file, change))


def test_the_search_tree_of_neighbors_is_built_anew(tmp_path):
    model = KNeighborsClassifier(5).fit(X, Y)
    before = model.predict_proba(X)

    def change(array):
        if array.dtype.kind == "i" and len(array) == len(X) and sorted(array) == list(range(len(X))):
            array[:] = 10**9  # the order of the points, which the search would follow
            return True
        return False

    victim = victims.load_any(corrupted(dumped(model, tmp_path), change))
    assert torch.allclose(victims.predict(victim, torch.from_numpy(X)), torch.from_numpy(before).float(), atol=1e-6)


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
    oracle = Service(victims.adapt(victims.EstimatorModel(model), IMAGES)).oracle(client="a", budget=5)
    weight, bias = parameters(EquationSolving(Network("linear", (1, 2, 2), 2)).steal(oracle))
    assert np.allclose((weight[1] - weight[0]).numpy(), model.coef_[0], rtol=1e-5)
    assert np.allclose((bias[1] - bias[0]).numpy(), model.intercept_[0], rtol=1e-4)


def test_one_row_without_its_category_is_answered_as_in_a_batch():
    table = pd.DataFrame({"job": ["a", "b", np.nan, "b"] * 20, "age": np.arange(80.0)})
    steps = make_column_transformer((OneHotEncoder(), ["job"]), (StandardScaler(), ["age"]))
    model = make_pipeline(steps, LogisticRegression()).fit(table, np.arange(80) % 4 == 2)
    adapted = victims.adapt(victims.EstimatorModel(model))
    x = torch.tensor([[0.0, 5.0], [float("nan"), 7.0]], dtype=torch.float64)
    p = victims.predict(adapted, x)
    assert torch.allclose(victims.predict(adapted, x[1:]), p[1:])
    assert np.allclose(p, model.predict_proba(pd.DataFrame({"job": ["a", np.nan], "age": [5.0, 7.0]})), atol=1e-6)
