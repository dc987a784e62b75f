"""Sockets on the gateway's ports."""

import socket

from feint.errors import BadInput
from feint.gateway.settings import ServerSettings


def address(host: str, port: int) -> str:
    """Return a host, which may be an address of IPv6, and its port as they are written together."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bind(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Return a socket that is bound there, perhaps `shared` with this user's other processes; raise `BadInput`."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise in_use(address(host, port), error.strerror or "in use") from error
    return listener


def in_use(where: str, reason: str = "in use") -> BadInput:
    """Return the error for a port that is in use."""
    return BadInput(f"{where} ({reason})", "a free port", "choose another, or stop what listens there")


def check_free(server: ServerSettings) -> None:
    """Check that the ports are free now; raise `BadInput`."""
    for port in filter(None, (server.rest_port, server.grpc_port)):
        bind(server.host, port).close()
