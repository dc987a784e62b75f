"""The rooms on the line: `access` (may you ask?), `inputs` and `outputs` (input and output perturbation), and beside it
`boundary` (a new model)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
