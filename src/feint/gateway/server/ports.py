"""Sockets on the gateway's ports, and how many connections they may have."""

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
from collections.abc import Callable

from feint.errors import BadInput
from feint.gateway.settings import ServerSettings

BACKLOG = 2048  # connections that wait to be accepted
SHARE = 4  # of the files that a process may open, those for connections of one protocol: half stay for the ledger, …

log = logging.getLogger("feint.gateway")


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


async def listen(
    protocol: Callable[[], asyncio.Protocol], listener: socket.socket, context: ssl.SSLContext | None, *, arrive: float
) -> asyncio.Server:
    """Accept connections on a socket.

    Args:
        protocol: Makes the protocol of a connection.
        listener: The socket.
        context: Its TLS, if any.
        arrive: Seconds within which a handshake of TLS is done: by itself the loop waits for a minute.

    Returns:
        The server.
    """
    limit = arrive if context else None
    loop = asyncio.get_running_loop()
    return await loop.create_server(protocol, sock=listener, ssl=context, ssl_handshake_timeout=limit, backlog=BACKLOG)


def in_use(where: str, reason: str = "in use") -> BadInput:
    """Return the error for a port that is in use."""
    return BadInput(f"{where} ({reason})", "a free port", "choose another, or stop what listens there")


def check_free(server: ServerSettings) -> None:
    """Check that the ports are free now; raise `BadInput`."""
    for port in filter(None, (server.rest_port, server.grpc_port)):
        bind(server.host, port).close()


def most_connections(server: ServerSettings) -> int:
    """Return how many connections over HTTP, and how many over gRPC, may be open at once.

    This process may open as many files from now on as the system lets it. Were all of them connections, of clients
    without a key too, neither the ledger's log nor a renewed file of keys could be opened.
    """
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # some systems name a number that they do not allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        files = most
    if files == resource.RLIM_INFINITY:
        return server.max_connections
    allowed = max(1, files // SHARE)
    if allowed < server.max_connections:
        log.warning("at most %d connections over HTTP, and over gRPC: %d files may be open (ulimit -n)", allowed, files)
    return min(allowed, server.max_connections)
