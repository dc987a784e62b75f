"""Domains of defenses: that of the inputs at hand, and the refusal of one that a method does not take."""

from dataclasses import is_dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from feint.errors import BadInput
from feint.query import TYPES
from feint.signature import Domain, domain_like
from feint.victims import domain_of


def as_array(x: Tensor) -> np.ndarray:
    """Return inputs as an array, which a domain checks."""
    return x.detach().cpu().numpy()


def input_domain(x: Tensor, model: nn.Module) -> Domain:
    """Return the model's domain, or what the inputs `x` (N, …) tell of it where the model does not have one.

    Raises:
        BadInput: if `x` is no batch of any domain.
    """
    if x.ndim < 2 or x.dtype not in TYPES:
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in TYPES)
        raise BadInput(f"inputs of shape {tuple(x.shape)} and type {x.dtype}", f"a batch (N, …) of {known}", "convert")
    return domain_of(model) or domain_like(as_array(x))


def check_domain(method: Any, domain: Domain) -> None:
    """Check that a method takes inputs of this domain.

    Args:
        method: Method whose class has `domains` and directly extends the base of its room.
        domain: Domain of the inputs.

    Raises:
        BadInput: if it does not. The error names the methods of the room that do.
    """
    if issubclass(type(domain), method.domains):
        return
    (room,) = type(method).__bases__[:1]
    methods: list[Any] = [kind for kind in room.__subclasses__() if is_dataclass(kind)]
    taking = sorted(kind.__name__ for kind in methods if issubclass(type(domain), kind.domains))
    raise BadInput(
        f"{domain.noun} for {type(method).__name__}",
        " or ".join(kind.noun for kind in method.domains),
        f"use {' or '.join(taking) or 'an output defense'} instead",
    )
