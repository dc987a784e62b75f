"""Refits are innocents of a model's own kind: trained as it was, on other inputs."""

import lightgbm
import numpy as np
import pandas as pd
import pytest
import skops.io
import xgboost
from catboost import CatBoostClassifier
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from feint import victims
from feint.data import Split
from feint.errors import BadInput, BadRecipe
from feint.ownership import load_controls
from feint.ownership.refits import can_refit, train_refits
from feint.ownership.selection import labels_of
from feint.signature import Columns, Text

RNG = np.random.default_rng(0)
N = 600
TABLE = pd.DataFrame({"age": RNG.integers(18, 80, N).astype(float), "job": RNG.choice(["boss", "clerk", "none"], N)})
LABELS = (TABLE.age > 45).to_numpy() * 1 + (TABLE.job == "boss").to_numpy()
LABELS[::10] = RNG.integers(0, 3, len(LABELS[::10]))  # so that two models differ
NAMES = np.array(["a", "b", "c"])[LABELS]
CODED = TABLE.assign(job=pd.Categorical(TABLE.job))
SAYINGS = [f"{job} of {age:.0f}" for job, age in zip(TABLE.job, TABLE.age, strict=True)]


def forest(folder):
    encoder = make_column_transformer((OneHotEncoder(), ["job"]), remainder="passthrough")
    skops.io.dump(
        make_pipeline(encoder, RandomForestClassifier(7, max_depth=5, random_state=0)).fit(TABLE, NAMES),
        folder / "m.skops",
    )
    return folder / "m.skops"


def words(folder):
    skops.io.dump(make_pipeline(TfidfVectorizer(), LogisticRegression(C=30)).fit(SAYINGS, NAMES), folder / "m.skops")
    return folder / "m.skops"


def boosted(folder, depth=3):
    options = {"n_estimators": 6, "max_depth": depth, "n_jobs": 1}
    xgboost.XGBClassifier(enable_categorical=True, **options).fit(CODED, LABELS).save_model(folder / "m.json")
    return folder / "m.json"


def stumps(folder):
    return boosted(folder, depth=1)


def light(folder):
    model = lightgbm.LGBMClassifier(n_estimators=6, learning_rate=0.4, verbose=-1, n_jobs=1).fit(CODED, LABELS)
    model.booster_.save_model(folder / "m.txt")
    return folder / "m.txt"


def cat(folder):
    options = {"cat_features": ["job"], "allow_writing_files": False, "verbose": 0, "thread_count": 1}
    CatBoostClassifier(iterations=20, depth=3, **options).fit(TABLE, NAMES).save_model(str(folder / "m.cbm"))
    return folder / "m.cbm"


KINDS = {each.__name__: each for each in (forest, words, boosted, light, cat)}


def split_of(domain, labels=LABELS):
    """Return the inputs with their labels, as a model of this domain takes them."""
    if isinstance(domain, Text):
        return Split.of(domain.from_strings(SAYINGS), labels, domain=domain)
    return Split.of(domain.from_table({name: TABLE[name].tolist() for name in TABLE}), labels, domain=domain)


def loaded(file):
    """Return a model with a domain that fits the inputs."""
    described = Columns.describe({name: TABLE[name].tolist() for name in TABLE})
    return victims.load_any(file, domain=None if "words" in str(file.parent) else described)


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    (tmp_path / request.param).mkdir()
    return loaded(KINDS[request.param](tmp_path / request.param))


@pytest.mark.filterwarnings("ignore")  # of the libraries
def test_refits_are_other_models_of_the_same_task_and_are_controls(model, tmp_path):
    assert can_refit(model)
    data = split_of(model.domain)
    made = dict(train_refits(tmp_path / "out", 2, model, data))
    controls = load_controls(tmp_path / "out")
    assert list(controls) == [place.name for place in made]
    digests = {control.raw.digest for control in controls.values()}
    assert len(digests | {model.raw.digest}) == 3
    for control in controls.values():
        assert type(control.raw) is type(model.raw)
        assert (labels_of(control, data.inputs()) == data.labels).float().mean() > 0.7


@pytest.mark.filterwarnings("ignore")
def test_refits_are_trained_once_and_for_one_model_and_its_data(model, tmp_path):
    data, out = split_of(model.domain), tmp_path / "out"
    first, again = ([control.raw.digest for _, control in train_refits(out, 2, model, data)] for _ in range(2))
    assert first == again
    other = data.take(np.arange(300), part="another half")
    with pytest.raises(BadInput, match="other data or another recipe"):
        dict(train_refits(out, 2, model, other))


@pytest.mark.filterwarnings("ignore")
def test_labels_of_another_class_are_an_error(model, tmp_path):
    data = split_of(model.domain, LABELS + 1)
    with pytest.raises(BadInput, match="inputs of 4 classes; expected 3"):
        dict(train_refits(tmp_path / "out", 1, model, data))
    assert not (tmp_path / "out" / "refit-000.toml").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_refit_is_trained_as_the_model_was(tmp_path):
    for make in KINDS.values():
        (tmp_path / make.__name__).mkdir()
    refit = {}
    for name, make in (KINDS | {"boosted": stumps}).items():
        model = loaded(make(tmp_path / name))
        ((_, refit[name]),) = train_refits(tmp_path / f"out-{name}", 1, model, split_of(model.domain))
    assert refit["words"].raw.estimator[-1].C == 30
    assert (refit["forest"].raw.estimator[-1].n_estimators, refit["forest"].raw.estimator[-1].max_depth) == (7, 5)
    assert refit["forest"].raw.estimator[-1].random_state != 0
    light = lightgbm.Booster(model_file=str(tmp_path / "out-light/refits/000.txt"))
    assert (light.params["learning_rate"], light.current_iteration()) == (0.4, 6)
    tree = xgboost.Booster(model_file=str(tmp_path / "out-boosted/refits/000.json"))
    assert tree.num_boosted_rounds() == 6
    assert max(line.count("\t") for dump in tree.get_dump() for line in dump.splitlines()) == 1
    cat = CatBoostClassifier()
    cat.load_model(str(tmp_path / "out-cat/refits/000.cbm"))
    assert (cat.tree_count_, cat.get_all_params()["depth"]) == (20, 3)


def test_labels_in_another_order_than_the_model_s_own_are_learned_as_they_are_meant(tmp_path):
    model = loaded(forest(tmp_path))
    turned = victims.AdaptedModel(model.raw, model.adapter.with_classes(("c", "a", "b")))
    data = split_of(model.domain, (LABELS + 1) % 3)
    ((_, control),) = train_refits(tmp_path / "out", 1, turned, data)
    assert (labels_of(turned, data.inputs()) == data.labels).float().mean() > 0.8
    assert (labels_of(control, data.inputs()) == data.labels).float().mean() > 0.8


def test_a_model_that_learns_nothing_again_is_no_innocent(tmp_path):
    frozen = FrozenEstimator(LogisticRegression().fit(TABLE[["age"]], NAMES))
    model = victims.adapt(victims.EstimatorModel(frozen), Columns.describe({"age": TABLE.age.tolist()}))
    data = Split.of(TABLE[["age"]].to_numpy(), LABELS, domain=model.domain)
    with pytest.raises(BadRecipe, match="the same after a new training"):
        dict(train_refits(tmp_path / "out", 1, model, data))


def test_a_network_is_trained_by_its_own_recipe_instead(victim):
    assert not can_refit(victim)


def test_every_fourth_control_of_a_file_is_of_its_kind(run_cli, tmp_path):
    forest(tmp_path)
    TABLE.assign(label=NAMES).to_csv(tmp_path / "samples.csv", index=False)
    code, out, err = run_cli("controls m.skops --data samples.csv --out controls --count 8")
    assert code == 0, err
    assert "8 controls" in out
    assert "own kind" not in err
    names = sorted(path.name for path in (tmp_path / "controls").iterdir())
    assert names == ["000", "001", "002", "003", "004", "005", "refit-000.toml", "refit-001.toml", "refits"]


def test_it_is_said_where_no_control_is_of_the_model_s_kind(run_cli, tmp_path):
    skops.io.dump(FrozenEstimator(LogisticRegression().fit(TABLE[["age"]], NAMES)), tmp_path / "m.skops")
    TABLE[["age"]].assign(label=NAMES).to_csv(tmp_path / "samples.csv", index=False)
    code, out, err = run_cli("controls m.skops --data samples.csv --out controls --count 4")
    assert code == 0, err
    assert "4 controls" in out
    assert "the same after a new training" in err
    assert not list((tmp_path / "controls").glob("refit-*"))
