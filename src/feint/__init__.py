"""Feint measures how easily a classifier behind a prediction API can be stolen, and defends it."""

import lazy_loader

__version__ = "0.1.0"

# Names are imported when they are first used (their list is __init__.pyi): `feint --help` needs no torch,
# which alone takes two seconds to import.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
