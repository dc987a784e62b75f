"""Input perturbation: `(x, model) -> x`, from a domain to itself."""

from feint.defenses.inputs.apmsa import APMSA
from feint.defenses.inputs.bit_depth import BitDepth
from feint.defenses.inputs.blur import Blur
from feint.defenses.inputs.coarsening import Coarsening
from feint.defenses.inputs.discretization import Discretization
from feint.defenses.inputs.input import Input
from feint.defenses.inputs.input_laundering import InputLaundering
from feint.defenses.inputs.jpeg import JPEG
from feint.defenses.inputs.random_resize import RandomResize
from feint.defenses.inputs.text_normalization import TextNormalization
from feint.models.perturbation import CW, FGSM, PGD, DeepFool, GradientStep, Ray

__all__ = [
    "APMSA",
    "CW",
    "FGSM",
    "JPEG",
    "PGD",
    "BitDepth",
    "Blur",
    "Coarsening",
    "DeepFool",
    "Discretization",
    "GradientStep",
    "Input",
    "InputLaundering",
    "RandomResize",
    "Ray",
    "TextNormalization",
]
