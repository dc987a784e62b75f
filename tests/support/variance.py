"""Arithmetic whose last bits depend on the batch, and how nearly equal two values are that only such bits keep apart.

On some processors (AMX, AVX-512) the rows of a matrix product differ in their last bits with the size of the batch and
the place in it. `Linear`, the toy victim of the tests, and the gateways' toy differ so on purpose: a test that passes
with them passes on every machine. Decisions (labels, orders, refusals, counts) are compared exactly, values by
`assert_close`.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

ULPS = 4  # how far a logit is moved at most, in units of its last place
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # of float32 values; a training on answers amplifies what is in their last bits


def wobble(z: Tensor) -> Tensor:
    """The logits `z` (N, K), each moved by up to `ULPS` units in the last place: which way, N and its place decide."""
    n, classes = z.shape
    places = torch.arange(n)[:, None] * 5 + torch.arange(classes) * 3 + n * 7
    return z * (1 + (places.to(z.device) % (2 * ULPS + 1) - ULPS) * torch.finfo(z.dtype).eps)


def moved(z: np.ndarray) -> np.ndarray:
    """`wobble` for arrays."""
    return wobble(torch.from_numpy(z)).numpy()


class BatchVariant(nn.Module):
    """`model`, whose logits differ in their last bits with the size of the batch and the place in it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return wobble(self.model(x))


def assert_close(actual: Tensor | np.ndarray, expected: Tensor | np.ndarray, **tolerance: float) -> None:
    """Raise `AssertionError` unless the values differ by no more than `CLOSE`, or a wider tolerance with its reason."""
    actual, expected = (
        values.detach() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
        for values in (actual, expected)
    )
    torch.testing.assert_close(actual, expected, **{**CLOSE, **tolerance})


def assert_weights_close(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor], **tolerance: float) -> None:
    """Raise `AssertionError` unless two state dicts hold the same names and nearly the same values."""
    assert actual.keys() == expected.keys()
    for name in actual:
        assert_close(actual[name], expected[name], **tolerance)


def same_bits(actual: Iterable[Tensor], expected: Iterable[Tensor]) -> bool:
    """Whether two runs of the same computation, batch for batch on one machine, gave the same bits."""
    return all(torch.equal(a, b) for a, b in zip(actual, expected, strict=True))
