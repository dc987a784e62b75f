"""Access rules and detectors: `(query, account) -> None`, or `Refused` is raised.

Detectors write evidence against a client and refuse nobody; a ladder decides what follows from evidence.
"""

import lazy_loader

# Budgets, rates and proofs of work stand in a gateway that has no torch; detectors bring it along.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
