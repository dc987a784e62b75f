"""Access rules: may you ask, and at what price? `(query, account) -> None`, or raises `Refused`.

Detectors write evidence against a client and refuse nobody: what follows from evidence is a ladder's to say.
"""

from feint.defenses.access.budget import Budget
from feint.defenses.access.sequential_test import SequentialTest

__all__ = ["Budget", "SequentialTest"]
