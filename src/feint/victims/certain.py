"""Adapters that a raw model makes certain by itself."""

import math
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn, Protocol, runtime_checkable

import torch
from torch import Tensor

from feint.errors import BadInput, Undecided
from feint.models.simplex import kind_of_scores
from feint.signature import Column, Columns, Domain, Pixels, Text, Tokens
from feint.signature.tokens import IDS_NAMES, MASK_NAMES, TYPES_NAMES
from feint.victims.adapter import AdaptedModel, Adapter, Inputs
from feint.victims.column_match import match_columns
from feint.victims.inputs import ColumnInputs, PixelInputs, TextInputs, TokenInputs
from feint.victims.outputs import ClassOutputs
from feint.victims.raw import RawModel, TensorSpec
from feint.victims.tasks import refuse_task, task_of

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64")
CHANNELS = (1, 3, 4)
SCORES = ("logits", "probabilities", "probs", "scores", "output_probability")  # usual names of the one that counts
PROBES = 16  # random inputs by which logits, probabilities and sigmoids are told apart
LENGTH = 4096  # greatest length of a text, in bytes, where the data do not say


@runtime_checkable
class StatesAdapter(Protocol):
    """Raw model that states its adapter, so that nothing has to be sent to it."""

    def stated_adapter(self, domain: Domain | None) -> Adapter | None:
        """Return the adapter for a domain of data; None where the model leaves something open.

        Raises:
            BadInput: The model takes other data.
        """
        ...


def adapt(raw: RawModel, domain: Domain | None = None) -> AdaptedModel:
    """Adapt a raw model by the adapter that it makes certain.

    A model that leaves its adapter open, or is no classifier, raises `BadInput`.

    Args:
        raw: The raw model.
        domain: Domain of the data at hand, which may decide what the model leaves open; None for none.

    Returns:
        The model.
    """
    return AdaptedModel(raw, certain_adapter(raw, domain))


def certain_adapter(raw: RawModel, domain: Domain | None = None) -> Adapter:
    """Return the adapter that a raw model makes certain; arguments and errors as in `adapt`."""
    refuse_task(raw, task_of(raw))
    if isinstance(raw, StatesAdapter) and (stated := raw.stated_adapter(domain)) is not None:
        return stated
    domain, inputs = certain_inputs(raw, domain)
    return with_outputs(raw, domain, inputs)


def raise_undecided(raw: RawModel, question: str) -> NoReturn:
    """Raise `Undecided` for a model whose files leave a question open."""
    listed = ", ".join(map(str, (*raw.inputs, *raw.outputs)))
    raise Undecided(
        f"{raw.place} with {listed}, which does not say {question}", "a model.toml, which says how it is used",
        shlex.join(["feint", "inspect", raw.place, "--data", "SAMPLES"]),
    )  # fmt: skip


def certain_inputs(raw: RawModel, domain: Domain | None) -> tuple[Domain, Inputs]:
    """Return domain and inputs of a raw model, or raise `BadInput` where it leaves them open."""
    if isinstance(raw, StatesAdapter) and (stated := raw.stated_adapter(domain)) is not None:
        return stated.domain, stated.inputs
    by_name = {spec.name: spec for spec in raw.inputs}
    ids = next((name for name in IDS_NAMES if name in by_name), None)
    if ids is not None and isinstance(domain, Tokens | None):
        return _tokens(raw, by_name, ids, domain)
    if len(raw.inputs) > 1:
        return _column_tensors(raw, domain)
    spec = next(iter(raw.inputs))
    if spec.dtype == "string":
        return domain if isinstance(domain, Text) else Text(LENGTH), TextInputs(spec.name)
    if (
        isinstance(domain, Tokens)
        and spec.dtype not in (*FLOATS, "uint8")
        and spec.shape[1:] in ((None,), domain.shape)
    ):
        return domain, TokenInputs(spec.name)
    if spec.dtype == "any" and not spec.shape and domain is not None:
        return domain, _plain_inputs(raw, spec, domain)
    if len(spec.shape) == 4:
        return _pixels(raw, spec, domain)
    if (
        len(spec.shape) == 2
        and spec.shape[1]
        and (spec.dtype in (*FLOATS, "any") or (spec.dtype in INTEGERS and isinstance(domain, Columns)))
    ):
        return _matrix(raw, spec, domain)
    raise_undecided(raw, "what it takes")


def _plain_inputs(raw: RawModel, spec: TensorSpec, domain: Domain) -> Inputs:
    """Return the inputs of a module or function that does not say what it takes: the domain's own values."""
    if isinstance(domain, Columns):
        if any(column.categories for column in domain.columns):
            raise_undecided(raw, "how it takes categories")
        return ColumnInputs(spec.name, dtype="float32" if raw.differentiable else "")
    kinds = {Pixels: PixelInputs, Tokens: TokenInputs, Text: TextInputs}
    return kinds[type(domain)](spec.name)


def _pixels(raw: RawModel, spec: TensorSpec, domain: Domain | None) -> tuple[Pixels, PixelInputs]:
    """Return an image model's inputs: float images in [0, 1], or uint8."""
    settings = raw.metadata.inputs
    if settings is not None:
        resized = domain if isinstance(domain, Pixels) else Pixels((spec.shape[1] or 3, *settings.size))
        return resized, settings
    _, first, *middle, last = spec.shape
    layouts = [name for name, size in (("NCHW", first), ("NHWC", last)) if size in CHANNELS]
    if len(layouts) != 1 or spec.dtype not in (*FLOATS, "uint8"):
        raise_undecided(raw, "which axis has the channels" if len(layouts) != 1 else "how its pixels are scaled")
    sizes = (first, *middle, last) if layouts[0] == "NCHW" else (last, first, *middle)
    if None in sizes and isinstance(domain, Pixels) and len(domain.shape) == 3:
        sizes = tuple(have if size is None else size for size, have in zip(sizes, domain.shape, strict=True))
    if None in sizes:
        raise_undecided(raw, "the size of its images")
    high = 255.0 if spec.dtype == "uint8" else 1.0
    return Pixels(tuple(size for size in sizes if size)), PixelInputs(spec.name, layouts[0], high=high)


def _matrix(raw: RawModel, spec: TensorSpec, domain: Domain | None) -> tuple[Domain, Inputs]:
    """Return the inputs of a model of rows (N, F)."""
    count = spec.shape[1]
    if isinstance(domain, Pixels) and math.prod(domain.shape) == count:
        return domain, PixelInputs(spec.name, "flat", dtype="float64" if spec.dtype == "any" else "")
    if isinstance(domain, Text | Tokens):
        raise BadInput(f"{domain.noun} for {raw.place}", str(spec), "give data of the model's own kind")
    if raw.metadata.open is not None and not isinstance(domain, Columns):
        raise_undecided(raw, raw.metadata.open)
    columns = raw.metadata.columns or tuple(Column(f"x{i}") for i in range(count or 0))
    domain = Columns(columns) if not isinstance(domain, Columns) else match_columns(domain, columns)
    categorical = any(column.categories for column in domain.columns)
    known = raw.metadata.open is not None or any(column.categories for column in columns)  # open: as the data have them
    if categorical and spec.dtype != "any" and not known:
        raise_undecided(raw, "how it takes categories")
    return domain, ColumnInputs(spec.name, categories="names" if categorical and spec.dtype == "any" else "codes")


def _column_tensors(raw: RawModel, domain: Domain | None) -> tuple[Columns, ColumnInputs]:
    """Return the inputs of a model with one tensor (N, 1) for each column."""
    if not all(len(spec.shape) == 2 and spec.shape[1] == 1 for spec in raw.inputs):
        raise_undecided(raw, "which data its inputs are")
    columns = raw.metadata.columns or tuple(Column(spec.name) for spec in raw.inputs)
    names = tuple(column.name for column in columns)
    if isinstance(domain, Columns):
        columns = match_columns(domain, columns).columns
    known = dict(zip(names, columns, strict=True))
    if any(spec.dtype == "string" and not known[spec.name].categories for spec in raw.inputs):
        raise_undecided(raw, "the categories of its strings")
    table = Columns(columns)
    return table, ColumnInputs(form="tensors", categories="names", names=names if names != table.names else ())


def _tokens(raw: RawModel, specs: dict[str, TensorSpec], ids: str, domain: Tokens | None) -> tuple[Tokens, TokenInputs]:
    mask, types = (next((name for name in names if name in specs), "") for names in (MASK_NAMES, TYPES_NAMES))
    if {*specs} - {ids, mask, types}:
        raise_undecided(raw, "which data its inputs are")
    if domain is None:
        raise_undecided(raw, "the length and vocabulary of its sequences")
    return domain, TokenInputs(ids, mask, types)


def with_outputs(raw: RawModel, domain: Domain, inputs: Inputs) -> Adapter:
    """Complete an adapter by its outputs: the model is run on random inputs.

    A model with several outputs that may be scores, or with those of another task, raises `BadInput`.

    Args:
        raw: The raw model.
        domain: Domain of the queries.
        inputs: Inputs of the adapter.

    Returns:
        The adapter, with the model's own names of classes, or their numbers.
    """
    names, values = raw.metadata.classes, raw.metadata.values
    if values is not None and len(names) > 1:
        labels = names if values == "labels" else ()
        return Adapter(domain, names, inputs, ClassOutputs(raw.outputs[0].name, values, labels=labels))
    probe = Adapter(domain, ("0", "1"), inputs)
    outputs = _probe(raw, probe)
    name = score_output(raw, outputs)
    output = outputs[name]
    values = values or kind_of_output(raw, output)
    if values == "labels":
        if len(names) < 2:
            raise_undecided(raw, "its classes: it returns labels alone")
        return replace(probe, classes=names, outputs=ClassOutputs(name, values, labels=names))
    count = 2 if output.ndim == 1 else max(output[0].numel(), 2)
    classes = names if len(names) == count else tuple(map(str, range(count)))
    return replace(probe, classes=classes, outputs=ClassOutputs(name, values))


def _probe(raw: RawModel, adapter: Adapter) -> dict[str, Any]:
    model = AdaptedModel(raw, adapter)
    with torch.no_grad():
        return model.run(torch.from_numpy(adapter.domain.sample(PROBES, 0)))


def score_output(raw: RawModel, outputs: Mapping[str, Any]) -> str:
    """Return the name of the output with the scores of classes, or else with labels.

    Args:
        raw: The raw model, for messages.
        outputs: Its outputs for several inputs.

    Returns:
        The name.

    Raises:
        BadInput: None of them is that of a classifier, or several may be it.
    """
    rows = {name: output for name, output in outputs.items() if _is_row(output)}
    if not rows:
        shapes = ", ".join(f"{name} {tuple(output.shape)}" for name, output in outputs.items())
        raise BadInput(
            f"{raw.place} with outputs {shapes}", "one row of scores or one label for each input",
            "return these from a function: package.module:function",
        )  # fmt: skip
    scores = [name for name, output in rows.items() if isinstance(output, Tensor) and output.is_floating_point()]
    named = [name for name in scores if name.lower() in SCORES]
    chosen = named if len(named) == 1 else scores or list(rows)
    if len(chosen) != 1:
        raise_undecided(raw, "which of its outputs has the scores")
    return chosen[0]


def _is_row(output: Any) -> bool:
    """Return whether an output (N, …) has one row for each input: (N,), (N, K) or (N, K, 1, 1)."""
    return output.ndim in (1, 2) or (output.ndim == 4 and tuple(output.shape[2:]) == (1, 1))


def kind_of_output(raw: RawModel, output: Any) -> str:
    """Tell logits, probabilities, log-probabilities, one sigmoid and labels apart by the answers to random inputs.

    One score that may be a regression's, and several sigmoids, raise `BadInput`.

    Args:
        raw: The raw model, for messages.
        output: Its output for several inputs.

    Returns:
        One of `outputs.VALUES`.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return "labels"
    z = output.flatten(1).double() if output.ndim > 1 else output.double()[:, None]
    if z.shape[1] == 1:
        if not bool(((z >= 0) & (z <= 1)).all()):
            raise_undecided(raw, "whether its one score is a logit of two classes or a regression")
        return "sigmoid"
    kind = kind_of_scores(z)
    if kind == "sigmoids":
        refuse_task(raw, "multi-label classification")
    return kind
