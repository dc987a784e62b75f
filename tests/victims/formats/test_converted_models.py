"""Models that skl2onnx and onnxmltools export: the answers of the estimators that they were made of."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from feint import victims
from feint.signature import Columns

skl2onnx = pytest.importorskip("skl2onnx")
onnxmltools = pytest.importorskip("onnxmltools")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the converters
RNG = np.random.default_rng(0)
X = RNG.random((90, 4)).astype(np.float32)
NAMES = np.array(["a", "b", "c"])[np.arange(90) % 3]
ROWS = pd.DataFrame(
    {
        "age_years": RNG.integers(1, 90, 90).astype(np.float32),
        "job": RNG.choice(["clerk", "boss"], 90),
        "rooms": RNG.integers(0, 5, 90),
    }
)


def written(folder, model):
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("first", [0, 1, None], ids=["from 0", "from 1", "names"])
@pytest.mark.parametrize("model", [LogisticRegression(), RandomForestClassifier(3, random_state=0)], ids=repr)
def test_scores_are_taken_with_and_without_zipmap_and_classes_by_name(model, first, zipmap, tmp_path):
    labels = NAMES if first is None else np.arange(90) % 3 + first
    model.fit(X, labels)
    file = written(tmp_path, skl2onnx.to_onnx(model, X[:1], options={id(model): {"zipmap": zipmap}}))
    victim = victims.load_any(file)
    assert victim.class_names == tuple(map(str, model.classes_))
    p = victims.predict(victim, torch.from_numpy(X).double())
    assert torch.allclose(p, torch.from_numpy(model.predict_proba(X)).float(), atol=1e-5)


def test_a_pipeline_with_one_input_for_each_column_takes_rows_by_name(tmp_path):
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

    encoder = make_column_transformer(
        (StandardScaler(), ["age_years"]), (OneHotEncoder(), ["job"]), ("passthrough", ["rooms"])
    )
    model = make_pipeline(encoder, LogisticRegression()).fit(ROWS, NAMES)
    types = [("age_years", FloatTensorType([None, 1])), ("job", StringTensorType([None, 1]))]
    types.append(("rooms", Int64TensorType([None, 1])))
    table = {"rooms": ROWS.rooms.tolist(), "age years": ROWS.age_years.tolist(), "job": ROWS.job.tolist()}
    file = written(tmp_path, skl2onnx.convert_sklearn(model, initial_types=types))
    victim = victims.load_any(file, domain=Columns.describe(table))
    p = victims.predict(victim, torch.from_numpy(victim.domain.from_table(table)))
    assert torch.allclose(p, torch.from_numpy(model.predict_proba(ROWS)).float(), atol=1e-5)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_boosted_trees_by_onnxmltools_answer_as_their_library(library, classes, tmp_path):
    from onnxmltools.convert.common.data_types import FloatTensorType

    module = pytest.importorskip(library)
    kind = module.LGBMClassifier if library == "lightgbm" else module.XGBClassifier
    model = kind(n_estimators=3, n_jobs=1).fit(X, np.arange(90) % classes)
    convert = onnxmltools.convert_lightgbm if library == "lightgbm" else onnxmltools.convert_xgboost
    file = written(tmp_path, convert(model, initial_types=[("input", FloatTensorType([None, 4]))]))
    p = victims.predict(victims.load_any(file), torch.from_numpy(X).double())
    assert torch.allclose(p, torch.from_numpy(model.predict_proba(X)).float(), atol=1e-5)
