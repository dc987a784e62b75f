"""Output perturbation: `(p, x) -> p`, rows on the simplex in and out."""

from feint.defenses.outputs.apgp import APGP
from feint.defenses.outputs.apgp_closed_form import APGPClosedForm
from feint.defenses.outputs.distances import KL, L1, L2, Cosine, ReverseKL
from feint.defenses.outputs.modelguard_w import ModelGuardW
from feint.defenses.outputs.output import Output

__all__ = ["APGP", "KL", "L1", "L2", "APGPClosedForm", "Cosine", "ModelGuardW", "Output", "ReverseKL"]
