"""Graph of a model with its defenses: traced as one, or stitched to the model's own graph if it is an ONNX file."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from feint._optional import require
from feint.defense import Defense
from feint.errors import NotExportable
from feint.export.tracing import OPSET, DefendedModel, GraphTail, Parts, explain, not_exportable, trace
from feint.victims import FromAnswers, FromEstimator, FromONNX, FromProbabilities

REMEDIES = {  # for models that are not computed by torch
    FromEstimator: "convert the estimator with skl2onnx and name that file, or serve it with torch",
    FromAnswers: "export the outputs alone, and let the gateway ask that server",
}


def build_graph(model: nn.Module, parts: Parts, rows: Tensor, names: Sequence[str]) -> Any:
    """Build the ONNX model from x (N, …) to its outputs.

    Args:
        model: Model to export.
        parts: Rungs and scores that follow the model.
        rows: Inputs (n, …), of which the first three are examples for the tracer.
        names: Names of the outputs.

    Returns:
        The ONNX model.

    Raises:
        NotExportable: If the model or a defense cannot be traced.
    """
    inner = model.model if isinstance(model, FromProbabilities) else model
    for kind, remedy in REMEDIES.items():
        if isinstance(inner, kind):
            raise NotExportable(f"a model of {kind.__name__}", "a torch module or an ONNX file", remedy)
    rows = rows[:3].repeat(3, *[1] * (rows.ndim - 1))[:3]  # the tracer takes a batch of one for a fixed size
    if isinstance(inner, FromONNX):
        head = nn.Identity() if inner is model else FromProbabilities(nn.Identity())
        return _stitch(inner, GraphTail(head, parts), rows, names)
    try:
        return trace(DefendedModel(model, parts), ["x"], names, rows)
    except NotExportable:
        raise
    except Exception as error:  # the owner's code may raise anything, and so may the tracer
        _raise_for_defense(model, parts, rows)
        raise NotExportable(
            f"{type(inner).__name__} ({explain(error)})", "a model without branches on its data",
            "export it to ONNX your way and name that file, or serve it with torch",
        ) from error  # fmt: skip


def _raise_for_defense(model: nn.Module, parts: Parts, rows: Tensor) -> None:
    """Raise `NotExportable` if the model alone can be traced and one of the output defenses cannot."""
    for step in [None, *(step for rung in parts.rungs for step in rung.outputs)]:
        alone = Parts([Defense(outputs=[step] if step else [])])
        try:
            trace(DefendedModel(model, alone), ["x"], ["q", "p"], rows)
        except Exception as error:
            if step is None:
                return
            raise error if isinstance(error, NotExportable) else not_exportable(step, error) from error


def _stitch(victim: FromONNX, tail: nn.Module, rows: Tensor, names: Sequence[str]) -> Any:
    """Join the victim's graph and the graph of `tail`, which takes (x, z) and returns the outputs."""
    onnx = require("onnx", "export")
    if victim.graph.batch is not None:
        raise NotExportable(f"{victim.path}, for batches of {victim.graph.batch}", "any batch", "export it so")
    first = onnx.load(victim.path)
    standard = [opset.version for opset in first.opset_import if opset.domain in ("", "ai.onnx")]
    opset = max([OPSET, *standard])
    if any(version < OPSET for version in standard):
        first = onnx.version_converter.convert_version(first, OPSET)
    second = trace(tail, ["x", "z"], names, rows, victim(rows), opset=opset)
    first = onnx.compose.add_prefix(first, "model/")
    node = onnx.helper.make_node
    nodes = [
        node("Identity", ["x"], [f"model/{victim.graph.input}"]),
        *first.graph.node,
        node("Identity", [f"model/{victim.graph.output}"], ["z"]),
        *second.graph.node,
    ]
    graph = onnx.helper.make_graph(
        nodes, "defended", [second.graph.input[0]], second.graph.output,
        [*first.graph.initializer, *second.graph.initializer],
    )  # fmt: skip
    versions = {imported.domain: imported for imported in [*first.opset_import, *second.opset_import]}
    return onnx.helper.make_model(
        graph, producer_name="feint", opset_imports=list(versions.values()), ir_version=second.ir_version,
        functions=[*first.functions, *second.functions],
    )  # fmt: skip
