"""Small ONNX files: models whose answers are known, and output defenses as `feint export` would write them."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from feint import onnx_manifest

WEIGHTS = (np.arange(12).reshape(4, 3) % 5 - 2.0).astype(
    np.float32
) * 3  # as the upstream of tests/support/upstreams.py


def undefended(x: np.ndarray) -> np.ndarray:
    """Return the answers (N, 3) of the model to inputs (N, 1, 2, 2)."""
    z = x.reshape(len(x), 4) @ WEIGHTS
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def defended(p: np.ndarray) -> np.ndarray:
    """Return answers as the output defense returns them: halfway to the uniform one."""
    return p / 2 + 1 / (2 * p.shape[-1])


def _saved(path, nodes, takes, gives, constants, metadata=None):
    graph = helper.make_graph(
        nodes,
        "tests",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in takes.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape]) for name, shape in gives.items()],
        [numpy_helper.from_array(constant, name) for name, constant in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if metadata:
        helper.set_model_props(model, metadata)
    content = model.SerializeToString()
    path.write_bytes(onnx_manifest.sign(content) if metadata else content)
    return path


def _model(constants):
    constants |= {"flat": np.array([-1, 4]), "w": WEIGHTS}
    reshape = helper.make_node("Reshape", ["x", "flat"], ["rows"])
    return [reshape, helper.make_node("MatMul", ["rows", "w"], ["z"])]


def bare(path, *, logits=False):
    """A model that `feint export` did not write, so without metadata."""
    constants = {}
    nodes = _model(constants)
    if not logits:
        nodes.append(helper.make_node("Softmax", ["z"], ["p"], axis=-1))
    return _saved(path, nodes, {"x": [1, 2, 2]}, {"z" if logits else "p": [3]}, constants)


def _halfway(constants, name="p"):
    constants |= {"half": np.float32(0.5), "rest": np.float32(1 / 6)}
    return [
        helper.make_node("Mul", [name, "half"], ["halved"]),
        helper.make_node("Add", ["halved", "rest"], ["probabilities"]),
    ]


def metadata(takes, access=(), outputs=True, **more):
    recipe = {"kind": "Defense", "access": list(access), "inputs": [], "outputs": [{"kind": "Smoothing"}] * outputs}
    return onnx_manifest.to_metadata(takes=takes, fingerprint="0123456789abcdef", recipe=recipe | more, learned={})


def output_defense(path, *, access=()):
    """An output defense alone, as for an upstream."""
    constants = {}
    return _saved(path, _halfway(constants), {"p": [3]}, {"probabilities": [3]}, constants, metadata("p", access))


def whole(path, *, access=()):
    """A model behind that output defense."""
    constants = {}
    nodes = [*_model(constants), helper.make_node("Softmax", ["z"], ["p"], axis=-1), *_halfway(constants)]
    return _saved(path, nodes, {"x": [1, 2, 2]}, {"probabilities": [3]}, constants, metadata("x", access))


def ladder(path, *, access=()):
    """A model behind a ladder: every client stands on the second rung, which refuses."""
    constants = {}
    nodes = [*_model(constants), helper.make_node("Softmax", ["z"], ["p"], axis=-1), *_halfway(constants)]
    nodes.append(helper.make_node("Identity", ["probabilities"], ["probabilities_1"]))
    rungs = [{"kind": "Defense", "access": list(rules), "inputs": [], "outputs": [{"kind": "Smoothing"}]}
             for rules in ((), ({"kind": "Refuse"},))]  # fmt: skip
    recipe = {"kind": "Ladder", "detectors": [], "at": [0.0, 0.0], "rungs": rungs, "access": list(access)}
    properties = onnx_manifest.to_metadata(takes="x", fingerprint="0123456789abcdef", recipe=recipe, learned={})
    gives = {"probabilities": [3], "probabilities_1": [3]}
    return _saved(path, nodes, {"x": [1, 2, 2]}, gives, constants, properties)
