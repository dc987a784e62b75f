"""Raw models: what a file, an estimator or a function takes and returns, before any adapter."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from feint.paid.meter import Meter
from feint.signature import Column

Values = Mapping[str, Any]  # arrays by name: tensors of numbers, NumPy arrays of strings, data frames

DTYPES = {name: getattr(torch, name) for name in ("float16", "float32", "float64", "uint8", "int8", "int32", "int64")}
DTYPES["bool"] = torch.bool


@dataclass(frozen=True)
class TensorSpec:
    """Name, type and shape of one input or output of a model.

    Attributes:
        name: Name.
        dtype: Type, like "float32" or "uint8"; "string", or "any" where the model takes several.
        shape: Shape with the batch dimension first. None is any size.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype} ({', '.join('?' if size is None else str(size) for size in self.shape)})"


@dataclass(frozen=True)
class Metadata:
    """What a model carries about itself.

    Attributes:
        classes: Its own names of the classes, in the order of its scores.
        columns: Columns of a table, with their categories where the model knows them.
        values: Kind of its scores, as in `ClassOutputs.values`, where it is certain.
        task: What it computes, where that is no classification: "regression", "detection", …
        inputs: Inputs of its adapter, where its files say them.
        open: What only data can tell, like "the categories of job"; None for nothing.
        note: Sentence for its owner.
        named: Whether its owner gave the names of the classes, so that no other order is plausible.
    """

    classes: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    values: str | None = None
    task: str | None = None
    inputs: Any = None
    open: str | None = None
    note: str | None = None
    named: bool = False


class RawModel(ABC):
    """Model with the tensors that it takes and returns itself.

    Attributes:
        place: Where it comes from, for messages.
        inputs: Its inputs.
        outputs: Its outputs.
        digest: Hexadecimal SHA-256 of its content.
        metadata: What it carries about itself.
        differentiable: Whether `forward_tensors` keeps gradients.
        exportable: Whether an ONNX graph can hold the model.
        repeatable: Whether equal inputs are known to get equal answers, so that these may be kept.
        meter: Price and count of its calls, where these cost something; None for a model in this process.
    """

    place: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    metadata: Metadata
    differentiable: ClassVar[bool] = False
    exportable: ClassVar[bool] = False
    repeatable: bool = False
    meter: Meter | None = None

    @property
    def remarks(self) -> Mapping[str, str]:
        """Remarks on the answers so far, by topic."""
        return {}

    @abstractmethod
    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run the model.

        Args:
            arrays: An array (N, …) for each input by name, of the type of the input; strings as object arrays.

        Returns:
            An array (N, …) for each output by name; dictionaries of scores as arrays (N, K) in the order of
            `metadata.classes`.

        Raises:
            BadInput: The model does not take these arrays.
        """

    def own_labels(self, arrays: Mapping[str, Any]) -> np.ndarray | None:
        """Return the label that the model gives each input by itself, apart from its scores.

        Args:
            arrays: Its inputs, as in `run`.

        Returns:
            Numbers (N,) of the classes in the order of `metadata.classes`; None where it has scores alone.
        """
        return None

    def forward_tensors(self, values: Values) -> dict[str, Any]:
        """Run the model on tensors. Outputs that are numbers are tensors, all others arrays."""
        return {name: _tensor(array) for name, array in self.run(arrays_of(values)).items()}

    @property
    def batch(self) -> int | None:
        """Fixed number of inputs in a batch, or None for any."""
        return next((spec.shape[0] for spec in self.inputs if spec.shape and spec.shape[0]), None)


@runtime_checkable
class Refittable(Protocol):
    """Raw model that carries how it was trained, so that another one of its kind can be.

    Attributes:
        suffix: Suffix of its files.
    """

    suffix: str

    def refit(self, arrays: Mapping[str, Any], labels: np.ndarray, path: Path, *, seed: int) -> None:
        """Train a new model in the same way on other inputs, and write its file.

        Args:
            arrays: Inputs (N, …) by name, as in `RawModel.run`.
            labels: Classes (N,): their numbers in the order of the scores.
            path: File to write.
            seed: Seed of all that the training draws.

        Raises:
            BadRecipe: The model cannot be trained in this way.
        """
        ...


def arrays_of(values: Values) -> dict[str, Any]:
    """Return a model's inputs by name, tensors as arrays."""
    return {name: v.detach().cpu().numpy() if isinstance(v, Tensor) else v for name, v in values.items()}


def _tensor(array: np.ndarray) -> Tensor | np.ndarray:
    return torch.from_numpy(np.array(array)) if array.dtype.kind in "fiub" else array
