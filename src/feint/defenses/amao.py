"""AMAO, one method from all four rooms (Jiang, Li, Xu, Zhang and Lu, IEEE TDSC 2024).

Adversarial training makes the victim (`boundary.AdversarialTraining`), and a detector marks clients. Marked clients get
flipped labels that depend on what the input looks like (`outputs.LabelFlip`). A copy of these answers is recognised by
the flips (`ownership`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from feint.defense import Defense, Detector, Ladder
from feint.defenses.outputs.label_flip import LabelFlip
from feint.errors import BadInput
from feint.ledger import Ledger
from feint.signature import Domain, as_domain


def amao(detector: Detector, flip: LabelFlip, *, shadow: bool = False) -> Ladder:
    """Return the ladder of AMAO: clean answers until the detector accuses, flipped labels from then on.

    The model behind it is the adversarially trained one: `AdversarialTraining().retrain(victim, data.train).model`.

    Args:
        detector: Source of the evidence.
        flip: The harsh answer.
        shadow: Whether evidence is recorded only, and every answer stays clean.

    Returns:
        A ladder of two rungs.
    """
    return Ladder([detector], [Defense(), Defense(outputs=[flip])], shadow=shadow)


@dataclass(frozen=True)
class Ownership:
    """Result of an ownership test: how often a suspect repeats the flipped labels.

    Attributes:
        agreed: Number of flipped inputs for which the suspect gives the wrong label that the service gave.
        pairs: Number of flipped inputs that were tested.
        p_value: Probability of so much agreement for a model that never saw the flips. They are secret and uniform over
            the other classes, so that each agrees with probability at most 1 / (K − 1).
    """

    agreed: int
    pairs: int
    p_value: float


def ownership(suspect: Callable[[Tensor], Tensor], ledger: Ledger, domain: Domain | Sequence[int]) -> Ownership:
    """Test a suspect for the flipped labels that a ledger stores.

    Args:
        suspect: Model from inputs of the domain to answers or logits (N, K).
        ledger: The ledger of the service whose `LabelFlip` stored the pairs.
        domain: Domain of the inputs; the shape (C, H, W) of an image stands for `Pixels`.

    Returns:
        The agreement and its p-value.

    Raises:
        BadInput: if the ledger holds no flipped pairs.
    """
    pairs = ledger.shared.rows("flips/pairs").tensor
    if not len(pairs):
        raise BadInput("a ledger without flipped pairs", "those that LabelFlip keeps on a line", "there is no evidence")
    domain = as_domain(domain)
    x = torch.from_numpy(pairs[:, :-1].numpy().reshape(-1, *domain.shape).astype(domain.dtype))
    with torch.no_grad():
        answers = torch.cat([suspect(batch) for batch in x.split(500)])
    agreed, n = int((answers.argmax(-1) == pairs[:, -1]).sum()), len(pairs)
    return Ownership(agreed, n, _binomial_tail(agreed, n, 1 / (answers.shape[-1] - 1)))


def _binomial_tail(k: int, n: int, p: float) -> float:
    """Return P(X ≥ k) for X binomial."""
    if p >= 1 or k == 0:
        return 1.0
    i = torch.arange(k, n + 1, dtype=torch.float64)
    logs = torch.lgamma(torch.tensor(n + 1.0, dtype=torch.float64)) - torch.lgamma(i + 1) - torch.lgamma(n - i + 1)
    return min(1.0, (logs + i * math.log(p) + (n - i) * math.log1p(-p)).logsumexp(0).exp().item())
