"""Server of gRPC on one port."""

import asyncio
import math
import ssl

from feint.gateway.app import Gateway
from feint.gateway.rpc import Calls
from feint.gateway.server.ports import bind, listen
from feint.gateway.server.rpc_connection import RpcConnection
from feint.gateway.settings import ServerSettings


class RpcServer:
    """gRPC of a gateway, on the loop of its requests over HTTP.

    Args:
        gateway: The gateway.
        at: Its address and limits.
        context: Its TLS, if any.
        most: Connections that may be open at once; a further one is closed.
        shared: Whether other processes listen on the same port.
    """

    def __init__(
        self,
        gateway: Gateway,
        at: ServerSettings,
        context: ssl.SSLContext | None = None,
        *,
        most: int = 4096,
        shared: bool = False,
    ) -> None:
        self._answer, self._at, self._context, self._most, self._shared = Calls(gateway), at, context, most, shared
        self._connections = set[RpcConnection]()

    async def start(self, port: int) -> int:
        """Listen on a port, 0 for a free one, and return its number; raise `BadInput` where it is taken."""
        listener = bind(self._at.host, port, shared=self._shared)
        self._server = await listen(self._connection, listener, self._context, arrive=self._at.arrive)
        return listener.getsockname()[1]

    def _connection(self) -> RpcConnection:
        return RpcConnection(
            self._answer, self._connections, most=self._most, arrive=self._at.arrive,
            age=self._at.connection_age or math.inf,
        )  # fmt: skip

    async def stop(self, grace: float) -> None:
        """Stop when the calls in flight are done, or after `grace` seconds."""
        self._server.close()
        for connection in [*self._connections]:
            connection.retire()
        await self._done(grace)
        for connection in [*self._connections]:
            connection.abort()
        await self._done(None)

    async def _done(self, seconds: float | None) -> None:
        """Wait until the calls under way are done, for some seconds at most."""
        calls = [call for connection in self._connections for call in connection.calls]
        if calls:
            await asyncio.wait(calls, timeout=seconds)
