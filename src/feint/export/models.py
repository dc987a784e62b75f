"""Graph of a model with its defenses: traced as one, or stitched to the model's own graph if it is an ONNX file."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from feint._optional import require
from feint.defense import Defense
from feint.errors import NotExportable
from feint.export.tracing import OPSET, DefendedModel, GraphTail, Parts, explain, not_exportable, trace
from feint.victims import AdaptedModel, FromAnswers, FromProbabilities, OnnxFile

SERVE = "feint serve MODEL --defense … serves it as it is"


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
    require_exportable(inner)
    rows = rows[:3].repeat(3, *[1] * (rows.ndim - 1))[:3]  # the tracer takes a batch of one for a fixed size
    if isinstance(inner, AdaptedModel) and isinstance(inner.raw, OnnxFile):
        return _stitch(inner, inner.raw, parts, rows, names)
    try:
        return trace(DefendedModel(model, parts), ["x"], names, rows)
    except NotExportable:
        raise
    except Exception as error:  # the owner's code may raise anything, and so may the tracer
        _raise_for_defense(model, parts, rows)
        raise NotExportable(
            f"{type(inner).__name__} ({explain(error)})", "a model without branches on its data",
            f"export it to ONNX your way and name that file; or {SERVE}",
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


def require_exportable(model: nn.Module) -> None:
    """Raise `NotExportable` for a model that neither torch nor an ONNX file computes for any batch of numbers."""
    expected = "a torch module or an ONNX file"
    if isinstance(model, FromAnswers):
        kind = "an API's answers"
        remedy = f"{SERVE}; or export the outputs alone: --outputs-only --classes K"
    elif isinstance(model, AdaptedModel) and isinstance(getattr(model.raw, "module", None), torch.jit.ScriptModule):
        kind, remedy = "a TorchScript file", f"{SERVE}; or write its module with torch.export, and name that file"
    elif isinstance(model, AdaptedModel) and not model.raw.exportable:
        kind = f"a model of {type(model.raw).__name__}"
        remedy = f"{SERVE}; or convert it with skl2onnx or onnxmltools, and name that file"
    elif isinstance(model, AdaptedModel) and model.raw.batch is not None:
        kind, expected = f"{model.raw.place}, for batches of {model.raw.batch}", "any batch"
        remedy = f"{SERVE}; or export the model with a dynamic first axis"
    elif isinstance(model, AdaptedModel) and any(spec.dtype == "string" for spec in model.raw.inputs):
        kind, expected, remedy = f"{model.raw.place}, which takes strings", "inputs that are numbers", SERVE
    else:
        return
    raise NotExportable(kind, expected, remedy)


class _Encoder(nn.Module):
    """Module from x (N, …) to the inputs of a raw model, in their order."""

    def __init__(self, model: AdaptedModel) -> None:
        super().__init__()
        self._model, self._names = model, [spec.name for spec in model.raw.inputs]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        values = self._model.encode(x)
        return tuple(values[name] for name in self._names)


class _Decoder(nn.Module):
    """Module from the output of a raw model to logits."""

    def __init__(self, model: AdaptedModel) -> None:
        super().__init__()
        self._outputs, self._classes = model.adapter.outputs, model.classes

    def forward(self, z: Tensor) -> Tensor:
        return self._outputs.decode(z, self._classes)


def _stitch(victim: AdaptedModel, raw: OnnxFile, parts: Parts, rows: Tensor, names: Sequence[str]) -> Any:
    """Join three graphs: the adapter's inputs, the model's own, and the tail, from (x, z) to the outputs."""
    onnx = require("onnx", "export")
    model = onnx.load(raw.path)
    standard = [opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")]
    opset = max([OPSET, *standard])
    if any(version < OPSET for version in standard):
        model = onnx.version_converter.convert_version(model, OPSET)
    inputs = [f"model/{spec.name}" for spec in raw.inputs]
    output = victim.adapter.outputs.tensor or raw.outputs[0].name
    first = trace(_Encoder(victim), ["x"], inputs, rows, opset=opset)
    last = trace(GraphTail(_Decoder(victim), parts), ["x", "z"], names, rows, victim.run(rows)[output], opset=opset)
    graphs = [onnx.compose.add_prefix(model, "model/"), onnx.compose.add_prefix(first, "adapter/", rename_inputs=False,
              rename_outputs=False), last]  # fmt: skip
    node = onnx.helper.make_node
    nodes = [
        *graphs[1].graph.node,
        *(step for step in graphs[0].graph.node if step.op_type != "ZipMap"),
        node("Identity", [_scores(graphs[0].graph, f"model/{output}")], ["z"]),
        *last.graph.node,
    ]
    graph = onnx.helper.make_graph(
        nodes, "defended", [last.graph.input[0]], last.graph.output,
        [tensor for part in graphs for tensor in part.graph.initializer],
    )  # fmt: skip
    versions = {imported.domain: imported for part in graphs for imported in part.opset_import}
    return onnx.helper.make_model(
        graph, producer_name="feint", opset_imports=list(versions.values()), ir_version=last.ir_version,
        functions=[function for part in graphs for function in part.functions],
    )  # fmt: skip


def _scores(graph: Any, output: str) -> str:
    """Return the tensor of an output; of dictionaries of scores, the tensor before their ZipMap."""
    maps = {step.output[0]: step.input[0] for step in graph.node if step.op_type == "ZipMap"}
    return maps.get(output, output)
