"""Query and Answer: all that crosses the wall between a client and a service."""

from dataclasses import dataclass

from torch import Tensor, float32

from feint.errors import BadInput


@dataclass(frozen=True, eq=False)
class Query:
    """What a client sends: `x` (N, …) float32 in [0, 1], N inputs, which count as N queries.

    Raises `BadInput` for an empty shape, a value outside [0, 1] or NaN.
    """

    x: Tensor
    client: str = "anonymous"

    def __post_init__(self) -> None:
        if self.x.ndim < 2 or self.x.dtype != float32:
            raise BadInput(
                f"a query of shape {tuple(self.x.shape)} and type {self.x.dtype}",
                "a batch (N, …) of float32 inputs",
                "add the batch dimension and scale the values to float32 in [0, 1]",
            )
        if not self.x.numel():
            return
        low, high = (value.item() for value in self.x.aminmax())
        if not (low >= 0.0 and high <= 1.0):  # written so that NaN is refused as well
            raise BadInput(
                f"inputs from {low:.3g} to {high:.3g}",
                "values in [0, 1]",
                "send plain pixels: normalisation is a part of the model",
            )

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a client gets: `p` (N, K), rows on the simplex."""

    p: Tensor

    def __len__(self) -> int:
        return len(self.p)
