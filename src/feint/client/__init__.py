"""A model behind a URL as an attack, an audit or a notebook asks it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
