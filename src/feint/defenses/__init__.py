"""Defenses, by their step on the line.

`access` admits or refuses a query, `inputs` perturbs it, and `outputs` perturbs the answer. `boundary` makes a new
model offline.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
