"""Random numbers keyed by an input and the owner's secret: the same query draws the same numbers on every replica.

Repeats reveal nothing: the mean of a hundred answers to one input is one answer. Inputs are compared by their marks
(`feint.signature`): images in 256 levels. A model behind a keyed defense sees its inputs on the grid of the marks
(`Domain.quantize`), so that inputs that draw alike are answered alike; otherwise differences of such inputs cancel the
draw, and one request of 129 rows gives gradients. Inputs with other marks draw anew, however near they are: an attacker
who averages over copies of which a pixel or two differ by one level still gains, by the lens
`feint.attacks.NearCopies`.
"""

import numpy as np
import torch
from torch import Tensor

from feint.defenses import keyed_numbers
from feint.errors import BadInput, NotExportable
from feint.query import quantize
from feint.signature import mark, near


def digests(key: str, x: Tensor | None, *, purpose: str = "", perceptual: bool = False) -> np.ndarray:
    """Return the HMAC-SHA256 of the mark of each input.

    Args:
        key: The owner's secret.
        x: Inputs, (N, …) of any domain.
        purpose: What is drawn, as in `keyed_numbers.digests`.
        perceptual: Whether an input's perceptual code (`feint.signature.near`) stands for its mark.

    Returns:
        Digests, (N, 4) uint64.

    Raises:
        NotExportable: while a graph is traced.
        BadInput: if `x` is None.
    """
    if torch.compiler.is_exporting():
        raise NotExportable("numbers drawn by HMAC-SHA256", "arithmetic", "serve it with torch")
    if x is None:
        raise BadInput(
            "answers without their inputs", "the inputs x (N, …), which decide the draw", "call it as (p, x)"
        )
    codes = _codes(x) if perceptual else mark(x.detach().cpu().numpy())
    return keyed_numbers.digests(key, codes, purpose=purpose)


def _codes(x: Tensor) -> list[bytes]:
    """Return the perceptual code of each input: of what its mark tells of it."""
    return [b"near" + code.tobytes() for code in near(quantize(x).detach().cpu().numpy())]


def uniforms(key: str, x: Tensor | None, n: int, *, purpose: str = "", perceptual: bool = False) -> Tensor:
    """Return `n` numbers in (0, 1) for each input, by SplitMix64 seeded with the input's digest.

    Args:
        key: The owner's secret.
        x: Inputs, (N, …) of any domain.
        n: Numbers for each input.
        purpose: As in `digests`.
        perceptual: As in `digests`.

    Returns:
        Numbers, (N, n) float64 on the CPU.
    """
    return torch.from_numpy(keyed_numbers.uniforms(digests(key, x, purpose=purpose, perceptual=perceptual), n))


def shared_uniforms(key: str, x: Tensor | None, n: int, *, purpose: str, share: float) -> Tensor:
    """Return uniform numbers of which near copies of an input have a part in common.

    With the normal distribution function Φ, u by the mark and v by the perceptual code::

        Φ(√(1 − share) Φ⁻¹(u) + √share Φ⁻¹(v))

    Args:
        key: The owner's secret.
        x: Inputs, (N, …) of any domain.
        n: Numbers for each input.
        purpose: As in `digests`.
        share: Share in common, 0 to 1, of the variance.

    Returns:
        Numbers in (0, 1), (N, n) float64 on the CPU.
    """
    if not share:
        return uniforms(key, x, n, purpose=purpose)
    parts = [
        weight**0.5 * torch.special.ndtri(uniforms(key, x, n, purpose=purpose, perceptual=perceptual))
        for weight, perceptual in ((1 - share, False), (share, True))
        if weight
    ]
    return torch.special.ndtr(torch.stack(parts).sum(0)).clamp(2.0**-53, 1 - 2.0**-53)
