"""Registry of backends: a loader for each kind of model that the settings can name."""

import asyncio
import timeit
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from feint.defenses.served_mark import ServedMark
from feint.errors import BadInput, FeintError, MissingData
from feint.gateway import settings
from feint.gateway.array_query import Array
from feint.gateway.backends.base import OUTPUT, LoadedModel
from feint.gateway.backends.onnx_model import ForeignGraph, OnnxModel, Outputs, identity, softmax
from feint.gateway.backends.onnx_pipeline import OnnxPipeline, observing, reading
from feint.gateway.backends.paid import RememberedSource, announced, meter_of
from feint.gateway.backends.recipes import bare, rules, safest, steps
from feint.gateway.backends.shared_run import QUICK, SharedRun, rows_independent
from feint.gateway.backends.upstream import domain_of_settings, upstream_at
from feint.gateway.redaction import address
from feint.gateway.secrets import read_secret
from feint.gateway.validation import check_probabilities
from feint.models.simplex import kind_of_scores
from feint.onnx_manifest import RungSpec
from feint.openinference.model_spec import ModelSpec
from feint.signature import Domain, Tensor, near

PROBES = 16  # random inputs by which logits and probabilities are told apart


class Passthrough:
    """Graph without an output defense: probabilities pass unchanged, after the access rules."""

    access, rungs, detectors, campaign, recipe, digest = (), (RungSpec(),), (), None, None, ""

    def run(self, p: Array) -> Outputs:
        """Return the rows."""
        return Outputs([p], [], None)


async def load_onnx(table: settings.OnnxSettings, name: str) -> LoadedModel:
    """Load a graph that this process runs.

    A file of others that does not take images is run behind its adapter, by torch. `BadInput` is raised where the file
    does not fit the settings.

    Args:
        table: Settings of the model.
        name: Name of the model.

    Returns:
        The model.

    Raises:
        ForeignGraph: It does not take images, and the settings are of a model that does.
    """
    try:
        return await asyncio.to_thread(_load_graph, table, name)  # others are served meanwhile
    except ForeignGraph:
        if table.outputs is not None or table.output is not None or table.logits:
            raise  # settings of a model of images
        return await load_torch(settings.TorchSettings(torch=str(table.path), access=table.access), name)


def _load_graph(table: settings.OnnxSettings, name: str) -> LoadedModel:
    """Load a graph of images; errors as in `load_onnx`."""
    model = OnnxModel(table.path, threads=table.threads, output=table.output)
    if model.defended and (table.output is not None or table.logits):
        raise BadInput(f"{table.path}, which names its output itself", "no output and no logits", "leave them out")
    if not model.defended:
        model.answer = scores_answer(model.run(model.domain.sample(PROBES, 0)).rungs[0], table)
    if model.takes != "x":
        raise BadInput(f"{table.path}, an output defense alone", "a model", "path = MODEL, outputs = this file")
    if table.outputs is not None and model.defended:
        raise BadInput(f"{table.path}, which is defended", "a bare model before `outputs`", "leave one of them out")
    graph = _output_defense(table.outputs, model.classes) if table.outputs else model
    _pinned(table.fingerprint, graph.fingerprint, table.outputs or table.path)
    marks = _unlocked(graph.rungs, table)

    def run(x: Array) -> Outputs:
        out = model.run(x)
        out = out if graph is model else graph.run(check_probabilities(out.rungs[0], len(x), model.classes))
        return Outputs(*out[:3], near(x)) if graph.detectors or graph.campaign else out

    seconds = _tried(run, model.domain.sample(1, 0), model.classes, str(table.path))
    independent = seconds > QUICK or rows_independent(run, model.domain)
    pipeline = OnnxPipeline(
        graph,
        SharedRun(reading(graph, run), seconds, independent=independent, together=observing(graph)),
        marks=marks,
        access=rules(table.access),
        safest=safest(graph.recipe),
        threshold=table.threshold,
    )
    inputs = () if model.defended else _named(model.domain, model.input)
    return LoadedModel(
        ModelSpec(name, model.domain, OUTPUT, model.classes, inputs, model.labels),
        pipeline,
        [
            f"{table.path.name}, in this process: {1000 * seconds:.2g} ms for one input",
            *([] if independent else ["an input's answer depends on those beside it: each request is run alone"]),
            *steps(graph.recipe or {}, table.access, table.threshold),
        ],
        bare(graph.recipe),
        safest(graph.recipe),
        len(graph.rungs),
        fingerprint=f"{model.digest} {'' if graph is model else graph.digest} {table.logits} {table.output}",
    )


async def load_upstream(table: settings.UpstreamSettings, name: str) -> LoadedModel:
    """Load a model that another server runs; raise `FeintError`, but not where that server does not answer."""
    graph = await asyncio.to_thread(_output_defense, table.outputs, table.classes) if table.outputs else Passthrough()
    if isinstance(graph, OnnxModel):
        _pinned(table.fingerprint, graph.fingerprint, table.outputs)
    marks, access = _unlocked(graph.rungs, table), await asyncio.to_thread(rules, table.access)
    domain_of_settings(table)  # or a mistake in it showed when the server comes
    meter = meter_of(table, table.upstream_model or name)
    paid = announced(meter, address(table.upstream)) if meter is not None else []
    upstream = upstream_at(table, name, meter)
    remembered = RememberedSource(upstream.infer) if meter is not None else None

    async def connect() -> ModelSpec:
        spec = await upstream.probe()
        if remembered is not None:
            remembered.forget()
        if isinstance(graph, OnnxModel) and spec.classes != graph.classes:
            raise BadInput(
                f"{address(table.upstream)} with {spec.classes} classes",
                f"{graph.classes}, as {table.outputs}",
                "export the outputs again for this model, or name its own upstream",
            )
        assert spec.domain is not None
        return ModelSpec(name, spec.domain, OUTPUT, spec.classes, _named(spec.domain, spec.inputs[0].name), spec.labels)

    pipeline = OnnxPipeline(
        graph,
        SharedRun(reading(graph, graph.run), 0.0, independent=isinstance(graph, OnnxModel), together=observing(graph)),
        source=remembered or upstream.infer,
        marks=marks,
        access=access,
        safest=safest(graph.recipe),
        threshold=table.threshold,
    )
    warnings, spec = bare(graph.recipe), None
    try:
        spec = await connect()
    except (BadInput, asyncio.CancelledError):
        upstream.close()
        raise
    except FeintError as error:
        warnings.append(f"{error.args[0]}; it is served as soon as it comes")
    notes = [
        f"upstream {address(table.upstream)}, model {table.upstream_model or name}",
        *paid,
        *steps(graph.recipe or {}, table.access, table.threshold),
    ]
    return LoadedModel(
        spec, pipeline, notes, warnings, safest(graph.recipe), len(graph.rungs), upstream, connect, upstream.close,
        f"{graph.digest} {table.logits} {table.output}", meter=meter,
    )  # fmt: skip


def scores_answer(scores: Array, table: settings.OnnxSettings) -> Callable[[Array], Array]:
    """Return what makes probabilities of an output, by its values (N, K) for random inputs.

    Raises:
        BadInput: They are those of several independent sigmoids, or no logits though the settings say so.
    """
    kind = kind_of_scores(scores)
    if kind == "probabilities":
        if table.logits:
            raise BadInput(
                f"{table.path}, which gives probabilities", "logits, as the settings say", "leave logits out"
            )
        return identity
    if kind == "sigmoids":
        raise BadInput(
            f"{table.path}: rows of numbers in [0, 1] that do not sum to 1", "probabilities or logits",
            "independent sigmoids are several models: serve one of them from a function, package.module:function",
        )  # fmt: skip
    return softmax


def _named(domain: Domain, input: str) -> tuple[Tensor, ...]:
    """Return the tensors of a domain; where it is one, with the name that the model has for it."""
    tensors = tuple(domain.tensors())
    return (tensors[0]._replace(name=input),) if len(tensors) == 1 else tensors


def _output_defense(path: Any, classes: int) -> OnnxModel:
    """Load an exported output defense for so many classes (0: any), and try it once; raise `BadInput`."""
    graph = OnnxModel(path)
    if graph.takes != "p":
        raise BadInput(f"{path}, a model", "an output defense alone", "feint export --outputs-only")
    if classes and graph.classes != classes:
        raise BadInput(f"{path} for {graph.classes} classes", f"one for {classes}", "fit it to this model")
    uniform = np.full((1, graph.classes), 1 / graph.classes, np.float32)
    _tried(graph.run, uniform, graph.classes, str(path))
    return graph


def _unlocked(
    rungs: Sequence[RungSpec], table: settings.OnnxSettings | settings.UpstreamSettings
) -> list[list[ServedMark]]:
    """Return the marks of each rung with their key; raise `BadInput` without it, `MissingData` where it is not read."""
    if not any(rung.marks for rung in rungs):
        return []
    key = read_secret(table.mark_key_env, table.mark_key_file, "key of marked answers")
    return [[mark.unlocked(key) for mark in rung.marks] for rung in rungs]


def _pinned(wanted: str, fingerprint: str, path: Any) -> None:
    if wanted and wanted != fingerprint:
        raise BadInput(
            f"{path} with the fingerprint {fingerprint or 'of nobody'}", wanted, "serve the file that it names"
        )


def _tried(run: Callable[[Array], Outputs], rows: Array, classes: int, where: str) -> float:
    """Return the seconds that one row takes, at best; raise `BadInput` where the answers are not probabilities."""
    try:
        for q in run(rows).rungs:
            check_probabilities(q, len(rows), classes)
    except FeintError as error:
        raise BadInput(f"{where}: {error.args[0]}", "probabilities", "look at the model's output") from error
    return min(timeit.repeat(lambda: run(rows), number=1, repeat=3))


async def load_torch(table: settings.TorchSettings, name: str) -> LoadedModel:
    """Load a model that torch runs in this process; raise `FeintError`."""
    try:
        from feint.gateway.backends.torch_backend import load
    except ImportError as error:
        raise MissingData(
            f"no torch, and {table.torch}, which only torch runs", "it, or a graph", "install torch, or feint export"
        ) from error
    return await asyncio.to_thread(load, table, name)  # others are served meanwhile


LOADERS: dict[type, Callable[[Any, str], Awaitable[LoadedModel]]] = {
    settings.OnnxSettings: load_onnx,
    settings.UpstreamSettings: load_upstream,
    settings.TorchSettings: load_torch,
}
