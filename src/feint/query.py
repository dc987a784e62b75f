"""Query and Answer: the only objects that cross the wall between a client and a service."""

import math
import time
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from feint.errors import BadInput
from feint.signature import DOMAINS, Domain, domain_like, near


def now() -> float:
    """Return the time in seconds since the epoch, by a clock of this process that no step of the machine's changes.

    Waits are differences of such times, so that a client does not sleep for as long as the machine's clock is set back.
    """
    return time.monotonic() + AHEAD


def torch_type(domain: Domain | type[Domain]) -> torch.dtype:
    """Return the type of a domain's inputs as tensors."""
    return torch.from_numpy(np.empty(0, domain.dtype)).dtype


AHEAD = time.time() - time.monotonic()  # seconds from the monotonic clock's zero to the epoch's
TYPES = {torch_type(kind): kind for kind in DOMAINS.values()}  # the kind of domain whose inputs have a type


def channels_last(x: Tensor) -> Tensor:
    """Return the same values; images (N, C, H, W) in the memory format in which convolutions are fastest."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def quantize(x: Tensor) -> Tensor:
    """Return inputs (N, …) on the grid of their domain's marks (`Domain.quantize`), themselves where they are on it.

    Gradients with respect to `x` pass as if nothing was rounded.
    """
    values = x.detach().cpu().numpy()
    quantized = TYPES[x.dtype].quantize(values)
    bits = f"u{values.itemsize}"
    if quantized is values or np.array_equal(quantized.view(bits), values.view(bits)):
        return x
    constant = torch.from_numpy(quantized).to(x.device)
    return constant + (x - x.detach()) if x.requires_grad else constant


def ask(model: nn.Module, x: Tensor) -> Tensor:
    """Return `model(x)` for inputs `x` (N, …), computed on the model's device and returned on that of `x`."""
    device = next((parameter.device for parameter in model.parameters()), x.device)
    if device == x.device:
        return model(channels_last(x))
    return model(channels_last(x).to(device)).to(x.device)


@dataclass(frozen=True, eq=False)
class Query:
    """Batch of inputs that a client sends. N inputs count as N queries.

    Attributes:
        x: Inputs (N, …) of one domain (`feint.signature`), detached from any graph of gradients: images are float32 in
            [0, 1], rows of a table float64, tokens int64, texts uint8.
        client: Name of the client's account.
        stamp: Proof of work, where the service demands one.
        time: Time of arrival, in seconds since the epoch, by default `now`. Rules use it instead of a clock.

    Raises:
        BadInput: The shape has no batch dimension, no domain has the type, a value is outside its domain, or the time
            is negative or not finite.
    """

    x: Tensor
    client: str = "anonymous"
    stamp: str = ""
    time: float = field(default_factory=now)

    def __post_init__(self) -> None:
        if self.x.ndim < 2 or self.x.dtype not in TYPES:
            raise BadInput(
                f"a query of shape {tuple(self.x.shape)} and type {self.x.dtype}",
                f"a batch (N, …) of {', '.join(str(dtype).removeprefix('torch.') for dtype in TYPES)}",
                "add the batch dimension, and scale images to float32 in [0, 1]",
            )
        if not 0 <= self.time < math.inf:  # no limit of a rule is above NaN, so that all would be within it
            raise BadInput(f"a query at the time {self.time}", "seconds since the epoch", "leave it out for now")
        object.__setattr__(self, "x", channels_last(self.x.detach()))
        if self.x.numel():
            domain_like(self.values).check(self.values)

    @property
    def values(self) -> np.ndarray:
        """Inputs (N, …) as an array: access rules read these, in this process and in the gateway."""
        return self._values

    @cached_property
    def _values(self) -> np.ndarray:
        """The same, made once: copying images takes time, and the domain, the rules and the detectors all read them."""
        return self.x.cpu().contiguous().numpy()

    @property
    def near(self) -> np.ndarray:
        """Perceptual codes (N,) uint64 of the inputs, by which near copies are recognised."""
        return self._near

    @cached_property
    def _near(self) -> np.ndarray:
        return near(self.values)

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Answer:
    """Answer to a query.

    Attributes:
        p: Probabilities (N, K), rows on the simplex.
    """

    p: Tensor

    def __len__(self) -> int:
        return len(self.p)
