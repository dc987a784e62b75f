"""Adapters: recipes that stand between a domain and the tensors of a raw model, and the model that they make."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feint.errors import BadInput, BadRecipe
from feint.paid.answer_cache import AnswerCache
from feint.query import torch_type
from feint.signature import Domain
from feint.victims.inputs import ColumnInputs, PixelInputs, TextInputs, TokenInputs, cast
from feint.victims.outputs import ClassOutputs
from feint.victims.raw import RawModel, Values

Inputs = PixelInputs | ColumnInputs | TokenInputs | TextInputs
REMEMBERED = 2**27  # bytes: 200,000 answers of 100 classes
ENTRY = 250  # bytes of an answer that is kept, beside its numbers


@dataclass(frozen=True)
class Adapter:
    """Recipe that turns a raw model into a model from a domain to logits. It is a part of the model.

    Args:
        domain: Domain of the queries.
        classes: Names of the K classes, in the order of the labels.
        inputs: How a query becomes the model's inputs.
        outputs: How the model's output becomes logits.

    Raises:
        BadRecipe: The inputs are those of another domain, or the classes are not different or fewer than two.
    """

    domain: Domain
    classes: tuple[str, ...]
    inputs: Inputs
    outputs: ClassOutputs = ClassOutputs()

    def __post_init__(self) -> None:
        if not isinstance(self.domain, self.inputs.domain):
            raise BadRecipe(
                f"{type(self.inputs).__name__} for the domain {type(self.domain).__name__}",
                f"inputs of {type(self.domain).__name__}", "change one of them",
            )  # fmt: skip
        count = len(self.classes)
        for field, size in (("order", len(self.outputs.order)), ("labels", len(self.outputs.labels))):
            if size not in (0, count):
                raise BadRecipe(f"{size} {field} for {count} classes", "one for each class", f"mend {field}")
        if count < 2 or len({*self.classes}) < count:
            raise BadRecipe(f"classes {self.classes[:8]}", "two or more, of different names", "mend them")

    def with_classes(self, classes: Sequence[str]) -> "Adapter":
        """Return the adapter with its classes in this order, matched by name.

        Args:
            classes: The same names in another order.

        Returns:
            The adapter, whose class k is the k-th of `classes`.

        Raises:
            BadInput: The names are others.
        """
        if sorted(classes) != sorted(self.classes):
            absent = sorted({*classes} ^ {*self.classes})[:8]
            raise BadInput(
                f"classes {', '.join(classes[:8])}", f"those of the model; {', '.join(absent)} differ", "rename them"
            )
        positions = [self.classes.index(name) for name in classes]
        outputs = self.outputs
        if outputs.values == "labels":
            labels = outputs.labels or tuple(map(str, range(len(classes))))
            outputs = replace(outputs, labels=tuple(labels[k] for k in positions))
        elif positions != list(range(len(classes))):
            order = outputs.order or range(len(classes))
            outputs = replace(outputs, order=tuple(order[k] for k in positions))
        return replace(self, classes=tuple(classes), outputs=outputs)


class AdaptedModel(nn.Module):
    """Raw model behind an adapter: a module from inputs (N, …) of its domain to logits (N, K) float32.

    A raw model that is a torch module keeps its gradients, all others have none. The `state_dict` has a digest of the
    raw model's content and of the adapter.

    Args:
        raw: The raw model.
        adapter: Its adapter.

    Attributes:
        domain: Domain of the inputs.
        classes: Number K of classes.
        class_names: Names of the classes.

    Raises:
        BadInput: The adapter names inputs or outputs, types or sizes that the raw model does not have.
    """

    digest: Tensor

    def __init__(self, raw: RawModel, adapter: Adapter) -> None:
        super().__init__()
        check_fit(raw, adapter)
        self.raw, self.adapter = raw, adapter
        self.domain, self.class_names, self.classes = adapter.domain, adapter.classes, len(adapter.classes)
        digest = hashlib.sha256(f"{raw.digest} {adapter!r}".encode()).digest()
        self.register_buffer("digest", torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        self._answers: AnswerCache | None = None

    def remember(self, size: int = REMEMBERED) -> None:
        """Keep answers from now on, up to about `size` bytes of the last ones: equal inputs are run once.

        Nothing is kept of a raw model that is not `repeatable`.
        """
        if self.raw.repeatable:
            self._answers, self._most = AnswerCache(None), size // (ENTRY + 4 * self.classes)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != torch.Size(self.domain.shape) or x.dtype != torch_type(self.domain):
            self.domain.check(x.detach().cpu().numpy())  # raises
        if not torch.compiler.is_exporting() and not len(x):
            return torch.zeros(0, self.classes, device=x.device)
        cache = None if torch.compiler.is_exporting() else self._answers
        return (self._logits(x) if cache is None else self._remembered(x, cache)).to(x.device)

    def _logits(self, x: Tensor) -> Tensor:
        return self.adapter.outputs.decode(self.scores(x), self.classes)

    def _remembered(self, x: Tensor, cache: AnswerCache) -> Tensor:
        """Return the logits for inputs (N, …); the model runs on those alone whose answers are not kept.

        Inputs are equal here by their bytes: an attacker's steps may be smaller than those that marks tell apart.
        """
        cache.forget(self._most)  # before the batch, all of whose answers are needed at its end
        content = [row.tobytes() for row in x.detach().cpu().numpy()]
        if rows := cache.missing(content):
            cache.add([content[row] for row in rows], self._logits(x[rows]).numpy())
        return torch.from_numpy(cache.get(content))

    def scores(self, x: Tensor) -> Any:
        """Return the raw model's output that the adapter reads, for inputs (N, …), N ≥ 1."""
        return _chosen(self.raw, self.run(x), self.adapter.outputs.tensor)

    def run(self, x: Tensor) -> dict[str, Any]:
        """Return the raw model's outputs by name for inputs (N, …), N ≥ 1.

        A raw model with a fixed batch runs on batches of that size: inputs are repeated to fill the last one.
        """
        size = self.raw.batch
        if size is None:
            return self.raw.forward_tensors(self.encode(x))
        padded = x[torch.arange(-(-len(x) // size) * size) % len(x)]
        batches = [self.raw.forward_tensors(self.encode(rows)) for rows in padded.split(size)]
        return {name: concatenate([batch[name] for batch in batches])[: len(x)] for name in batches[0]}

    def encode(self, x: Tensor) -> Values:
        """Return the raw model's inputs by name, of its types, for inputs (N, …)."""
        types = {spec.name: spec.dtype for spec in self.raw.inputs}
        values = named_values(self.raw, self.adapter, x)
        return {name: cast(v, types[name]) if isinstance(v, Tensor) else v for name, v in values.items()}


def concatenate(parts: list[Any]) -> Any:
    """Return the outputs of several batches as one."""
    return torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)


def _chosen(raw: RawModel, outputs: dict[str, Any], name: str) -> Any:
    """Return the output of this name, or the only one."""
    if name not in outputs and (name or len(outputs) > 1):
        raise misfit(raw, f"the output {name!r}", f"one of {', '.join(outputs)}")
    return outputs[name or next(iter(outputs))]


def named_values(raw: RawModel, adapter: Adapter, x: Tensor) -> Values:
    """Return inputs `x` of the adapter's domain as the raw model's inputs by name."""
    values = adapter.inputs.encode(x, adapter.domain)  # pyright: ignore[reportArgumentType]  # of the right kind
    if set(values) == {""} and len(raw.inputs) == 1:
        values = {raw.inputs[0].name: values[""]}
    columns = {spec.name for spec in raw.inputs if spec.dtype == "string" and spec.shape[1:] == (1,)}
    return {name: value.reshape(-1, 1) if name in columns else value for name, value in values.items()}


def check_fit(raw: RawModel, adapter: Adapter) -> None:
    """Raise `BadInput` where an adapter names inputs or outputs, types or sizes that the raw model does not have."""
    values = named_values(raw, adapter, torch.from_numpy(adapter.domain.sample(1, 0)))
    specs = {spec.name: spec for spec in raw.inputs}
    if set(values) != set(specs):
        raise misfit(raw, f"the inputs {', '.join(sorted(values))}", ", ".join(map(str, raw.inputs)))
    for name, spec in specs.items():
        shape = tuple(getattr(values[name], "shape", (1,)))
        sizes = zip(shape[1:], spec.shape[1:], strict=False)
        if spec.shape and (len(shape) != len(spec.shape) or any(size not in (None, have) for have, size in sizes)):
            raise misfit(raw, f"{name} of shape {('N', *shape[1:])}", str(spec))
        numbers = isinstance(values[name], Tensor)
        right = numbers == (spec.dtype != "string") and adapter.inputs.dtype in ("", spec.dtype)
        if not right and spec.dtype != "any":
            raise misfit(raw, f"{name} as {adapter.inputs.dtype or ('numbers' if numbers else 'strings')}", str(spec))
    names = [spec.name for spec in raw.outputs]
    if adapter.outputs.tensor not in ("", *names) and "any" not in {spec.dtype for spec in raw.outputs}:
        raise misfit(raw, f"the output {adapter.outputs.tensor!r}", f"one of {', '.join(names)}")


def misfit(raw: RawModel, got: str, expected: str) -> BadInput:
    """Return the error for an adapter that does not fit a raw model."""
    return BadInput(f"an adapter of {raw.place} for {got}", expected, "feint inspect writes the adapter anew")
