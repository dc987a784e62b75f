"""Export to ONNX: `onnx` for a model and its output defenses, `outputs` for output defenses alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feint import onnx_manifest
from feint._optional import available, require
from feint.defense import Defense, Ladder
from feint.errors import BadInput
from feint.export.check import (
    CheckResult,
    ExpectedOutput,
    awkward,
    batches,
    check,
    expected_of_answers,
    expected_of_inputs,
)
from feint.export.models import build_graph
from feint.export.plan import ExportPlan, make_plan
from feint.export.tracing import UNDEFENDED, DefendedAnswers, trace
from feint.gateway.backends.onnx_model import OnnxModel
from feint.query import Query
from feint.recipes import store
from feint.service import Service
from feint.signature import domain_like
from feint.victims import domain_of, fingerprint


@dataclass(frozen=True)
class Written:
    """Description of a written ONNX file.

    Attributes:
        path: The file.
        size: Its size in bytes.
        input: Name and shape, without the batch, of its input.
        outputs: Names of its outputs.
        classes: Number of classes.
        checked: Result of its check against the service.
        beside: Access rules and marks of answers, which are in the metadata and which only Feint's gateway applies.
        along: Further files that a server needs.
    """

    path: Path
    size: int
    input: tuple[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    classes: int
    checked: CheckResult
    beside: tuple[Any, ...]
    along: tuple[Path, ...] = ()


def onnx(
    service: Service, path: Path | str, *, inputs: Tensor | None = None, gateway: bool = False, rung: int | None = None
) -> Written:
    """Write the service's model and output defenses as one ONNX graph, from inputs x (N, …) to probabilities (N, K).

    The graph is checked against the service in onnxruntime before the file is written. `NotExportable` is raised for a
    graph that differs, or names the member that cannot be exported; nothing is written then. `BadInput` is raised for
    an unknown rung, or without `inputs` if the model's input shape is unknown.

    Args:
        service: Service to export.
        path: File to write.
        inputs: Inputs (n, …) of the check. By default random ones, if the model's input shape is known.
        gateway: Whether the file is for Feint's gateway: the graph then has every rung of a ladder, the scores of its
            detectors, and the L1 distance of each answer from the undefended one.
        rung: Number of the only rung of a ladder to export, from 0. Required for a ladder without `gateway`.

    Returns:
        The written file. Access rules are in its metadata, and only Feint's gateway enforces them.

    Example:
        >>> written = feint.export.onnx(service, "digits.onnx", inputs=data.test.inputs(slice(0, 64)))  # doctest: +SKIP
    """
    plan = make_plan(service.defense, gateway=gateway, rung=rung)
    rows = Query(_noise(service.model) if inputs is None else inputs).x
    # Before tracing: values that a defense caches must be numbers, not the tracer's symbols.
    expected = [expected_of_inputs(service.model, plan.parts, x) for x in batches(rows)]
    graph = build_graph(service.model, plan.parts, rows, [*plan.names, UNDEFENDED])
    about = plan.metadata(
        takes="x",
        fingerprint=fingerprint(service.model),
        domain=domain_of(service.model) or domain_like(rows.numpy()),
        labels=getattr(service.model, "class_names", ()),
    )
    return _write(Path(path), graph, plan, expected, about)


def outputs(
    defense: Defense | Ladder, path: Path | str, *, classes: int, gateway: bool = False, rung: int | None = None
) -> Written:
    """Write the output defenses alone as an ONNX graph, from undefended to defended probabilities (N, `classes`).

    Feint's gateway runs the graph in front of a server that has the model. Errors are those of `onnx`.

    Args:
        defense: Defense or ladder to export.
        path: File to write.
        classes: Number of classes.
        gateway: As in `onnx`.
        rung: As in `onnx`.

    Returns:
        The written file.
    """
    plan = make_plan(defense, gateway=gateway, rung=rung)
    expected = [expected_of_answers(plan.parts, p) for p in batches(awkward(classes))]
    graph = trace(DefendedAnswers(plan.parts), ["p"], plan.names, expected[-1].rows[:3])
    learned = store.fingerprint(store.weights_of(plan.recipe))
    return _write(Path(path), graph, plan, expected, plan.metadata(takes="p", fingerprint=learned))


def _noise(model: nn.Module) -> Tensor:
    domain = domain_of(model)
    if domain is None:
        raise BadInput(
            "a model whose input shape is not known", "inputs to check it on", "give some: on the command line --data"
        )
    return torch.from_numpy(domain.sample(74, 0))


def _write(
    path: Path, graph: Any, plan: ExportPlan, expected: Sequence[ExpectedOutput], about: dict[str, str]
) -> Written:
    """Write the file if its graph passes the check."""
    helper = require("onnx.helper", "export")
    available("onnxruntime", "export")
    undefended = _Undefended(graph) if about["feint.takes"] == "x" else torch.from_numpy
    if about["feint.takes"] == "x":
        del graph.graph.output[-1]
    helper.set_model_props(graph, about)
    with store.atomic_write(path) as partial:
        partial.write_bytes(onnx_manifest.sign(graph.SerializeToString()))
        exported = OnnxModel(partial)
        checked = check(exported, undefended, plan.parts, expected)
        size = partial.stat().st_size
    shape = exported.input, exported.shape
    return Written(path, size, shape, tuple(plan.names), exported.classes, checked, (*plan.rules, *plan.marks))


class _Undefended:
    """Undefended answers of a graph, whose file does not return them."""

    def __init__(self, graph: Any) -> None:
        runtime = require("onnxruntime", "export")
        self._session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, x: np.ndarray) -> Tensor:
        (p,) = self._session.run([UNDEFENDED], {"x": x})
        return torch.from_numpy(p)
