"""Wrong labels for marked clients, the same ones for inputs that look alike."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from feint.defense import OutputDefense
from feint.defenses import keyed
from feint.defenses.keyed_numbers import check_key, swap_label
from feint.defenses.outputs.looks import BITS, hashes
from feint.defenses.outputs.output import Output, check_simplex
from feint.errors import BadInput, BadRecipe
from feint.ledger import Ledger, Rows
from feint.signature import Columns


@dataclass(frozen=True)
class LabelFlip(Output):
    """Swap of the label's probability with that of another class (AMAO: Jiang et al., IEEE TDSC 2024).

    `key` and the input's perceptual hash decide the other class (`feint.defenses.outputs.looks`). The hash is 64 bits:
    of an image the signs of the lowest frequencies against their median, of other inputs a SimHash. On a line, a hash
    within `near` bits of an earlier one counts as that one, so that an attacker who changes an input a little gets the
    same wrong label again. The hashes of all clients, the first `most`, are rows of the shared account. An honest
    client must never meet this defense: it belongs on a high rung of a ladder.

    Of two classes a swapped label tells the other one, and whoever notices turns a copy round. At a `share` of
    (K − 1) / K, 0.5 of two classes, each class is as likely whatever the label was, and answers say nothing of it.

    The first `most` flipped inputs are stored with their wrong labels in the shared account. A copy of the answers
    copies the flips, and `feint.ownership.flips` makes a mark of them. The paper's detector, thresholds and flip rule
    are unknown; these were chosen here.

    Attributes:
        key: The owner's secret.
        near: Bits by which two hashes of one input may differ, 0 to 31.
        most: Hashes and flipped inputs that are stored, 1 or more.
        share: Share of inputs whose label is swapped, above 0; the others keep theirs, drawn by the key as well.
    """

    cite: ClassVar[str] = "jiang2024comprehensive"
    randomised: ClassVar[bool] = True
    key: str
    near: int = 4
    most: int = 2000
    share: float = 1.0

    def __post_init__(self) -> None:
        check_key(self.key)
        if not (0 <= self.near < BITS // 2 and self.most >= 1 and 0 < self.share <= 1):
            raise BadRecipe(repr(self), f"0 ≤ near < {BITS // 2} bits, most ≥ 1 and 0 < share ≤ 1", "change it")

    @property
    def preserves(self) -> str:
        return ""

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        if x is None:
            raise BadInput(
                "answers without their inputs", "the inputs x (N, …), whose hashes decide", "call it as (p, x)"
            )
        return self._flip(p, hashes(x))[0]

    def bind(self, model: nn.Module, ledger: Ledger) -> OutputDefense:
        """Return this defense with the hashes and the flipped pairs of the `ledger`."""
        known, pairs = ledger.shared.rows("flips/hashes"), ledger.shared.rows("flips/pairs")

        @torch.no_grad()
        def perturb(p: Tensor, x: Tensor) -> Tensor:
            check_simplex(p)
            if not len(p):
                return p
            matched, new = zip(*(self._match(code, known) for code in hashes(x)), strict=True)
            q, swapped = self._flip(p, torch.stack(matched))
            flipped = torch.cat([_numbers(x), q.argmax(-1, keepdim=True).float()], -1)[torch.tensor(new) & swapped]
            pairs.append(flipped, most=self.most)  # one for each hash: pairs that share their draw prove nothing more
            return q

        return perturb

    def _match(self, code: Tensor, known: Rows) -> tuple[Tensor, bool]:
        """Return the first stored hash near this one and False; else store the hash, and return it and True."""
        near = ((known.tensor - code).abs().sum(-1) <= self.near).nonzero() if len(known) else code[:0]
        if len(near):
            return known.tensor[int(near[0])], False
        known.append(code[None], most=self.most)
        return code, True

    def _flip(self, p: Tensor, bits: Tensor) -> tuple[Tensor, Tensor]:
        """Return answers (N, K) with the label's probability and that of a class drawn from `bits` swapped, and where.

        The mask (N,) is that of the swapped ones, on the CPU.
        """
        drawn = keyed.uniforms(self.key, bits, 2, purpose="LabelFlip")
        before, swapped = p.detach().cpu(), drawn[:, 1] < self.share
        after = torch.from_numpy(swap_label(before.numpy(), drawn[:, 0].numpy()))
        return torch.where(swapped[:, None], after, before).to(p.device), swapped


def _numbers(x: Tensor) -> Tensor:
    """Return inputs as rows (N, d) float32 that count as the same queries."""
    if x.dtype == torch.float64:  # of a table: the nearest float32 could round to other digits
        x = torch.from_numpy(Columns.canonical(x.cpu().numpy()))
    return x.flatten(1).cpu().float()
