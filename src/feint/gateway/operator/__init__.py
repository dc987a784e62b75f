"""What an operator sees of a gateway: metrics, traces, logs, an audit log and a page, all told by decisions."""

import lazy_loader

# `feint keys` enters changes into the audit log, and needs no server for it.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
