"""Defenses by their place on the line: `access`, `inputs` and `outputs`, and `boundary`, which makes a new model.

`access` admits or refuses a query, `inputs` perturbs it, and `outputs` perturbs the answer.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
