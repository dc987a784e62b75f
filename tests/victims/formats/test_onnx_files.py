"""ONNX files as victims: any inputs and outputs, adapted where the file itself decides, refused where it cannot be."""

import pickle
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from tests.support import onnx_models as models
from tests.support.variance import assert_close
from torch.onnx import export

from feint import victims
from feint.defenses.inputs import APMSA
from feint.errors import BadInput, DamagedFile, MissingData
from feint.query import Query
from feint.service import Defense, Service
from feint.signature import Column, Columns, Pixels, Tokens

onnxruntime.set_default_logger_severity(3)
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


@pytest.fixture(scope="module")
def files(tmp_path_factory, victim):
    """The victim in every kind of ONNX file: of any batch, of batches of 4, with probabilities, by external data."""
    folder = tmp_path_factory.mktemp("onnx")
    any_batch = {"dynamic_shapes": ({0: torch.export.Dim("n")},), "dynamo": True, "verbose": False}
    with warnings.catch_warnings(action="ignore"):  # what the exporter says of itself
        export(victim, (torch.rand(4, 1, 8, 8),), folder / "any.onnx", external_data=False, **any_batch)
    four, simplex = (onnx.load(folder / "any.onnx") for _ in range(2))
    onnx.save(four, folder / "beside.onnx", save_as_external_data=True, location="weights.bin", size_threshold=200)
    four = onnx.load(folder / "any.onnx")
    four.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(four, folder / "four.onnx")
    (out,) = simplex.graph.output
    simplex.graph.node.append(onnx.helper.make_node("Softmax", [out.name], ["p"], axis=-1))
    out.name = "p"
    onnx.save(simplex, folder / "simplex.onnx")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["any", "four", "beside", "simplex"])
@pytest.mark.parametrize("rows", [0, 1, 4, 9])
def test_an_onnx_file_answers_as_the_model_did(files, victim, name, rows):
    model, x = victims.load_any(files / f"{name}.onnx"), torch.rand(rows, 1, 8, 8)
    assert model.domain == Pixels((1, 8, 8))
    assert model.classes == 10
    assert torch.allclose(victims.predict(model, x), victims.predict(victim, x), atol=1e-4)
    copy = pickle.loads(pickle.dumps(model))
    assert_close(victims.logits(copy, x), victims.logits(model, x))
    assert_close(Service(model).oracle(client="a", budget=9).ask(x), victims.predict(model, x))


def test_the_fingerprint_of_an_onnx_file_is_its_bytes_wherever_they_lie(files, tmp_path):
    prints = {victims.fingerprint(victims.load_any(file)) for file in files.glob("*.onnx")}
    assert len(prints) == 4
    for file in (files / "beside.onnx", files / "weights.bin"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = victims.fingerprint(victims.load_any(tmp_path / "beside.onnx"))
    assert before in prints
    weights = tmp_path / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    assert victims.fingerprint(victims.load_any(tmp_path / "beside.onnx")) != before


def test_a_file_that_onnxruntime_cannot_run_and_a_missing_package_are_named(files, tmp_path, monkeypatch):
    model = victims.load_any(files / "any.onnx")
    with pytest.raises(BadInput, match="resize"):
        model(torch.rand(2, 1, 9, 9))
    with pytest.raises(BadInput, match="without gradients"):
        Service(model, Defense(inputs=[APMSA()]))(Query(torch.rand(2, 1, 8, 8)))
    with pytest.raises(MissingData, match="check the path"):
        victims.load_any(tmp_path / "none.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"not a graph")
    with pytest.raises(DamagedFile, match="export it again"):
        victims.load_any(tmp_path / "noise.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingData, match=r"feint\[onnx\]"):
        victims.load_any(files / "any.onnx")


def images(seed=0, n=5):
    return torch.from_numpy(Pixels((3, 8, 8)).sample(n, seed))


@pytest.mark.parametrize(
    ("changes", "layout"),
    [
        ({}, "NCHW"),
        ({"shape": ("N", 8, 8, 3)}, "NHWC"),
        ({"shape": ("N", 8, 8, 3), "dtype": np.uint8}, "NHWC"),
        ({"shape": ("N", 3, 8, 8), "dtype": np.uint8}, "NCHW"),
        ({"dtype": np.float16}, "NCHW"),
        ({"shape": (1, 3, 8, 8)}, "NCHW"),
        ({"shape": (4, 3, 8, 8)}, "NCHW"),
        ({"end": "Softmax"}, "NCHW"),
        ({"end": "LogSoftmax"}, "NCHW"),
    ],
    ids=str,
)
def test_layout_type_batch_and_kind_of_scores_are_read_from_the_file(changes, layout, tmp_path):
    model, x = victims.load_any(models.image_model(tmp_path / "m.onnx", **changes)), images()
    assert model.domain == Pixels((3, 8, 8))
    laid = x.permute(0, 2, 3, 1) if layout == "NHWC" else x
    expected = torch.from_numpy(models.image_logits(laid.contiguous().numpy())).softmax(1)
    tolerance = 1e-2 if changes.get("dtype") == np.float16 else 1e-4
    assert torch.allclose(victims.predict(model, x), expected, atol=tolerance)


def test_dictionaries_of_scores_become_probabilities_of_named_classes(tmp_path):
    table = models.save(
        tmp_path / "zip.onnx", models.SCORES, [("x", FLOAT, ["N", 2])], [models.LABELS, models.dictionaries()]
    )
    model = victims.load_any(table)
    assert model.class_names == ("bad", "good", "ugly")
    x = torch.from_numpy(model.domain.sample(5, 0))
    expected = torch.from_numpy(models.table_probabilities(x.numpy())).float()
    assert torch.allclose(victims.predict(model, x), expected, atol=1e-5)


def test_one_tensor_for_each_column_is_matched_by_name(tmp_path):
    job = models.node(
        "LabelEncoder", ["job"], ["j"], domain="ai.onnx.ml", keys_strings=["boss", "clerk"], values_floats=[0.0, 1.0]
    )
    nodes = [job, models.node("Concat", ["age_years", "j"], ["x"], axis=1), *models.SCORES]
    takes = [("age_years", FLOAT, ["N", 1]), ("job", STRING, ["N", 1])]
    file = models.save(tmp_path / "columns.onnx", nodes, takes, [models.LABELS, models.dictionaries()])
    with pytest.raises(BadInput, match=r"categories of its strings.*feint inspect"):
        victims.load_any(file)
    model = victims.load_any(file, domain=Columns((Column("job", ("clerk", "boss")), Column("age years"))))
    assert model.domain.names == ("age years", "job")
    x = model.domain.from_table({"job": ["boss", "clerk"], "age years": [0.5, 1.5]})
    expected = torch.from_numpy(models.table_probabilities(np.array([[0.5, 0.0], [1.5, 1.0]]))).float()
    assert torch.allclose(victims.predict(model, torch.from_numpy(x)), expected, atol=1e-5)
    more = Columns((Column("job", ("clerk", "boss")), Column("city"), Column("age years")))
    assert victims.load_any(file, domain=more).domain.names == ("age years", "job")
    with pytest.raises(BadInput, match=r"no column age_years and the unknown column salary.*rename"):
        victims.load_any(file, domain=Columns((Column("job", ("clerk", "boss")), Column("salary"))))


def test_tokens_get_their_attention_mask(tmp_path):
    nodes = [
        models.node("Cast", ["input_ids"], ["a"], to=FLOAT),
        models.node("Cast", ["attention_mask"], ["b"], to=FLOAT),
        models.node("ReduceSum", ["b", "axis"], ["length"], keepdims=1),
        models.node("ReduceSum", ["a", "axis"], ["total"], keepdims=1),
        models.node("Concat", ["length", "total"], ["logits"], axis=1),
    ]
    takes = [(name, INT64, ["N", "L"]) for name in ("input_ids", "attention_mask")]
    file = models.save(tmp_path / "b.onnx", nodes, takes, [("logits", FLOAT, ["N", 2])], {"axis": np.array([1])})
    with pytest.raises(BadInput, match=r"length and vocabulary.*feint inspect"):
        victims.load_any(file)
    model = victims.load_any(file, domain=Tokens(5, 10, padding=0))
    assert model(torch.tensor([[3, 4, 0, 0, 0], [1, 0, 2, 0, 0]])).tolist() == [[2.0, 7.0], [3.0, 3.0]]


@pytest.mark.parametrize("shape", [["N"], ["N", 1]])
def test_texts_go_into_an_input_of_strings(shape, tmp_path):
    keys = {"keys_strings": ["film", "été"], "values_floats": [1.0, 2.0], "default_float": 0.0}
    nodes = [
        models.node("LabelEncoder", ["text"], ["code"], domain="ai.onnx.ml", **keys),
        models.node("Reshape", ["code", "column"], ["c"]),
        models.node("MatMul", ["c", "w"], ["logits"]),
    ]
    weights = {"column": np.array([-1, 1]), "w": np.array([[1.0, -1.0]], np.float32)}
    takes, gives = [("text", STRING, shape)], [("logits", FLOAT, ["N", 2])]
    model = victims.load_any(models.save(tmp_path / "t.onnx", nodes, takes, gives, weights))
    x = torch.from_numpy(model.domain.from_strings(["film", "other", "été"]))
    assert model(x)[:, 0].tolist() == [1, 0, 2]


def test_one_sigmoid_is_two_classes(tmp_path):
    weights = {"w": models.IMAGE_WEIGHTS[:, :1] / 9}
    nodes = [models.LINEAR[0], models.node("MatMul", ["f", "w"], ["z"]), models.node("Sigmoid", ["z"], ["y"])]
    file = models.save(tmp_path / "s.onnx", nodes, [("x", FLOAT, ["N", 3, 8, 8])], [("y", FLOAT, ["N", 1])], weights)
    model, x = victims.load_any(file), images()
    p = torch.sigmoid(x.flatten(1) @ torch.from_numpy(weights["w"]))
    assert torch.allclose(victims.predict(model, x), torch.cat([1 - p, p], 1), atol=1e-5)


@pytest.mark.parametrize(("transform", "task"), [("NONE", "regression"), ("LOGISTIC", None)])
def test_the_value_of_a_regressor_is_no_score_of_a_class(transform, task, tmp_path):
    weights = {"coefficients": [1.0, 2.0], "intercepts": [0.0], "targets": 1, "post_transform": transform}
    node = models.node("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", **weights)
    file = models.save(tmp_path / "n.onnx", [node], [("x", FLOAT, ["N", 2])], [("y", FLOAT, ["N", 1])])
    assert victims.OnnxFile(file).metadata.task == task


@pytest.mark.parametrize("operator", ["RandomUniformLike", "Bernoulli", "Dropout", "Abs"])
def test_a_graph_that_may_draw_at_random_is_not_repeatable(operator, tmp_path):
    nodes = (models.node(operator, ["x"], ["d"]), models.node("Flatten", ["d"], ["f"]), models.LINEAR[1])
    takes, gives = [("x", FLOAT, ["N", 3, 8, 8])], [("y", FLOAT, ["N", 4])]
    file = models.save(tmp_path / "n.onnx", nodes, takes, gives, {"w": models.IMAGE_WEIGHTS})
    assert victims.OnnxFile(file).repeatable is (operator == "Abs")


def test_names_of_classes_in_the_metadata_are_read(tmp_path):
    ultralytics = {"names": "{0: 'cat', 1: 'dog', 2: '猫', 3: 'x'}", "task": "classify"}
    takes, gives = [("x", FLOAT, ["N", 3, 8, 8])], [("y", FLOAT, ["N", 4])]
    file = models.save(tmp_path / "n.onnx", models.LINEAR, takes, gives, {"w": models.IMAGE_WEIGHTS}, **ultralytics)
    assert victims.load_any(file).class_names == ("cat", "dog", "猫", "x")
    file = models.save(tmp_path / "d.onnx", models.LINEAR, takes, gives, {"w": models.IMAGE_WEIGHTS}, task="detect")
    with pytest.raises(BadInput, match="detection"):
        victims.load_any(file)


@pytest.mark.parametrize(
    ("nodes", "gives", "says"),
    [
        (["Sigmoid"], [("y", FLOAT, ["N", 4])], r"multi-label.*one label at a time"),
        (["Relu x"], [("y", FLOAT, ["N", 3, 8, 8])], r"segmentation"),
        (["Reshape"], [("y", FLOAT, ["N", 32, 6])], r"detection.*one crop or position, from a function"),
        (["ArgMax"], [("y", INT64, ["N"])], r"labels alone.*feint inspect"),
        (["MatMul1"], [("y", FLOAT, ["N", 1])], r"logit of two classes or a regression.*feint inspect"),
        (["Two"], [("y", FLOAT, ["N", 4]), ("e", FLOAT, ["N", 192])], r"which of its outputs.*feint inspect"),
    ],
    ids=lambda value: str(value)[:14],
)
def test_what_is_no_classifier_is_refused_with_what_it_is(nodes, gives, says, tmp_path):
    linear = [models.LINEAR[0], models.node("MatMul", ["f", "w"], ["z"])]
    graphs = {
        "Sigmoid": [*linear, models.node("Sigmoid", ["z"], ["y"])],
        "Relu x": [models.node("Relu", ["x"], ["y"])],
        "Reshape": [models.node("Reshape", ["x", "boxes"], ["y"])],
        "ArgMax": [*linear, models.node("ArgMax", ["z"], ["y"], axis=1, keepdims=0)],
        "MatMul1": [models.LINEAR[0], models.node("MatMul", ["f", "one"], ["y"])],
        "Two": [*models.LINEAR, models.node("Relu", ["f"], ["e"])],
    }
    weights = {"w": models.IMAGE_WEIGHTS, "one": models.IMAGE_WEIGHTS[:, :1], "boxes": np.array([-1, 32, 6])}
    file = models.save(tmp_path / "m.onnx", graphs[nodes[0]], [("x", FLOAT, ["N", 3, 8, 8])], gives, weights)
    with pytest.raises(BadInput, match=says):
        victims.load_any(file)


def test_a_model_of_a_stream_is_refused(tmp_path):
    nodes = [*models.LINEAR, models.node("Identity", ["state"], ["stateN"])]
    state = [2, "N", 128]
    takes = [("x", FLOAT, ["N", 192]), ("state", FLOAT, state)]
    gives, weights = [("y", FLOAT, ["N", 4]), ("stateN", FLOAT, state)], {"w": models.IMAGE_WEIGHTS}
    file = models.save(tmp_path / "m.onnx", nodes, takes, gives, weights)
    with pytest.raises(BadInput, match=r"a model of streams, with a state .* begin from the first state in a function"):
        victims.load_any(file)


def test_an_output_called_logits_is_taken_beside_an_embedding(tmp_path):
    nodes = [models.LINEAR[0], models.node("MatMul", ["f", "w"], ["logits"]), models.node("Relu", ["f"], ["e"])]
    gives = [("e", FLOAT, ["N", 192]), ("logits", FLOAT, ["N", 4])]
    weights = {"w": models.IMAGE_WEIGHTS}
    file = models.save(tmp_path / "m.onnx", nodes, [("x", FLOAT, ["N", 3, 8, 8])], gives, weights)
    x = images()
    assert torch.allclose(victims.load_any(file)(x), torch.from_numpy(models.image_logits(x.numpy())), atol=1e-4)


def test_images_of_any_size_take_that_of_the_data(tmp_path):
    nodes = [
        models.node("GlobalAveragePool", ["x"], ["p"]),
        models.node("Flatten", ["p"], ["f"]),
        models.node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = {"w": models.IMAGE_WEIGHTS[:3]}
    takes = [("x", FLOAT, ["N", 3, "height", "width"])]
    file = models.save(tmp_path / "m.onnx", nodes, takes, [("y", FLOAT, ["N", 4])], weights)
    with pytest.raises(BadInput, match=r"size of its images.*feint inspect"):
        victims.load_any(file)
    assert victims.load_any(file, domain=Pixels((3, 9, 7))).domain == Pixels((3, 9, 7))
