"""Files of XGBoost, LightGBM and CatBoost as victims: the library's own probabilities, categories and names."""

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from feint import victims
from feint.errors import BadInput, DamagedFile, UnknownName
from feint.signature import Columns
from feint.victims.formats import native_load
from feint.victims.formats.boosting import XgboostModel
from feint.victims.formats.ubjson import check_ubjson

RNG = np.random.default_rng(0)
N = 300
TABLE = pd.DataFrame(
    {
        "age": RNG.integers(18, 80, N).astype(float),
        "job": pd.Categorical(RNG.choice(["clerk", "boss", "none"], N)),
        "x y": RNG.random(N),
    }
)
TABLE.loc[::9, "age"] = np.nan
BINARY = ((TABLE.age > 45) ^ (TABLE.job == "boss")).astype(int).to_numpy()
THREE = BINARY + (TABLE["x y"] > 0.7).astype(int).to_numpy()
ROWS = {name: TABLE[name].tolist() for name in ("x y", "job", "age")}  # in another order


def xgboost_file(folder, labels, name="m.json", **options):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, n_jobs=1, **options).fit(TABLE, labels)
    model.save_model(folder / name)
    return folder / name, model


def lightgbm_file(folder, labels, **options):
    lightgbm = pytest.importorskip("lightgbm")
    model = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1, **options)
    model.fit(TABLE.rename(columns={"x y": "x_y"}), labels)
    model.booster_.save_model(folder / "m.txt")
    return folder / "m.txt", model


def catboost_file(folder, labels, **options):
    catboost = pytest.importorskip("catboost")
    options = {"iterations": 5, "verbose": 0, "cat_features": ["job"], "allow_writing_files": False} | options
    model = catboost.CatBoostClassifier(**options).fit(TABLE, labels)
    model.save_model(str(folder / "m.cbm"))
    return folder / "m.cbm", model


CASES = {
    "xgboost, json": lambda folder: xgboost_file(folder, BINARY),
    "xgboost, ubj": lambda folder: xgboost_file(folder, THREE, "m.ubj"),
    "xgboost, labels alone": lambda folder: xgboost_file(folder, THREE, objective="multi:softmax"),
    "lightgbm": lambda folder: lightgbm_file(folder, BINARY),
    "lightgbm, three": lambda folder: lightgbm_file(folder, THREE),
    "lightgbm, one against all": lambda folder: lightgbm_file(folder, THREE, objective="multiclassova", num_class=3),
    "catboost": lambda folder: catboost_file(folder, BINARY),
    "catboost, three": lambda folder: catboost_file(folder, np.array(["a", "b", "c"])[THREE]),
}


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize("case", CASES)
def test_a_file_of_trees_answers_as_its_library_with_columns_matched_by_name(case, tmp_path):
    file, model = CASES[case](tmp_path)
    victim = victims.load_any(file, domain=Columns.describe(ROWS))
    x = torch.from_numpy(victim.domain.from_table(ROWS))
    victim.domain.check(x.numpy())
    frame = TABLE if "lightgbm" not in case else TABLE.rename(columns={"x y": "x_y"})
    wanted = model.predict_proba(frame)
    wanted = torch.from_numpy(wanted / wanted.sum(1, keepdims=True)).float()
    assert torch.allclose(victims.predict(victim, x), wanted, atol=1e-5)
    assert torch.equal(pickle.loads(pickle.dumps(victim))(x), victim(x))
    assert victim.class_names == (("a", "b", "c") if case == "catboost, three" else ("0", "1", "2")[: wanted.shape[1]])
    with pytest.raises(UnknownName, match="king"):
        victim.domain.from_table(ROWS | {"job": ["king"] * N})


@pytest.mark.filterwarnings("ignore")
def test_categories_of_the_file_are_those_of_the_domain(tmp_path):
    for file, _ in (xgboost_file(tmp_path, BINARY), lightgbm_file(tmp_path, BINARY)):
        columns = victims.load_any(file).domain.columns
        assert columns[1].categories == ("boss", "clerk", "none")
        assert all(column.optional for column in columns)
    with pytest.raises(BadInput, match=r"categories of job.*feint inspect"):
        victims.load_any(catboost_file(tmp_path, BINARY)[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("names", [("Köchin", "Chef", "übrige"), ("повар", "шеф", "нет"), ("厨师", "老板", "无")])
def test_names_that_xgboost_cuts_are_taken_from_the_data(names, tmp_path):
    xgboost = pytest.importorskip("xgboost")
    words = dict(zip(("clerk", "boss", "none"), names, strict=True))
    table = TABLE.assign(job=pd.Categorical([words[job] for job in TABLE.job]))
    model = xgboost.XGBClassifier(n_estimators=5, enable_categorical=True, n_jobs=1).fit(table, BINARY)
    model.save_model(tmp_path / "m.json")
    rows = {name: table[name].tolist() for name in table}
    with pytest.raises(BadInput, match="categories of job"):
        victims.load_any(tmp_path / "m.json")
    victim = victims.load_any(tmp_path / "m.json", domain=Columns.describe(rows))
    p = victims.predict(victim, torch.from_numpy(victim.domain.from_table(rows)))
    assert np.allclose(p, model.predict_proba(table), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_rounds_after_the_best_one_do_not_count(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    x, y = TABLE[["x y"]].to_numpy(), RNG.integers(0, 2, N)
    model = xgboost.XGBClassifier(n_estimators=50, early_stopping_rounds=2, n_jobs=1)
    model.fit(x[:150], y[:150], eval_set=[(x[150:], y[150:])], verbose=False)
    assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    model.save_model(tmp_path / "m.ubj")
    p = victims.predict(victims.load_any(tmp_path / "m.ubj"), torch.from_numpy(x))
    assert torch.allclose(p, torch.from_numpy(model.predict_proba(x)), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost"])
def test_columns_that_the_library_numbered_itself_match_by_position(library, tmp_path):
    module = pytest.importorskip(library)
    x = RNG.random((N, 3))
    labels = (x[:, 1] > 0.4).astype(int) + (x[:, 2] > 0.5)
    if library == "catboost":
        options = {"iterations": 5, "verbose": 0, "allow_writing_files": False}
        model, file = module.CatBoostClassifier(**options).fit(x, labels), tmp_path / "m.cbm"
        model.save_model(str(file))
    else:
        kind = module.XGBClassifier if library == "xgboost" else module.LGBMClassifier
        model, file = kind(n_estimators=5, n_jobs=1).fit(x, labels), tmp_path / f"m.{['ubj', 'txt'][library[0] == 'l']}"
        getattr(model, "booster_", model).save_model(file)
    table = {name: x[:, i].tolist() for i, name in enumerate(("age", "income", "rate"))}
    victim = victims.load_any(file, domain=Columns.describe(table))
    assert victim.domain.names == ("age", "income", "rate")
    p = victims.predict(victim, torch.from_numpy(victim.domain.from_table(table)))
    assert torch.allclose(p, torch.from_numpy(model.predict_proba(x)).float(), atol=1e-5)


def test_a_hinge_is_a_classifier_whose_margins_are_said_to_be_no_probabilities(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(objective="binary:hinge", n_estimators=5, n_jobs=1)
    x = TABLE[["x y"]].to_numpy(copy=True)
    model.fit(x, BINARY).save_model(tmp_path / "hinge.json")
    victim = victims.load_any(tmp_path / "hinge.json")
    labels = victims.logits(victim, torch.from_numpy(x)).argmax(1)
    assert labels.tolist() == model.predict(x).tolist()
    assert "no calibrated probabilities" in victim.raw.metadata.note


def test_regression_and_ranking_are_refused(tmp_path):
    xgboost, lightgbm = pytest.importorskip("xgboost"), pytest.importorskip("lightgbm")
    catboost = pytest.importorskip("catboost")
    x = TABLE[["x y"]].to_numpy()
    xgboost.XGBRegressor(n_estimators=2).fit(x, BINARY).save_model(tmp_path / "r.json")
    xgboost.XGBRanker(n_estimators=2).fit(x, BINARY, qid=np.arange(N) // 10).save_model(tmp_path / "k.json")
    xgboost.XGBClassifier(n_estimators=2).fit(x, np.stack([BINARY, THREE > 1], 1)).save_model(tmp_path / "l.json")
    lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(x, BINARY).booster_.save_model(tmp_path / "r.txt")
    catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False).fit(x, BINARY).save_model(
        str(tmp_path / "r.cbm")
    )
    for name, says in (
        ("r.json", "regression"), ("k.json", "ranking"), ("l.json", "multi-label"), ("r.txt", "regression"),
        ("r.cbm", "regression"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=says):
            victims.load_any(tmp_path / name)


@pytest.mark.parametrize(("name", "module"), [("m.json", "xgboost"), ("m.txt", "lightgbm"), ("m.cbm", "catboost")])
def test_what_is_no_file_of_the_library_is_named(name, module, tmp_path):
    pytest.importorskip(module)
    (tmp_path / name).write_text('{"a": 1}')
    with pytest.raises(DamagedFile, match=module):
        victims.load_any(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("field", "value"),
    [("left_children", 10_000), ("left_children", 0), ("right_children", 10_000), ("right_children", -1),
     ("split_indices", 10_000)],
)  # fmt: skip
@pytest.mark.parametrize("booster", ["gbtree", "dart"])
def test_a_tree_of_xgboost_that_leads_out_of_itself_is_refused(booster, field, value, tmp_path):
    file, _ = xgboost_file(tmp_path, BINARY, booster=booster)
    content = json.loads(file.read_text())
    stored = content["learner"]["gradient_booster"]
    stored.get("gbtree", stored)["model"]["trees"][0][field][0] = value
    file.write_text(json.dumps(content))
    with pytest.raises(DamagedFile, match="lead out"):
        victims.load_any(file)


@pytest.mark.filterwarnings("ignore")
def test_a_file_of_ubjson_that_was_cut_off_is_not_given_to_xgboost(tmp_path, monkeypatch):
    file, _ = xgboost_file(tmp_path, THREE, "m.ubj")
    content = file.read_bytes()
    check_ubjson(content)
    assert XgboostModel(file).metadata.classes == ("0", "1", "2")
    for size in range(len(content)):
        with pytest.raises(ValueError, match="ends after"):
            check_ubjson(content[:size])
    with pytest.raises(ValueError, match="2 bytes after its end"):
        check_ubjson(content + b"{}")
    monkeypatch.setattr(native_load, "__file__", str(tmp_path / "not run"))
    file.write_bytes(content[:-100])  # whose reading by XGBoost 3.2.0 fills the memory
    with pytest.raises(DamagedFile, match="within a value"):
        victims.load_any(file)


@pytest.mark.filterwarnings("ignore")
def test_a_booster_of_xgboost_is_what_another_process_read_of_it(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    file, _ = xgboost_file(tmp_path, BINARY, "m.ubj")
    other, model = xgboost_file(tmp_path / "other", THREE)
    (script := tmp_path / "prints.py").write_text(f"print(open({str(other)!r}).read())")
    monkeypatch.setattr(native_load, "__file__", str(script))
    raw = XgboostModel(file)
    assert raw.metadata.classes == ("0", "1", "2")
    assert raw.run({"X": TABLE.assign(job=0).to_numpy(np.float64)})["y"].shape == (N, model.n_classes_)


def test_a_process_that_loads_a_booster_is_ended_where_a_damaged_length_takes_all_memory(monkeypatch):
    script = "import native_load as n; n.limit(0); bytearray(n.MEMORY)"
    folder = Path(native_load.__file__).parent
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr.endswith("MemoryError\n")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("field", ["left_child", "right_child", "split_feature"])
def test_a_tree_of_lightgbm_that_leads_out_of_itself_is_refused(field, tmp_path):
    file, _ = lightgbm_file(tmp_path, BINARY)
    for value in ("10000", "-10000"):
        bad = tmp_path / "bad.txt"
        bad.write_text(re.sub(rf"{field}=-?\d+", f"{field}={value}", file.read_text(), count=1))
        with pytest.raises(DamagedFile, match="lead out"):
            victims.load_any(bad)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("text", "with_"),
    [(r"pth: .*", ""), (r"leaf_value=\S+ ", "leaf_value="), (r"tree_sizes=\d+", "tree_sizes=9")],
    ids=["cut off", "a leaf less", "a wrong size"],
)
def test_a_file_of_which_lightgbm_dies_ends_another_process(text, with_, tmp_path):
    file, _ = lightgbm_file(tmp_path, BINARY)
    file.write_text(re.sub(text, with_, file.read_text(), count=1, flags=re.DOTALL if not with_ else 0))
    with pytest.raises(DamagedFile, match="ends with code -"):
        victims.load_any(file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("written", [xgboost_file, lightgbm_file])
def test_no_booster_is_loaded_that_another_process_did_not_load(written, tmp_path, monkeypatch):
    file, _ = written(tmp_path, BINARY)
    (script := tmp_path / "dies.py").write_text("raise SystemError('out of luck')")
    monkeypatch.setattr(native_load, "__file__", str(script))
    with pytest.raises(DamagedFile, match=r"ends with code 1 .*out of luck"):
        victims.load_any(file)
