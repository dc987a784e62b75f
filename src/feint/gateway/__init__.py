"""A defended model behind the Open Inference Protocol v2."""

import lazy_loader

# Names are imported when they are first used (their list is __init__.pyi): a server of exported graphs needs no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
