"""Input perturbation: `(x, model) -> x`, values in [0, 1] in and out."""

from feint.defenses.inputs.apmsa import APMSA
from feint.defenses.inputs.input import Input
from feint.defenses.inputs.steps import CW, FGSM, PGD, DeepFool, Ray, Step

__all__ = ["APMSA", "CW", "FGSM", "PGD", "DeepFool", "Input", "Ray", "Step"]
