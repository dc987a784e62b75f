"""The line as one module, and the ONNX graph that torch makes of it: the very code that a service runs is traced."""

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

OPSET = 18
UNDEFENDED = "undefended"  # an output for the check alone: it is not in the file
SERVE = "leave it out, or serve it with torch"


@dataclass(frozen=True)
class Parts:
    """What follows the model: the rungs, the detectors' scores, and whether the graph says how far a row was moved."""

    rungs: Sequence[Defense]
    scores: Sequence[Any] = ()
    moved: bool = False


class FixedLogits(nn.Module):
    """A model that has answered: whatever leans on the model again sees the logits `z` (N, K) that are there."""

    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.z = z

    def forward(self, x: Tensor) -> Tensor:
        return self.z


class OfInputs(nn.Module):
    """x (N, …) -> all that `Parts` says, and the undefended probabilities."""

    def __init__(self, model: nn.Module, parts: Parts) -> None:
        super().__init__()
        self.model, self.parts = model, parts

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        z = self.model(x).float()
        p = z.softmax(-1)
        return *said(self.parts, p, x, z), p


class OfLogits(nn.Module):
    """(x, z) -> the same, for a model that is a graph already: what `head` makes of its output `z` are logits."""

    def __init__(self, head: nn.Module, parts: Parts) -> None:
        super().__init__()
        self.head, self.parts = head, parts

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        z = self.head(z).float()
        p = z.softmax(-1)
        return *said(self.parts, p, x, z), p


class OfAnswers(nn.Module):
    """p (N, K) -> the same, without a model; `p` is the undefended answer itself."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, p: Tensor) -> tuple[Tensor, ...]:
        return tuple(said(self.parts, p, None, None))


def said(parts: Parts, p: Tensor, x: Tensor | None, z: Tensor | None) -> list[Tensor]:
    """The answers, scores and distances for undefended answers `p`, the inputs and the logits as far as known."""
    answers = [through(rung.outputs, p, x, z) for rung in parts.rungs]
    if z is None:
        z = p.clamp_min(torch.finfo(p.dtype).tiny).log()
    scores = [score(p if x is None else x, z) for score in parts.scores]
    return answers + scores + [(q - p).abs().sum(-1) for q in answers if parts.moved]


def through(outputs: Sequence[OutputDefense], p: Tensor, x: Tensor | None, z: Tensor | None) -> Tensor:
    """`p` (N, K) after the output defenses. Raises `NotExportable`, which names the one that cannot be traced."""
    for step in outputs:
        try:
            placed = step if z is None else bind(step, FixedLogits(z), Ledger())
            p = placed(p, x)  # pyright: ignore[reportArgumentType]
        except Exception as error:  # whatever the tracer cannot do, in the words of whoever noticed
            raise refused(step, error) from error
    return p


def traced(
    module: nn.Module, given: Sequence[str], outputs: Sequence[str], *examples: Tensor, opset: int = OPSET
) -> Any:
    """The ONNX model of `module`, traced on `examples`: a dynamic batch, and these names of inputs and outputs."""
    require("onnxscript", "export")
    if any(it.device != examples[0].device for it in module.parameters()):  # a graph names no device
        module = copy.deepcopy(module).to(examples[0].device)
    with quiet():
        batch = Dim("N")
        shapes = tuple({0: batch} for _ in examples)
        program = torch.export.export(module, examples, dynamic_shapes=shapes, strict=False)
        graph: Any = torch.onnx.export(
            program, dynamo=True, opset_version=opset, input_names=given, output_names=outputs, verbose=False
        )
    return cleaned(graph.model_proto)


def cleaned(proto: Any) -> Any:
    """The ONNX model without what the exporter says of where it came from: stack traces with paths and source."""
    for thing in [*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.initializer, proto.graph]:
        thing.ClearField("metadata_props")
        thing.ClearField("doc_string")
    proto.graph.ClearField("value_info")
    proto.ClearField("metadata_props")
    proto.ClearField("doc_string")
    for value in [*proto.graph.input, *proto.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    proto.producer_name, proto.graph.name = "feint", "defended"
    return proto


def refused(step: OutputDefense, error: Exception) -> NotExportable:
    """The error that names the `step` which cannot be traced, and those within it."""
    inner = [value for value in vars(step).values() if isinstance(value, Output)]
    name = type(step).__name__ + (f" of {' and '.join(type(it).__name__ for it in inner)}" if inner else "")
    return NotExportable(f"{name} ({reason(error)})", "arithmetic that ONNX knows", SERVE)


def reason(error: Exception) -> str:
    """An error in one short line; of the tracer's own essays the gist."""
    if isinstance(error, FeintError):
        return error.args[0]
    branches = "data-dependent" in str(error) or "dynamic" in str(error)
    said = "what it does next depends on the data" if branches else f"{type(error).__name__}: {error}"
    return one_line(said, 120)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No word from torch's exporter: its parts warn of each other, and it logs what it tries."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
