"""An opened gateway behind its doors: REST and gRPC on one loop."""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator

import grpc
import uvicorn
from starlette.routing import Route

from feint.errors import FeintError, one_line
from feint.gateway import operator, routes, rpc
from feint.gateway.operator import Operator
from feint.gateway.serving.connection import Connection
from feint.gateway.serving.opening import Ledgers, Opened, tls
from feint.gateway.serving.ports import bound, taken

STREAMS = 128  # calls of one connection at the same time: others wait at the client
WINDOW = 2**18  # bytes of a call that are taken in before it is known who asks; 280 MiB without a key then hold 4 MiB

log = logging.getLogger("feint.gateway")
Make = Callable[[Ledgers | None], Awaitable[Opened]]  # the ledgers that are open already, to be kept


class Quiet(uvicorn.Server):
    """uvicorn, whose signals are ours: it would stop at the first one before a load balancer knew."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Running:
    """An opened gateway behind its doors."""

    def __init__(self, it: Opened, *, told: Operator | None = None, any_port: bool = False) -> None:
        self.opened, self.gateway, self._operator = it, it.gateway, told
        self._at, self._any = it.settings.server, any_port
        self._stop, self._reloading, self._rest, self._rpc = asyncio.Event(), asyncio.Lock(), None, None
        self.rest_port = self.grpc_port = 0
        self.loop = asyncio.get_running_loop()

    @property
    def url(self) -> str:
        """Where clients find it."""
        host = f"[{self._at.host}]" if ":" in self._at.host else self._at.host
        return f"{'https' if self._at.tls_cert else 'http'}://{host}:{self.rest_port}"

    async def start(self) -> None:
        """Open the doors. Raises `BadInput` where a port is taken."""
        self._told(self.opened)
        self.opened.progress()
        if self._at.rest_port or self._any:
            await self._start_rest()
        if self._at.grpc_port or self._any:
            await self._start_rpc()

    def _told(self, it: Opened) -> None:
        """Have the operator told of every decision from now on."""
        for desk in it.gateway.desks.values() if self._operator is not None else ():
            desk.record = self._operator  # pyright: ignore[reportAttributeAccessIssue]

    def _routes(self) -> list[Route]:
        """The operator's pages."""
        if self._operator is None:
            return []
        return operator.routes(self.gateway, self._operator, ui=self.opened.settings.operator.ui)

    async def _start_rest(self) -> None:
        door = bound(self._at.host, 0 if self._any else self._at.rest_port)
        self.rest_port = door.getsockname()[1]
        config = uvicorn.Config(
            routes.app(self.gateway, routes=self._routes()), ws="none", lifespan="off",
            log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=int(self._at.stop) or 1,
        )  # fmt: skip
        context = tls(self._at)
        config.load()
        config.ssl = context
        config.http_protocol_class = functools.partial(Connection, arrive=self._at.arrive)  # pyright: ignore[reportAttributeAccessIssue]
        self._rest = Quiet(config)
        self._serving = asyncio.ensure_future(self._rest.serve([door]))
        while not self._rest.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def _start_rpc(self) -> None:
        limit = self._at.max_body
        options = [
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", STREAMS),
            ("grpc.http2.bdp_probe", 0),  # or gRPC widens the window to megabytes for who has no key too
            ("grpc.http2.lookahead_bytes", WINDOW),
        ]
        self._rpc = grpc.aio.server(options=options)
        rpc.add(self.gateway, self._rpc)
        where = f"{self._at.host}:{0 if self._any else self._at.grpc_port}"
        try:
            if self._at.tls_cert is None or self._at.tls_key is None:
                self.grpc_port = self._rpc.add_insecure_port(where)
            else:
                pair = self._at.tls_key.read_bytes(), self._at.tls_cert.read_bytes()
                self.grpc_port = self._rpc.add_secure_port(where, grpc.ssl_server_credentials([pair]))
        except RuntimeError as error:
            raise taken(where) from error
        await self._rpc.start()

    def stop(self) -> None:
        """Stop as soon as the requests in flight are done; told again, at once."""
        if self._stop.is_set() and self._rest is not None:
            self._rest.force_exit = True
            if self._rpc is not None:
                self._last = asyncio.ensure_future(self._rpc.stop(0))
        self.opened.unwatch()
        self.gateway.ready = False
        self._stop.set()

    async def stopped(self) -> None:
        """Wait until it is told to stop, and then until it has."""
        await self._stop.wait()
        await asyncio.sleep(self._at.drain)
        endings = []
        if self._rest is not None:
            self._rest.should_exit = True
            endings.append(self._serving)
        if self._rpc is not None:
            endings.append(self._rpc.stop(self._at.stop))
        await asyncio.gather(*endings)
        await self.opened.close()

    async def reload(self, make: Make) -> None:
        """Serve what `make` opens now; where that fails all stays as it is. Requests in flight end where they began.
        Ports, TLS and times stay as they are."""
        async with self._reloading:
            try:
                fresh = await make(self.opened.ledgers)
            except FeintError as error:
                log.error("the settings are not taken: %s", one_line(error))
                return
            old = self._swapped(fresh)
        try:
            await asyncio.sleep(self._at.answer)  # as long as a request may last
        finally:
            await old.close(ledgers=old.ledgers is not fresh.ledgers)

    def _swapped(self, fresh: Opened) -> Opened:
        """What was served until now."""
        if fresh.settings.server != self._at:
            log.warning("host, ports, TLS and times of [server] stay as they are until a restart")
        old, self.opened = self.opened, fresh
        self._told(fresh)
        old.unwatch()
        it, new = self.gateway, fresh.gateway
        it.desks, it.door, it.limits, it.ready = new.desks, new.door, new.limits, new.ready
        fresh.gateway = it
        fresh.progress()
        log.warning("the settings are read anew: %s", ", ".join(it.desks))
        return old
