"""`feint.export.onnx` and `feint.export.outputs`: trace, check, write."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feint import onnx_manifest
from feint._optional import require
from feint.defense import Defense, Ladder
from feint.errors import BadInput
from feint.export.check import Checked, ExpectedOutput, awkward, batches, check, of_answers, of_inputs
from feint.export.models import graph_of
from feint.export.plan import ExportPlan, make_plan
from feint.export.tracing import UNDEFENDED, OfAnswers, traced
from feint.gateway.backends.onnx_model import OnnxModel
from feint.query import Query
from feint.recipes import store
from feint.service import Service
from feint.victims import fingerprint, shape_of


@dataclass(frozen=True)
class Written:
    """The file, its size in bytes, its input (without the batch) and outputs, and what was checked.

    `beside` are the access rules: they ride in the metadata, and only Feint's gateway enforces them. `along` are the
    files that other servers want with it.
    """

    path: Path
    size: int
    input: tuple[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    classes: int
    checked: Checked
    beside: tuple[Any, ...]
    along: tuple[Path, ...] = ()


def onnx(
    service: Service, path: Path | str, *, inputs: Tensor | None = None, gateway: bool = False, rung: int | None = None
) -> Written:
    """Write the service's model and output defenses to the ONNX file `path`: x (N, …) in [0, 1] -> probabilities.

    It is checked against the service on `inputs` (n, …), or on noise where the model knows its shape. With `gateway`
    it holds every rung of a ladder, the scores of its detectors, and how far answers are moved; otherwise one defense,
    that of `rung` where there are several. Raises `NotExportable`, which names the member that cannot go, with nothing
    written.
    """
    plan = make_plan(service.defense, gateway=gateway, rung=rung)
    rows = Query(_noise(service.model) if inputs is None else inputs).x
    # Before tracing: what a defense computes once and keeps must not be a tracer's stand-in for numbers.
    expected = [of_inputs(service.model, plan.parts, x) for x in batches(rows)]
    graph = graph_of(service.model, plan.parts, rows, [*plan.names, UNDEFENDED])
    return _write(Path(path), graph, plan, expected, takes="x", fingerprint=fingerprint(service.model))


def outputs(
    defense: Defense | Ladder, path: Path | str, *, classes: int, gateway: bool = False, rung: int | None = None
) -> Written:
    """Write the output defenses alone to the ONNX file `path`: p (N, `classes`) -> probabilities.

    The gateway runs it in front of a server that has the model. Otherwise as `onnx`.
    """
    plan = make_plan(defense, gateway=gateway, rung=rung)
    expected = [of_answers(plan.parts, p) for p in batches(awkward(classes))]
    graph = traced(OfAnswers(plan.parts), ["p"], plan.names, expected[-1].rows[:3])
    learned = store.fingerprint(store.weights_of(plan.recipe))
    return _write(Path(path), graph, plan, expected, takes="p", fingerprint=learned)


def _noise(model: nn.Module) -> Tensor:
    shape = shape_of(model)
    if shape is None:
        raise BadInput(
            "a model that does not say what it takes", "inputs to check it on", "give some: on the command line --data"
        )
    return torch.rand(74, *shape, generator=torch.Generator().manual_seed(0))


def _write(
    path: Path, graph: Any, plan: ExportPlan, expected: Sequence[ExpectedOutput], *, takes: str, fingerprint: str
) -> Written:
    """The file, once its graph has passed the check."""
    helper = require("onnx.helper", "export")
    undefended = _Undefended(graph) if takes == "x" else torch.from_numpy
    if takes == "x":
        del graph.graph.output[-1]
    helper.set_model_props(graph, plan.metadata(takes=takes, fingerprint=fingerprint))
    with store.atomic_write(path) as partial:
        partial.write_bytes(onnx_manifest.sign(graph.SerializeToString()))
        exported = OnnxModel(partial)
        checked = check(exported, undefended, plan.parts, expected)
        size = partial.stat().st_size
    shape = exported.input, exported.shape
    return Written(path, size, shape, tuple(plan.names), exported.classes, checked, plan.rules)


class _Undefended:
    """A graph's own undefended answers, which its file does not tell."""

    def __init__(self, graph: Any) -> None:
        runtime = require("onnxruntime", "export")
        self._session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, x: np.ndarray) -> Tensor:
        (p,) = self._session.run([UNDEFENDED], {"x": x})
        return torch.from_numpy(p)
