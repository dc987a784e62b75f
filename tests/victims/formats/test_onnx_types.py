"""ONNX files with unusual types, operators and versions: what can be read is, and the rest is named."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from feint import victims
from feint.data import Split
from feint.errors import BadInput, DamagedFile
from feint.signature import Columns
from feint.victims.inspection import inspect_model

onnxruntime.set_default_logger_severity(4)
X = np.random.default_rng(0).normal(size=(90, 2))
WEIGHTS = np.array([[2.0, -1, 0], [0, 1, -2]], np.float32)
LABELS = (X @ WEIGHTS).argmax(1)
SAMPLES = Split.of(X, LABELS, domain=Columns.describe({"a": X[:, 0].tolist(), "b": X[:, 1].tolist()}))
SOFTMAX = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=-1)]


def tensor(name, kind=TensorProto.FLOAT, shape=("N", 3)):
    return helper.make_tensor_value_info(name, kind, shape)


P = tensor("p")
MOST = helper.make_node("TopK", ["z", "one"], ["most_z", "place"])
SEQUENCE = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
OPTIONAL = helper.make_value_info(
    "o", helper.make_optional_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, ["N", 3]))
)
WIDENED = [
    helper.make_node("Cast", ["x"], ["wide"], to=1),
    helper.make_node("MatMul", ["wide", "w"], ["z"]),
    SOFTMAX[1],
]


def cast(kind):
    scaled = helper.make_node("Mul", ["p", "most"], ["scaled"])
    return [*SOFTMAX, scaled, helper.make_node("Cast", ["scaled"], ["q"], to=kind)]


def saved(folder, nodes, outputs, *, takes=TensorProto.FLOAT, opset=19, ir=10, domains=()):
    stored = [numpy_helper.from_array(WEIGHTS, "w"), numpy_helper.from_array(np.float32(255), "most")]
    stored.append(numpy_helper.from_array(np.array([1]), "one"))
    graph = helper.make_graph(nodes, "g", [tensor("x", takes, ("N", 2))], outputs, stored)
    opsets = [helper.make_opsetid("", opset), *domains]
    (folder / "m.onnx").write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString())
    return folder / "m.onnx"


@pytest.mark.parametrize(
    ("nodes", "outputs"),
    [
        ([*SOFTMAX, helper.make_node("SequenceConstruct", ["p"], ["s"])], [P, SEQUENCE]),
        ([*SOFTMAX, helper.make_node("Optional", ["p"], ["o"])], [OPTIONAL]),
        ([*SOFTMAX, MOST, helper.make_node("Equal", ["z", "most_z"], ["q"])], [tensor("q", TensorProto.BOOL)]),
        (cast(TensorProto.UINT8), [tensor("q", TensorProto.UINT8)]),
        (cast(TensorProto.INT32), [tensor("q", TensorProto.INT32)]),
    ],
    ids=["sequence beside", "optional", "one true", "bytes", "integers"],
)
def test_outputs_that_can_be_read_are_scores(nodes, outputs, tmp_path):
    raw = victims.load_raw(saved(tmp_path, nodes, outputs))
    found = inspect_model(raw, SAMPLES)
    assert found.accuracy == pytest.approx(1, abs=0.02)  # scores of few levels have ties
    p = victims.predict(victims.AdaptedModel(raw, found.adapter), torch.from_numpy(X))
    assert (p.argmax(1).numpy() == LABELS).mean() == found.accuracy


def test_labels_that_are_true_or_false_are_several(tmp_path):
    zero = helper.make_node("Constant", [], ["zero"], value_float=0.0)
    nodes = [zero, *SOFTMAX, helper.make_node("Greater", ["z", "zero"], ["q"])]
    with pytest.raises(BadInput, match=r"whose rows sum to .* for each label; expected one class"):
        inspect_model(victims.load_raw(saved(tmp_path, nodes, [tensor("q", TensorProto.BOOL)])), SAMPLES)


@pytest.mark.parametrize(
    ("nodes", "outputs", "takes", "says"),
    [
        ([*SOFTMAX, helper.make_node("SequenceConstruct", ["p"], ["s"])], [SEQUENCE], 1, r"s: seq\(tensor\(float\)\)"),
        (cast(TensorProto.BFLOAT16), [tensor("q", TensorProto.BFLOAT16)], 1, r"q: tensor\(bfloat16\)"),
        (cast(TensorProto.FLOAT8E5M2), [tensor("q", TensorProto.FLOAT8E5M2)], 1, r"q: tensor\(float8e5m2\)"),
        (WIDENED, [P], TensorProto.FLOAT8E4M3FN, r"x: tensor\(float8e4m3fn\)"),
    ],
    ids=["sequence", "bfloat16", "float8", "float8 inputs"],
)
def test_types_without_arrays_are_named_with_the_remedy(nodes, outputs, takes, says, tmp_path):
    with pytest.raises(BadInput, match=says + r"; expected tensors of numbers or strings; .*cast from and to float32"):
        victims.load_raw(saved(tmp_path, nodes, outputs, takes=takes))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"opset": 99}, r"operators of opset 99, where onnxruntime has \d+; .*convert_version\(model, \d+\)"),
        ({"ir": 99}, r"IR version 99, where onnxruntime has \d+; .*model\.ir_version = \d+"),
    ],
)
def test_a_version_that_is_too_new_is_named(options, says, tmp_path):
    with pytest.raises(DamagedFile, match=says):
        victims.load_raw(saved(tmp_path, SOFTMAX, [P], **options))


def test_an_operator_of_others_is_named(tmp_path):
    nodes = [SOFTMAX[0], helper.make_node("Mine", ["z"], ["p"], domain="my.ops")]
    with pytest.raises(DamagedFile, match=r"the operator my\.ops:Mine, .*package\.module:function"):
        victims.load_raw(saved(tmp_path, nodes, [P], domains=[helper.make_opsetid("my.ops", 1)]))
