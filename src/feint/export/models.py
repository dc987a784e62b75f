"""The graph of a model and what follows it: traced as one, or, where the model is a graph already, stitched to it."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from feint._optional import require
from feint.defense import Defense
from feint.errors import NotExportable
from feint.export.tracing import OPSET, OfInputs, OfLogits, Parts, reason, refused, traced
from feint.victims import FromAnswers, FromEstimator, FromONNX, FromProbabilities

OTHERS = {  # models that are no arithmetic of torch's: what to do instead
    FromEstimator: "convert the estimator with skl2onnx and name that file, or serve it with torch",
    FromAnswers: "export the outputs alone, and let the gateway ask that server",
}


def graph_of(model: nn.Module, parts: Parts, rows: Tensor, names: Sequence[str]) -> Any:
    """The ONNX model x (N, …) -> the outputs `names`. Raises `NotExportable`."""
    inner = model.model if isinstance(model, FromProbabilities) else model
    for kind, remedy in OTHERS.items():
        if isinstance(inner, kind):
            raise NotExportable(f"a model of {kind.__name__}", "a torch module or an ONNX file", remedy)
    rows = rows[:3].repeat(3, *[1] * (rows.ndim - 1))[:3]  # a batch of one would be taken for fixed
    if isinstance(inner, FromONNX):
        head = nn.Identity() if inner is model else FromProbabilities(nn.Identity())
        return _stitched(inner, OfLogits(head, parts), rows, names)
    try:
        return traced(OfInputs(model, parts), ["x"], names, rows)
    except NotExportable:
        raise
    except Exception as error:  # the owner's own code, and whatever the tracer cannot do with it
        _blame(model, parts, rows)
        raise NotExportable(
            f"{type(inner).__name__} ({reason(error)})", "a model without branches on its data",
            "export it to ONNX your way and name that file, or serve it with torch",
        ) from error  # fmt: skip


def _blame(model: nn.Module, parts: Parts, rows: Tensor) -> None:
    """Raise `NotExportable` for the output defense that cannot be traced behind a model that can, if there is one."""
    for step in [None, *(step for rung in parts.rungs for step in rung.outputs)]:
        alone = Parts([Defense(outputs=[step] if step else [])])
        try:
            traced(OfInputs(model, alone), ["x"], ["q", "p"], rows)
        except Exception as error:
            if step is None:
                return
            raise error if isinstance(error, NotExportable) else refused(step, error) from error


def _stitched(victim: FromONNX, tail: nn.Module, rows: Tensor, names: Sequence[str]) -> Any:
    """The victim's own graph, followed by that of `tail`: (x, z) -> the outputs."""
    onnx = require("onnx", "export")
    if victim.graph.batch is not None:
        raise NotExportable(f"{victim.path}, for batches of {victim.graph.batch}", "any batch", "export it so")
    first = onnx.load(victim.path)
    opset = max([OPSET, *(it.version for it in first.opset_import if it.domain in ("", "ai.onnx"))])
    if any(it.version < OPSET for it in first.opset_import if it.domain in ("", "ai.onnx")):
        first = onnx.version_converter.convert_version(first, OPSET)
    second = traced(tail, ["x", "z"], names, rows, victim(rows), opset=opset)
    first = onnx.compose.add_prefix(first, "model/")
    link = onnx.helper.make_node
    nodes = [
        link("Identity", ["x"], [f"model/{victim.graph.input}"]),
        *first.graph.node,
        link("Identity", [f"model/{victim.graph.output}"], ["z"]),
        *second.graph.node,
    ]
    graph = onnx.helper.make_graph(
        nodes, "defended", [second.graph.input[0]], second.graph.output,
        [*first.graph.initializer, *second.graph.initializer],
    )  # fmt: skip
    versions = {it.domain: it for it in [*first.opset_import, *second.opset_import]}
    return onnx.helper.make_model(
        graph, producer_name="feint", opset_imports=list(versions.values()), ir_version=second.ir_version,
        functions=[*first.functions, *second.functions],
    )  # fmt: skip
