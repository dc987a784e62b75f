"""Server of gRPC on one port."""

import asyncio
import logging

import grpc

from feint.gateway import rpc
from feint.gateway.app import Gateway
from feint.gateway.server.certificates import Certificate
from feint.gateway.server.ports import address, in_use
from feint.gateway.settings import ServerSettings

STREAMS = 128  # calls of one connection at the same time: others wait at the client
WINDOW = 2**18  # bytes of a call that are taken in before it is known who asks; 280 MiB without a key then hold 4 MiB
KEEPALIVE = 30_000  # milliseconds after which a silent client of gRPC is pinged, and again until it counts as gone
IDLE = 60_000  # milliseconds without a call after which a connection ends, as those of strangers: clients connect anew
MOST = 2**31 - 1  # bytes of a message in gRPC, whose options are of 32 bits
AGAIN = 0.2  # seconds until a port that cannot be opened anew is tried again

log = logging.getLogger("feint.gateway")


class RpcServer:
    """gRPC of a gateway, which is opened anew where the library's server ends by itself.

    That of grpcio 1.84 and 1.85 ends for good at a call whose name is not UTF-8, which anybody can send. Until it is
    open again the gateway is not ready.

    Args:
        gateway: The gateway.
        at: Its address and limits.
        certificate: Its certificate, if it has one; `renew` replaces it.
        most: Connections that may be open at once; a further one is closed.
        shared: Whether other processes listen on the same port.
    """

    def __init__(
        self,
        gateway: Gateway,
        at: ServerSettings,
        certificate: Certificate | None = None,
        *,
        most: int,
        shared: bool = False,
    ) -> None:
        self._gateway, self._at, self._certificate, self._shared = gateway, at, certificate, shared
        self._most, self._limit = most, min(gateway.body_limit, MOST)
        self._port, self._stopping = 0, False

    async def start(self, port: int) -> int:
        """Listen on a port, 0 for a free one, and return its number; raise `BadInput` where it is taken."""
        self._server = await self._open(port)
        self._keeping = asyncio.ensure_future(self._keep())
        return self._port

    async def _open(self, port: int) -> grpc.aio.Server:
        server, where = grpc.aio.server(options=self._options()), address(self._at.host, port)
        rpc.add(self._gateway, server)
        try:
            if (first := self._certificate) is None:
                self._port = server.add_insecure_port(where)
            else:
                credentials = grpc.dynamic_ssl_server_credentials(first.pair, lambda: (self._certificate or first).pair)
                self._port = server.add_secure_port(where, credentials)
        except RuntimeError as error:
            raise in_use(where) from error
        await server.start()
        return server

    def _options(self) -> list[tuple[str, int]]:
        arrive = _milliseconds(self._at.arrive)
        options = [
            ("grpc.so_reuseport", int(self._shared)),
            ("grpc.max_receive_message_length", self._limit),
            ("grpc.compression_enabled_algorithms_bitset", 1),  # none: 4 MiB on the wire became 8 GB
            ("grpc.max_send_message_length", -1),
            ("grpc.max_allowed_incoming_connections", self._most),
            ("grpc.server_handshake_timeout_ms", arrive),  # of TLS and of HTTP/2
            ("grpc.http2.settings_timeout", arrive),  # until a client has acknowledged the limits
            ("grpc.max_concurrent_streams", STREAMS),
            ("grpc.http2.bdp_probe", 0),  # or gRPC widens the window to megabytes for who has no key too
            ("grpc.http2.lookahead_bytes", WINDOW),
            ("grpc.keepalive_time_ms", KEEPALIVE),
            ("grpc.keepalive_timeout_ms", KEEPALIVE),
            ("grpc.max_connection_idle_ms", IDLE),
        ]
        if self._at.connection_age:
            options.append(("grpc.max_connection_age_ms", _milliseconds(self._at.connection_age)))
            grace = _milliseconds(self._at.arrive + self._at.answer)
            options.append(("grpc.max_connection_age_grace_ms", grace))
        return options

    async def _keep(self) -> None:
        """Open the server anew until it is stopped."""
        while not self._stopping:
            try:
                await self._server.wait_for_termination()
            except Exception as error:
                log.error("gRPC ended by itself (%s), and is opened anew", type(error).__name__)
            while not self._stopping and not await self._reopened():
                await asyncio.sleep(AGAIN)

    async def _reopened(self) -> bool:
        try:
            self._server, self._gateway.grpc_lost = await self._open(self._port), False
        except Exception as error:  # of a port
            log.error("gRPC cannot be opened anew (%s)", type(error).__name__)
            self._gateway.grpc_lost = True
        return not self._gateway.grpc_lost

    async def stop(self, grace: float) -> None:
        """Stop when the calls in flight are done, or after `grace` seconds."""
        self._stopping = True
        await self._server.stop(grace)

    def renew(self, certificate: Certificate) -> None:
        """Show clients another certificate from now on, where there was one."""
        if self._certificate is not None:
            self._certificate = certificate

    def check_limit(self) -> None:
        """Log that the models take larger messages than the server, where they do so since a reload."""
        if self._gateway.body_limit > self._limit:
            log.warning("gRPC takes messages of at most %d bytes until a restart", self._limit)


def _milliseconds(seconds: float) -> int:
    return max(1, round(1000 * seconds))
