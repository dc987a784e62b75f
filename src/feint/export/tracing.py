"""Tracing of a model and its output defenses to ONNX. The code that is traced is the code that a service runs."""

import contextlib
import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from feint._optional import require
from feint.defense import Defense, OutputDefense, bind
from feint.defenses.outputs import Output
from feint.errors import FeintError, NotExportable, one_line
from feint.ledger import Ledger
from feint.models.inference import last_linear, with_features
from feint.models.simplex import log_probabilities

OPSET = 18
UNDEFENDED = "undefended"  # an output of the check, which is not in the file
SERVE = "leave it out, or serve it with torch"


@dataclass(frozen=True)
class Parts:
    """Parts of a graph that follow the model.

    Attributes:
        rungs: Defenses whose output defenses are applied, each to the undefended answers.
        scores: Scores of the detectors, functions of inputs and logits.
        moved: Whether the graph returns the L1 distance of each answer from the undefended one.
    """

    rungs: Sequence[Defense]
    scores: Sequence[Any] = ()
    moved: bool = False


class FixedLogits(nn.Module):
    """Model whose logits `z` (N, K), and perhaps features (N, D), are known, for steps that use the model."""

    def __init__(self, z: Tensor, features: Tensor | None = None) -> None:
        super().__init__()
        self.z, self.features = z, features

    def forward(self, x: Tensor) -> Tensor:
        return self.z

    def penultimate(self, x: Tensor) -> Tensor | None:
        """Return the features."""
        return self.features


class DefendedModel(nn.Module):
    """Module from x (N, …) to the outputs of `Parts` and the undefended probabilities (N, K)."""

    def __init__(self, model: nn.Module, parts: Parts) -> None:
        super().__init__()
        self.model, self.parts = model, parts

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        z, features = with_features(self.model, x, last_linear(self.model))
        p = z.float().softmax(-1)
        return *outputs_of(self.parts, p, x, z.float(), features), p


class GraphTail(nn.Module):
    """Module from (x, z) to the same, for a model that is an ONNX graph; `head` turns its output `z` into logits."""

    def __init__(self, head: nn.Module, parts: Parts) -> None:
        super().__init__()
        self.head, self.parts = head, parts

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        z = self.head(z).float()
        p = z.softmax(-1)
        return *outputs_of(self.parts, p, x, z), p


class DefendedAnswers(nn.Module):
    """Module from undefended answers p (N, K) to the outputs of `Parts`."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, p: Tensor) -> tuple[Tensor, ...]:
        return tuple(outputs_of(self.parts, p, None, None))


def outputs_of(
    parts: Parts, p: Tensor, x: Tensor | None, z: Tensor | None, features: Tensor | None = None
) -> list[Tensor]:
    """Return the answers, scores and distances.

    Args:
        parts: Rungs and scores.
        p: Undefended answers (N, K).
        x: Inputs (N, …), None where they are unknown.
        z: Logits (N, K), None where they are unknown; their place is taken by log p.
        features: Features (N, D), None where they are unknown.

    Returns:
        The answers (N, K) of each rung, the scores (N,) or (N, d) of each detector, and each rung's distances (N,).
    """
    answers = [apply_outputs(rung.outputs, p, x, z) for rung in parts.rungs]
    if z is None:
        z = log_probabilities(p)
    model = FixedLogits(z, features)
    scores = [bind(score, model, Ledger())(p[:, :0] if x is None else x, z) for score in parts.scores]
    return answers + scores + [(q - p).abs().sum(-1) for q in answers if parts.moved]


def apply_outputs(outputs: Sequence[OutputDefense], p: Tensor, x: Tensor | None, z: Tensor | None) -> Tensor:
    """Apply output defenses to `p` (N, K), or raise `NotExportable`, which names the defense that cannot be traced."""
    for step in outputs:
        try:
            bound = step if z is None else bind(step, FixedLogits(z), Ledger())
            p = bound(p, x)  # pyright: ignore[reportArgumentType]
        except Exception as error:  # the tracer and the defense may raise anything
            raise not_exportable(step, error) from error
    return p


def trace(
    module: nn.Module, inputs: Sequence[str], outputs: Sequence[str], *examples: Tensor, opset: int = OPSET
) -> Any:
    """Trace a module to ONNX with a dynamic batch.

    Args:
        module: Module to trace.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
        *examples: One tensor (n, …) for each input.
        opset: Version of the ONNX operators.

    Returns:
        The ONNX model.
    """
    require("onnxscript", "export")
    if any(weights.device != examples[0].device for weights in module.parameters()):  # a graph names no device
        module = copy.deepcopy(module).to(examples[0].device)
    with _silence():
        batch = Dim("N")
        shapes = tuple({0: batch} for _ in examples)
        program = torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)
        graph: Any = torch.onnx.export(
            program, dynamo=True, opset_version=opset, input_names=inputs, output_names=outputs, verbose=False
        )
    return _clean(graph.model_proto)


def _clean(proto: Any) -> Any:
    """Remove stack traces with paths and source, which the exporter puts into the model, and return it."""
    graph = proto.graph
    for part in [*graph.node, *graph.input, *graph.output, *graph.initializer, graph]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    proto.graph.ClearField("value_info")
    proto.ClearField("metadata_props")
    proto.ClearField("doc_string")
    for value in [*proto.graph.input, *proto.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    proto.producer_name, proto.graph.name = "feint", "defended"
    return proto


def not_exportable(step: OutputDefense, error: Exception) -> NotExportable:
    """Return the error that names a `step` that cannot be traced, and the output defenses within it."""
    inner = [value for value in vars(step).values() if isinstance(value, Output)]
    name = type(step).__name__ + (f" of {' and '.join(type(member).__name__ for member in inner)}" if inner else "")
    return NotExportable(f"{name} ({explain(error)})", "arithmetic that ONNX knows", SERVE)


def explain(error: Exception) -> str:
    """Return an error in one short line; for the tracer's long messages, a summary."""
    if isinstance(error, FeintError):
        return error.args[0]
    branches = "data-dependent" in str(error) or "dynamic" in str(error)
    text = "its control flow depends on the data" if branches else f"{type(error).__name__}: {error}"
    return one_line(text, 120)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence the warnings and logs of torch's exporter."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
