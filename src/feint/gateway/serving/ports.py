"""The doors of a gateway: whether its ports are to be had."""

import socket

from feint.errors import BadInput
from feint.gateway.settings import Server


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there as soon as it is served. Raises `BadInput` where the port is taken."""
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise taken(f"{host}:{port}", error.strerror or "in use") from error
    return door


def taken(where: str, reason: str = "in use") -> BadInput:
    """The error for a port that is not to be had."""
    return BadInput(f"{where} ({reason})", "a free port", "choose another, or stop what listens there")


def free(server: Server) -> None:
    """Raise `BadInput` unless the ports are to be had now."""
    for port in filter(None, (server.rest_port, server.grpc_port)):
        bound(server.host, port).close()
