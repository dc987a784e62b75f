"""Domains: what one input of a classifier is. Nothing here needs torch.

A domain is one file, its class in `DOMAINS` below, an example in tests/examples.py, and a row of
docs/reference/domains.md, which lists what training on it, reading it from files and adapting models to it take.
"""

import math
from collections.abc import Sequence

import numpy as np

from feint.errors import BadInput
from feint.signature.column import Column
from feint.signature.columns import Columns
from feint.signature.domain import Array, Domain, Tensor, marks
from feint.signature.pixels import Pixels
from feint.signature.text import Text
from feint.signature.tokens import Tokens

__all__ = [
    "DOMAINS", "Column", "Columns", "Domain", "Pixels", "Tensor", "Text", "Tokens",
    "as_domain", "domain_kind", "domain_like", "mark", "near", "pack", "unpack",
]  # fmt: skip

BYTES = np.array([1, 256, 65536], np.uint32)  # of a number of 24 bits, which float32 holds exactly
DOMAINS: dict[np.dtype, type[Domain]] = {kind.dtype: kind for kind in (Pixels, Columns, Tokens, Text)}


def domain_kind(dtype: np.dtype) -> type[Domain]:
    """Return the kind of domain whose inputs have this type.

    Raises:
        BadInput: No domain has it.
    """
    if dtype not in DOMAINS:
        known = ", ".join(f"{kind.dtype} ({kind.__name__})" for kind in DOMAINS.values())
        raise BadInput(f"inputs of type {dtype}", f"one of {known}", "convert them")
    return DOMAINS[dtype]


def domain_like(x: Array) -> Domain:
    """Return the domain of inputs (N, …), as far as their type, shape and values tell it."""
    return domain_kind(x.dtype).like(x)


def mark(x: Array) -> list[bytes]:
    """Return the marks (N,) of inputs (N, …) of any domain; see `Domain.mark`."""
    return marks(domain_kind(x.dtype), x)


def near(x: Array) -> Array:
    """Return the perceptual codes (N,) uint64 of inputs (N, …) of any domain; see `Domain.near`."""
    return domain_kind(x.dtype).near(x)


def pack(x: Array) -> Array:
    """Return stored inputs (N, …) of any type as float32 numbers (N, d), three bytes each, for rows of a ledger."""
    content = np.ascontiguousarray(x).reshape(len(x), -1).view(np.uint8)
    padded = np.pad(content, ((0, 0), (0, -content.shape[1] % 3))).reshape(len(x), -1, 3).astype(np.uint32)
    return (padded @ BYTES).astype(np.float32)


def unpack(numbers: Array, domain: Domain) -> Array:
    """Return the stored inputs (N, …) of a domain that `pack` made these numbers (N, d) of."""
    size = math.prod(domain.shape) * domain.stored.itemsize
    content = (numbers.astype(np.uint32)[:, :, None] // BYTES % 256).astype(np.uint8).reshape(len(numbers), -1)
    return np.ascontiguousarray(content[:, :size]).view(domain.stored).reshape(-1, *domain.shape)


def as_domain(domain: Domain | Sequence[int]) -> Domain:
    """Return the domain; the shape of an image stands for `Pixels`."""
    return domain if isinstance(domain, Domain) else Pixels(tuple(domain))
