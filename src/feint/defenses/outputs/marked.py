"""Wrong labels for a keyed share of inputs, by which copies of the answers are recognised."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from feint.defenses import keyed
from feint.defenses.keyed_numbers import check_key
from feint.defenses.outputs.output import Output
from feint.defenses.served_mark import PURPOSE, ServedMark
from feint.errors import BadRecipe
from feint.ledger import Account


@dataclass(frozen=True)
class Marked(Output):
    """Label of another class for a small share of inputs, by which copies of the answers are recognised (DAWN).

    Szyller, Atli, Marchal and Asokan, ACM MM 2021. `key` and the input's mark decide whether an answer is marked, and
    with which class: the same on every replica and after a restart, for every client. A client's marked inputs are
    stored with their wrong labels in its account, so that a copy tells whose answers it was made of
    (`feint.ownership.marked_answers`). The authors key the choice by activations of the model; here it is the input's
    mark (`feint.signature`), so that an attacker who moves one pixel by a level gets another draw.

    As in the paper, the label's probability and that of any other class are exchanged, and honest clients get the wrong
    label of a share `rate` of inputs. A copy learns few of these labels, which its training takes for noise: of
    Fashion-MNIST, by 10,000 labels, 6 of 46.

    With a `margin`, of unsure answers alone that share is marked, with the label of the second class. A boundary that
    moves by little repeats it, and a copy by 10,000 labels learned 107 of 136 such marks (margin 0.3, rate 0.2), where
    innocents give 47 % at most. The second class is nearly as often right, so that they cost 0.1 points of accuracy. A
    higher rate would move the boundary for all inputs, and a copy would repeat marks that it never asked about: at 0.2
    it gives 28 to 31 % of these labels and innocents 33 %, and at 0.4 35 and 34 %.

    Attributes:
        key: The owner's secret.
        rate: Share of inputs whose answers are marked, at most 0.005 in the paper.
        most: Marked inputs that are stored for each client, 1 or more.
        margin: Answers whose two largest probabilities differ by less are marked alone, with the second class as their
            label and nine tenths of the probability for it; None for answers of any margin.
    """

    cite: ClassVar[str] = "szyller2021dawn"
    randomised: ClassVar[bool] = True
    countermeasures: ClassVar[Mapping[str, str]] = {"near copies, 16": "NearCopies(16)"}
    key: str
    rate: float = 0.005
    most: int = 200
    margin: float | None = None

    def __post_init__(self) -> None:
        check_key(self.key)
        if not (0 <= self.rate <= 1 and self.most >= 1 and (self.margin is None or 0 < self.margin <= 1)):
            raise BadRecipe(repr(self), "0 ≤ rate ≤ 1, most ≥ 1 and 0 < margin ≤ 1", "change it")

    @property
    def preserves(self) -> str:
        return "" if self.rate else "order"

    def perturb(self, p: Tensor, x: Tensor | None) -> Tensor:
        digests = keyed.digests(self.key, x, purpose=PURPOSE)
        return torch.from_numpy(self._served.swapped(p.detach().cpu().numpy(), digests)).to(p.device)

    def record(self, p: Tensor, q: Tensor, x: Tensor, account: Account) -> None:
        """Store the inputs whose answers were marked, with their labels, in a client's account.

        Args:
            p: Answers (N, K) before.
            q: Answers (N, K) after.
            x: Their inputs (N, …).
            account: The client's account.
        """
        before, after, inputs = (values.detach().cpu().numpy() for values in (p, q, x))
        self._served.record(before, after, inputs, account)

    def beside(self) -> ServedMark:
        return self._served.locked()

    @property
    def _served(self) -> ServedMark:
        return ServedMark(self.key, self.rate, self.most, self.margin)
