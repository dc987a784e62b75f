"""Ownership: is that model a copy of mine? By labels alone, through an oracle that counts the questions."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
