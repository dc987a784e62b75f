"""Torch modules as raw models."""

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from feint.errors import BadInput, one_line
from feint.recipes.store import fingerprint
from feint.victims.raw import Metadata, RawModel, TensorSpec


class TorchModel(nn.Module, RawModel):
    """Torch module. Gradients are kept.

    Inputs are passed by position. Tensors of a tuple have the names "0", "1", …, those of a dictionary their own.

    Args:
        module: The module.
        place: Where it comes from, for messages.
        inputs: Inputs, where they are known; by default one, of any type and shape.
        content: Digest of its file; by default that of its weights.
    """

    differentiable: ClassVar[bool] = True
    exportable: ClassVar[bool] = True

    def __init__(
        self, module: nn.Module, place: str = "", inputs: tuple[TensorSpec, ...] = (), content: str | None = None
    ) -> None:
        super().__init__()
        self.module, self.place = module, place or type(module).__name__
        self.inputs = inputs or (TensorSpec("x", "any", ()),)
        self.outputs = (TensorSpec("y", "any", ()),)
        self.metadata = Metadata()
        weights = content or fingerprint(module.state_dict())
        self.digest = hashlib.sha256(f"{type(module).__qualname__} {weights}".encode()).hexdigest()

    def forward_tensors(self, values: Mapping[str, Any]) -> dict[str, Any]:
        device = next((parameter.device for parameter in self.parameters()), None)
        placed = [value.to(device) if isinstance(value, Tensor) and device else value for value in values.values()]
        try:
            output = self.module(*placed)
        except BadInput:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            shapes = ", ".join(str(tuple(getattr(value, "shape", ()))) for value in placed)
            raise BadInput(
                f"inputs of shape {shapes} ({one_line(error, 160)})", f"inputs that {self.place} takes",
                "check size, channels and type",
            ) from error  # fmt: skip
        return _named(output)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = self.forward_tensors({name: torch.from_numpy(array) for name, array in arrays.items()})
        return {name: output.detach().cpu().numpy() for name, output in outputs.items()}


def _named(output: Any) -> dict[str, Any]:
    """Return tensors of an output by name."""
    if isinstance(output, Tensor):
        return {"y": output}
    if isinstance(output, (tuple, list)):
        return {str(i): value for i, value in enumerate(output) if isinstance(value, Tensor)}
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items() if isinstance(value, Tensor)}
    raise BadInput(f"an output of type {type(output).__name__}", "a tensor, or several", "return the scores")
