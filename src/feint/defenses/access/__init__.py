"""Access rules and detectors: `(query, account) -> None`.

A rule raises `Refused` for a query that it does not admit.

Detectors write evidence against a client and refuse nobody; a ladder decides what follows from evidence.
"""

import lazy_loader

# Lazy: a gateway without torch uses budgets, rate limits and proofs of work; detectors import torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
