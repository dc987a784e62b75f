"""The line on the wire: Open Inference Protocol v2."""

from feint.gateway.client import Connection, connect

__all__ = ["Connection", "connect"]
