"""Output perturbation: `(p, x) -> p`, rows on the simplex."""

from feint.defenses.outputs.adaptive_misinformation import AdaptiveMisinformation
from feint.defenses.outputs.apgp import APGP
from feint.defenses.outputs.apgp_closed_form import APGPClosedForm
from feint.defenses.outputs.corners import AllParameters, LastLayer
from feint.defenses.outputs.distances import KL, L1, L2, Cosine, ReverseKL
from feint.defenses.outputs.edm import EDM
from feint.defenses.outputs.gated import Gated
from feint.defenses.outputs.gaussian_noise import GaussianNoise
from feint.defenses.outputs.grad2 import GRAD2, AllOnes, MinInnerProduct, Watermark
from feint.defenses.outputs.high_confidence import HighConfidence
from feint.defenses.outputs.information_laundering import InformationLaundering
from feint.defenses.outputs.label_flip import LabelFlip
from feint.defenses.outputs.label_only import LabelOnly
from feint.defenses.outputs.mad import MAD
from feint.defenses.outputs.mad_argmax import MADArgmax
from feint.defenses.outputs.marked import Marked
from feint.defenses.outputs.misinformation import Misinformation
from feint.defenses.outputs.modelguard_s import ModelGuardS
from feint.defenses.outputs.modelguard_w import ModelGuardW
from feint.defenses.outputs.output import Output
from feint.defenses.outputs.reverse_sigmoid import ReverseSigmoid
from feint.defenses.outputs.rounding import Rounding
from feint.defenses.outputs.temperature import Temperature
from feint.defenses.outputs.top_k import TopK
from feint.defenses.outputs.uniform_noise import UniformNoise

__all__ = [
    "APGP",
    "EDM",
    "GRAD2",
    "KL",
    "L1",
    "L2",
    "MAD",
    "APGPClosedForm",
    "AdaptiveMisinformation",
    "AllOnes",
    "AllParameters",
    "Cosine",
    "Gated",
    "GaussianNoise",
    "HighConfidence",
    "InformationLaundering",
    "LabelFlip",
    "LabelOnly",
    "LastLayer",
    "MADArgmax",
    "Marked",
    "MinInnerProduct",
    "Misinformation",
    "ModelGuardS",
    "ModelGuardW",
    "Output",
    "ReverseKL",
    "ReverseSigmoid",
    "Rounding",
    "Temperature",
    "TopK",
    "UniformNoise",
    "Watermark",
]
