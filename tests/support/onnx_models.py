"""ONNX files whose answers are known, with inputs and outputs of every kind."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node
RNG = np.random.default_rng(0)
IMAGE_WEIGHTS = RNG.normal(size=(192, 4)).astype(np.float32)  # from images 3×8×8, flattened, to four logits
NAMES = ["bad", "good", "ugly"]
TABLE_WEIGHTS = np.array([[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]], np.float32)  # from two columns to three scores
LINEAR = (node("Flatten", ["x"], ["f"]), node("MatMul", ["f", "w"], ["y"]))
SCORES = (
    node(
        "LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", classlabels_strings=NAMES,
        coefficients=TABLE_WEIGHTS.T.flatten().tolist(), intercepts=[0.0] * 3, post_transform="SOFTMAX",
    ),
    node("ZipMap", ["p"], ["scores"], domain="ai.onnx.ml", classlabels_strings=NAMES),
)  # fmt: skip
LABELS = ("label", TensorProto.STRING, ["N"])


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    takes: Sequence[tuple[str, int, Sequence[object]]],
    gives: Sequence[tuple[str, int, Sequence[object]] | onnx.ValueInfoProto],
    weights: Mapping[str, np.ndarray] | None = None,
    **metadata: str,
) -> Path:
    """Write an ONNX file of these nodes, inputs and outputs (name, type, shape)."""
    graph = helper.make_graph(
        nodes,
        "tests",
        [helper.make_tensor_value_info(*value) for value in takes],
        [value if isinstance(value, onnx.ValueInfoProto) else helper.make_tensor_value_info(*value) for value in gives],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=versions, ir_version=9)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def dictionaries(name: str = "scores") -> onnx.ValueInfoProto:
    """Return an output of dictionaries from names to scores, as skl2onnx makes them."""
    scores = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    return helper.make_value_info(name, helper.make_sequence_type_proto(helper.make_map_type_proto(8, scores)))


def image_model(
    path: Path, *, shape: Sequence[object] = ("N", 3, 8, 8), dtype: type = np.float32, end: str = ""
) -> Path:
    """Write a linear model of images: uint8 is cast and divided by 255, `end` is an operator after the logits."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    if dtype == np.uint8:
        first = [node("Cast", ["x"], ["c"], to=TensorProto.FLOAT), node("Flatten", ["c"], ["f"])]
        weights, kind_out = IMAGE_WEIGHTS / 255, TensorProto.FLOAT
    else:
        first, weights, kind_out = [LINEAR[0]], IMAGE_WEIGHTS.astype(dtype), kind
    last = [node("MatMul", ["f", "w"], ["z"]), node(end or "Identity", ["z"], ["y"])]
    return save(path, [*first, *last], [("x", kind, shape)], [("y", kind_out, [shape[0], 4])], {"w": weights})


def image_logits(x: np.ndarray) -> np.ndarray:
    """Return the logits of `image_model` for arrays in its own layout."""
    return x.reshape(len(x), -1) @ IMAGE_WEIGHTS


def table_probabilities(x: np.ndarray) -> np.ndarray:
    """Return the probabilities of the classifier `SCORES` for rows of two numbers."""
    z = x @ TABLE_WEIGHTS
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)
