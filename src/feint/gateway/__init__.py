"""The line on the wire: Open Inference Protocol v2."""

import lazy_loader

# Names are imported when they are first used (their list is __init__.pyi): a client needs no server, and a server of
# exported graphs no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
