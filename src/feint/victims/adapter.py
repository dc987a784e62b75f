"""Adapters: recipes that stand between a domain and the tensors of a raw model, and the model that they make."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from feint.errors import BadInput, BadRecipe
from feint.signature import Domain, Signature
from feint.victims.inputs import ColumnInputs, PixelInputs, TextInputs, TokenInputs
from feint.victims.outputs import ClassOutputs
from feint.victims.raw import RawModel

Inputs = PixelInputs | ColumnInputs | TokenInputs | TextInputs


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

    @property
    def signature(self) -> Signature:
        """Domain and names of classes."""
        return Signature(self.domain, self.classes)


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

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != torch.Size(self.domain.shape) or str(x.dtype) != f"torch.{self.domain.dtype}":
            self.domain.check(x.detach().cpu().numpy())  # raises
        if not len(x):
            return torch.zeros(0, self.classes, device=x.device)
        outputs = run_inputs(self.raw, self.adapter.inputs, self.domain, x)
        output = outputs[self.adapter.outputs.tensor or next(iter(outputs))]
        return self.adapter.outputs.decode(output, self.classes).to(x.device)


def run_inputs(raw: RawModel, inputs: Inputs, domain: Domain, x: Tensor) -> dict[str, Any]:
    """Return the outputs of a raw model by name, tensors of numbers or arrays, for inputs (N, …), N ≥ 1, of a domain.

    A model of a fixed batch size runs on batches of that size; inputs are repeated to fill the last one.
    """
    size = raw.batch or len(x)
    batches = [_run_batch(raw, inputs, domain, rows, size) for rows in x.split(size)]
    return batches[0] if len(batches) == 1 else {name: joined([batch[name] for batch in batches]) for name in batches[0]}


def _run_batch(raw: RawModel, inputs: Inputs, domain: Domain, x: Tensor, size: int) -> dict[str, Any]:
    padded = x if len(x) == size else x[torch.arange(size) % len(x)]
    values = inputs.encode(padded, domain)  # pyright: ignore[reportArgumentType]  # checked by the adapter
    if set(values) == {""}:
        values = {raw.inputs[0].name: values[""]}
    return {name: output[: len(x)] for name, output in raw.forward_tensors(values).items()}


def joined(parts: list[Any]) -> Any:
    """Return the outputs of several batches as one."""
    return torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)


def check_fit(raw: RawModel, adapter: Adapter) -> None:
    """Raise `BadInput` where an adapter names inputs or outputs, or types, that the raw model does not have."""
    probe = torch.from_numpy(adapter.domain.sample(1, 0))
    values = adapter.inputs.encode(probe, adapter.domain)  # pyright: ignore[reportArgumentType]  # checked
    specs = {spec.name: spec for spec in raw.inputs}
    if set(values) == {""} and len(specs) == 1:
        values = dict.fromkeys(specs, values[""])
    listed = ", ".join(map(str, raw.inputs))
    if set(values) != set(specs):
        raise BadInput(
            f"an adapter for the inputs {', '.join(sorted(values))} of {raw.place}", f"its inputs {listed}",
            "feint inspect writes the adapter",
        )  # fmt: skip
    for name, spec in specs.items():
        value = values[name]
        dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else "string"
        rank = value.ndim if isinstance(value, Tensor) else None
        sizes = zip(value.shape[1:], spec.shape[1:], strict=False) if rank else ()
        if (
            spec.dtype not in (dtype, "any")
            or (spec.shape and rank and rank != len(spec.shape))
            or any(size is not None and have != size for have, size in sizes)
        ):
            shape = f" {tuple(value.shape)}" if rank else ""
            raise BadInput(
                f"an adapter that makes {dtype}{shape} of {name!r}, an input of {raw.place}", str(spec),
                "feint inspect writes the adapter",
            )  # fmt: skip
    names = [spec.name for spec in raw.outputs]
    if adapter.outputs.tensor not in names and (adapter.outputs.tensor or len(names) > 1):
        raise BadInput(
            f"an adapter for the output {adapter.outputs.tensor!r} of {raw.place}", f"one of {', '.join(names)}",
            "name one as tensor of the outputs",
        )  # fmt: skip
