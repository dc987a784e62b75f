"""Access rules: may you ask, and at what price? `(query, account) -> None`, or raises `Refused`.

Detectors write evidence against a client and refuse nobody: what follows from evidence is a ladder's to say.
"""

import lazy_loader

# Budgets, rates and proofs of work stand in a gateway that has no torch; detectors bring it along.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
