"""Attacks: they hold an oracle and inputs of their own, and return the surrogate that they trained."""

from feint.attacks.attack import Attack, Through
from feint.attacks.knockoff import KnockoffNets
from feint.attacks.lenses import Averaged, HardLabels, Lens, Pointwise
from feint.attacks.tactics import LowAndSlow, Sybil
from feint.attacks.tuned import Tuned

__all__ = [
    "Attack",
    "Averaged",
    "HardLabels",
    "KnockoffNets",
    "Lens",
    "LowAndSlow",
    "Pointwise",
    "Sybil",
    "Through",
    "Tuned",
]
