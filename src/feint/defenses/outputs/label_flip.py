"""Wrong labels for those who are marked, the same ones for inputs that look the same."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defense import OutputDefense
from feint.defenses import keyed
from feint.defenses.outputs.output import Output, check_simplex
from feint.errors import BadInput, BadRecipe
from feint.ledger import Ledger, Rows

SIZE, FREQUENCIES = 32, 8
BITS = FREQUENCIES * FREQUENCIES
SLACK = 1e-3  # of coefficients, which are sums of 1,024 pixels in [0, 1], in float32


@dataclass(frozen=True)
class LabelFlip(Output):
    """The label's probability changes places with that of another class (AMAO: Jiang et al., IEEE TDSC 2024).

    Which other class is decided by `key` and the input's perceptual hash: 64 bits, the signs of its lowest frequencies
    against their median. On a line, a hash within `near` bits of an earlier one counts as that one, so that an attacker
    who changes an image a little gets the same wrong label again; the hashes of all clients, the first `most`, are rows
    of the shared account. An honest client must never meet this defense: it belongs on a high rung of a ladder.

    The first `most` flipped inputs are kept with their wrong labels in the shared account: who copies the answers
    copies the flips, and `amao.ownership` tests a suspect for them. The paper's detector, thresholds and flip rule are
    unknown; these were chosen here.
    """

    cite: ClassVar[str] = "jiang2024comprehensive"
    randomised: ClassVar[bool] = True
    key: str
    near: int = 4
    most: int = 2000

    def __post_init__(self) -> None:
        keyed.check_key(self.key)
        if not (0 <= self.near < BITS // 2 and self.most >= 1):
            raise BadRecipe(repr(self), f"0 ≤ near < {BITS // 2} bits and most ≥ 1", "change it")

    @property
    def preserves(self) -> str:
        return ""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if x is None:
            raise BadInput(
                "answers without their inputs", "the inputs x (N, …), whose hashes decide", "call it as (p, x)"
            )
        return self._flipped(p, hashes(x))

    def bind(self, model: nn.Module, ledger: Ledger) -> OutputDefense:
        """This defense with the hashes and the flipped pairs of the `ledger`."""
        known, pairs = ledger.shared.rows("flips/hashes"), ledger.shared.rows("flips/pairs")

        @torch.no_grad()
        def perturb(p: Tensor, x: Tensor) -> Tensor:
            check_simplex(p)
            if not len(p):
                return p
            seen, new = zip(*(self._known(it, known) for it in hashes(x)), strict=True)
            q = self._flipped(p, torch.stack(seen))
            kept = torch.cat([x.flatten(1), q.argmax(-1, keepdim=True).float()], -1)[torch.tensor(new)]
            pairs.append(kept, most=self.most)  # one for each look: pairs that share their draw prove nothing more
            return q

        return perturb

    def _known(self, own: Tensor, known: Rows) -> tuple[Tensor, bool]:
        """The first hash so far that is near this one; else itself, which is new and known from now on."""
        near = ((known.tensor - own).abs().sum(-1) <= self.near).nonzero() if len(known) else own[:0]
        if len(near):
            return known.tensor[int(near[0])], False
        known.append(own[None], most=self.most)
        return own, True

    def _flipped(self, p: Tensor, bits: Tensor) -> Tensor:
        label = p.argmax(-1, keepdim=True)
        drawn = keyed.uniforms(self.key, bits, 1)
        other = (label + 1 + (drawn * (p.shape[-1] - 1)).long()) % p.shape[-1]
        return p.scatter(-1, other, p.gather(-1, label)).scatter(-1, label, p.gather(-1, other))


def hashes(x: Tensor) -> Tensor:
    """Perceptual hashes (N, 64) of 0 and 1 of the images `x` (N, C, H, W); of flat inputs, taken as one line of pixels.

    Grey, scaled to 32×32, the 8×8 lowest frequencies of its cosine transform, each above their median or not. Above is
    by more than `SLACK`: of a symmetric image half of the frequencies are 0 but for the last bits of a matrix product.
    """
    grey = x.mean(1, keepdim=True) if x.ndim == 4 else x.flatten(1)[:, None, None]
    small = nn.functional.interpolate(grey.float(), (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)[
        :, 0
    ]
    lowest = _cosines() @ small @ _cosines().T
    values = lowest.flatten(1)
    median = values[:, 1:].median(-1, keepdim=True).values  # without the mean brightness
    return (values > median + SLACK).float()


@lru_cache(maxsize=1)
def _cosines() -> Tensor:
    """The lowest rows of the cosine transform, (8, 32)."""
    frequency, place = torch.arange(FREQUENCIES)[:, None], torch.arange(SIZE)[None]
    return torch.cos(math.pi * frequency * (2 * place + 1) / (2 * SIZE))
