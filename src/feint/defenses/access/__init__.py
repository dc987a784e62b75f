"""Access rules: may you ask, and at what price? `(query, account) -> None`, or raises `Refused`.

Detectors write evidence against a client and refuse nobody: what follows from evidence is a ladder's to say.
"""

from feint.defenses.access.budget import Budget
from feint.defenses.access.global_budget import GlobalBudget
from feint.defenses.access.prada import PRADA
from feint.defenses.access.privacy_cost import PrivacyCost
from feint.defenses.access.proof_of_work import ProofOfWork
from feint.defenses.access.rate_limit import RateLimit
from feint.defenses.access.refuse import Refuse
from feint.defenses.access.seat import SEAT
from feint.defenses.access.sequential_test import SequentialTest
from feint.defenses.access.two_sample import TwoSample

__all__ = [
    "PRADA",
    "SEAT",
    "Budget",
    "GlobalBudget",
    "PrivacyCost",
    "ProofOfWork",
    "RateLimit",
    "Refuse",
    "SequentialTest",
    "TwoSample",
]
