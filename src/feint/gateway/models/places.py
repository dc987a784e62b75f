"""Where models are: each place of the settings, opened and tried, becomes a line behind a name."""

import asyncio
import timeit
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feint.errors import BadInput, FeintError, MissingData
from feint.gateway import settings
from feint.gateway.array_query import Array
from feint.gateway.endpoint import ServedPipeline
from feint.gateway.models.batching import Batches
from feint.gateway.models.graphs import Exported, Outputs, as_they_are, softmax
from feint.gateway.models.imprint import Step
from feint.gateway.models.onnx_pipeline import InlineOrThread, OnnxPipeline
from feint.gateway.models.recipes import bare, rules, safest, steps
from feint.gateway.models.upstream import UpstreamModel, upstream_at
from feint.gateway.simplex import probabilities
from feint.openinference.model_spec import ModelSpec

OUTPUT = "probabilities"  # the one output that clients see


def nothing() -> None:
    """Nothing is to be closed."""


@dataclass(frozen=True)
class Place:
    """An opened model: its line, what it is in words, what is worth a warning, and the rung that answers without a
    ledger, if any defends. `about` is None while an upstream was not seen; `come` tells when it is."""

    about: ModelSpec | None
    line: ServedPipeline
    said: Sequence[str]
    warnings: Sequence[str] = ()
    safest: int | None = None
    upstream: UpstreamModel | None = None
    come: Callable[[], Awaitable[ModelSpec]] | None = None
    close: Callable[[], None] = nothing


class Plain:
    """No graph: answers leave as they come, after the access rules."""

    access, rungs, detectors, recipe = (), (Step(),), (), None

    def run(self, p: Array) -> Outputs:
        """The rows as they came."""
        return Outputs([p], [], None)


async def in_process(at: settings.Graph, name: str) -> Place:
    """A graph that this process runs. Raises `FeintError`."""
    answer = softmax if at.logits else as_they_are
    model = await asyncio.to_thread(Exported, at.path, threads=at.threads, output=at.output, answer=answer)
    if model.takes != "x":
        raise BadInput(f"{at.path}, an output defense alone", "a model", "path = MODEL, outputs = this file")
    if at.outputs is not None and model.defended:
        raise BadInput(f"{at.path}, which is defended", "a bare model before `outputs`", "leave one of them out")
    graph = _output_defense(at.outputs, model.classes) if at.outputs else model
    _pinned(at.fingerprint, graph.fingerprint, at.outputs or at.path)

    def whole(x: Array) -> Outputs:
        out = model.run(x)
        return out if graph is model else graph.run(probabilities(out.rungs[0], len(x), model.classes))

    seconds = _tried(whole, np.zeros((1, *model.shape), np.float32), model.classes, str(at.path))
    run = InlineOrThread(whole, seconds)
    line = OnnxPipeline(
        graph,
        Batches(run, most=at.batch, wait=at.batch_wait) if at.batch else run,
        access=rules(at.access),
        safest=safest(graph.recipe),
    )
    return Place(
        ModelSpec(name, model.input, model.shape, OUTPUT, model.classes),
        line,
        [f"{at.path}, in this process: {1000 * seconds:.2g} ms for one input", *steps(graph.recipe or {}, at.access)],
        bare(graph.recipe),
        safest(graph.recipe),
    )


async def behind(at: settings.Upstream, name: str) -> Place:
    """A model that another server runs. Raises `FeintError`, but not where that server is away."""
    graph = _output_defense(at.outputs, at.classes) if at.outputs else Plain()
    if isinstance(graph, Exported):
        _pinned(at.fingerprint, graph.fingerprint, at.outputs)
    upstream = upstream_at(at, at.upstream_model or name)

    async def come() -> ModelSpec:
        spec = await upstream.about()
        classes = spec.model.classes
        if isinstance(graph, Exported) and classes != graph.classes:
            raise BadInput(f"{at.upstream} with {classes} classes", f"{graph.classes}, as {at.outputs}", "fit it")
        return ModelSpec(name, spec.model.input, spec.shape, OUTPUT, classes)

    line = OnnxPipeline(
        graph,
        InlineOrThread(graph.run, 0.0),
        source=upstream.infer,
        access=rules(at.access),
        safest=safest(graph.recipe),
    )
    warnings, about = bare(graph.recipe), None
    try:
        about = await come()
    except BadInput:
        upstream.close()
        raise
    except FeintError as error:
        warnings.append(f"{error.args[0]}; it is served as soon as it comes")
    said = [f"upstream {at.upstream}, model {at.upstream_model or name}", *steps(graph.recipe or {}, at.access)]
    return Place(about, line, said, warnings, safest(graph.recipe), upstream, come, upstream.close)


def _output_defense(path: Any, classes: int) -> Exported:
    """The exported output defense at `path`, for so many classes (0: any), tried once. Raises `BadInput`."""
    graph = Exported(path)
    if graph.takes != "p":
        raise BadInput(f"{path}, a model", "an output defense alone", "feint export --outputs-only")
    if classes and graph.classes != classes:
        raise BadInput(f"{path} for {graph.classes} classes", f"one for {classes}", "fit it to this model")
    uniform = np.full((1, graph.classes), 1 / graph.classes, np.float32)
    _tried(graph.run, uniform, graph.classes, str(path))
    return graph


def _pinned(wanted: str, found: str, path: Any) -> None:
    if wanted and wanted != found:
        raise BadInput(f"{path} with the fingerprint {found or 'of nobody'}", wanted, "serve the file that it names")


def _tried(run: Callable[[Array], Outputs], rows: Array, classes: int, where: str) -> float:
    """The seconds that one row takes, at best. Raises `BadInput` where what comes is not probabilities."""
    try:
        for q in run(rows).rungs:
            probabilities(q, len(rows), classes)
    except FeintError as error:
        raise BadInput(f"{where}: {error.args[0]}", "probabilities", "logits = true, where it gives logits") from error
    return min(timeit.repeat(lambda: run(rows), number=1, repeat=3))


async def by_torch(at: settings.Torch, name: str) -> Place:
    """A model that torch runs in this process. Raises `FeintError`."""
    try:
        from feint.gateway.models.by_torch import opened
    except ImportError as error:
        raise MissingData(
            f"no torch, and {at.torch}, which only torch runs", "it, or a graph", "install torch, or feint export"
        ) from error
    return await asyncio.to_thread(opened, at, name)  # others are served meanwhile


OPEN: dict[type, Callable[[Any, str], Awaitable[Place]]] = {
    settings.Graph: in_process,
    settings.Upstream: behind,
    settings.Torch: by_torch,
}
