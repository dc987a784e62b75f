"""AMAO: one method from all four rooms (Jiang, Li, Xu, Zhang and Lu, IEEE TDSC 2024).

Adversarial training makes the victim (`boundary.AdversarialTraining`), a detector marks users, marked users get flipped
labels that depend on what an image looks like (`outputs.LabelFlip`), and who copied them is recognised by them
(`ownership`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from feint.defense import Defense, Detector, Ladder
from feint.defenses.outputs.label_flip import LabelFlip
from feint.errors import BadInput
from feint.ledger import Ledger


def amao(detector: Detector, flip: LabelFlip, *, shadow: bool = False) -> Ladder:
    """The ladder of AMAO: clean answers until the `detector` accuses, flipped labels from then on.

    The model behind it is the adversarially trained one: `AdversarialTraining().retrain(victim, data.train).model`.
    """
    return Ladder([detector], [Defense(), Defense(outputs=[flip])], shadow=shadow)


@dataclass(frozen=True)
class Ownership:
    """What a suspect says of flipped inputs: it `agreed` with the wrong label of so many of `pairs`.

    `p_value` is the probability of so much agreement for a model that never saw the flips. They are uniform over the
    other classes and secret, so each agrees with probability at most 1 / (K − 1).
    """

    agreed: int
    pairs: int
    p_value: float


def ownership(suspect: Callable[[Tensor], Tensor], ledger: Ledger, shape: tuple[int, ...]) -> Ownership:
    """Ask the `suspect` (inputs (N, *shape) to answers or logits (N, K)) about the flips that a ledger keeps.

    Raises `BadInput` where it keeps none.
    """
    pairs = ledger.shared.rows("flips/pairs").tensor
    if not len(pairs):
        raise BadInput("a ledger without flipped pairs", "those that LabelFlip keeps on a line", "there is no evidence")
    with torch.no_grad():
        answers = torch.cat([suspect(x) for x in pairs[:, :-1].reshape(-1, *shape).split(500)])
    agreed, n = int((answers.argmax(-1) == pairs[:, -1]).sum()), len(pairs)
    return Ownership(agreed, n, _binomial_tail(agreed, n, 1 / (answers.shape[-1] - 1)))


def _binomial_tail(k: int, n: int, p: float) -> float:
    """P(X ≥ k) for X binomial."""
    if p >= 1 or k == 0:
        return 1.0
    i = torch.arange(k, n + 1, dtype=torch.float64)
    logs = torch.lgamma(torch.tensor(n + 1.0, dtype=torch.float64)) - torch.lgamma(i + 1) - torch.lgamma(n - i + 1)
    return min(1.0, (logs + i * math.log(p) + (n - i) * math.log1p(-p)).logsumexp(0).exp().item())
