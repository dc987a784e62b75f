"""Handle of a running server: REST and gRPC of one gateway on one event loop."""

import asyncio
import contextlib
import functools
import logging
import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from typing import Any

import uvicorn
from starlette.routing import Route

from feint import __version__
from feint.errors import FeintError, one_line
from feint.gateway import routes
from feint.gateway.dashboard import page
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.server.app_state import AppState, Ledgers
from feint.gateway.server.bootstrap import close_authenticator
from feint.gateway.server.certificates import Certificate
from feint.gateway.server.limits import BoundedConnection
from feint.gateway.server.ports import address, bind, listen, most_connections
from feint.gateway.server.rpc_server import RpcServer
from feint.gateway.settings import Settings
from feint.gateway.telemetry.observers import Telemetry

log = logging.getLogger("feint.gateway")
Factory = Callable[[Ledgers | None], Awaitable[AppState]]  # the ledgers that are open already, to be kept


TAKEN = {"server": ("max_body", "max_batch", "max_in_flight", "answer"), "operator": ()}  # at a reload


class QuietServer(uvicorn.Server):
    """uvicorn without its signal handlers: it would stop at the first one before a load balancer knew.

    Args:
        config: Its settings.
        arrive: Seconds within which a handshake of TLS is done.
    """

    def __init__(self, config: uvicorn.Config, *, arrive: float) -> None:
        super().__init__(config)
        self._arrive = arrive

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on sockets."""
        config = self.config
        connection = functools.partial(config.http_protocol_class, config, self.server_state, {})
        self.servers = [
            await listen(connection, listener, config.ssl, arrive=self._arrive) for listener in sockets or ()
        ]
        self.started = True


class RunningServer:
    """An opened gateway that listens.

    Args:
        state: The gateway; a reload replaces it.
        telemetry: Observers of requests, if any.
        any_port: Whether free ports are chosen in place of those of the settings.
        shared_ports: Whether other processes listen there too.
    """

    def __init__(
        self,
        state: AppState,
        *,
        telemetry: Telemetry | None = None,
        any_port: bool = False,
        shared_ports: bool = False,
    ) -> None:
        self.opened, self.gateway, self._telemetry = state, state.gateway, telemetry
        self._at, self._any, self._started = state.settings.server, any_port, state.settings
        self._shared = shared_ports
        self._certificate = state.certificate
        self._stop, self._reloading, self._rest, self._rpc = asyncio.Event(), asyncio.Lock(), None, None
        self._reload_waits = self._at_once = False
        self.rest_port = self.grpc_port = 0
        self.loop = asyncio.get_running_loop()

    @property
    def url(self) -> str:
        """The URL of the REST side."""
        return f"{'https' if self._at.tls_cert else 'http'}://{address(self._at.host, self.rest_port)}"

    @property
    def addresses(self) -> str:
        """Where it listens, for people."""
        return self.url + (f", gRPC on {address(self._at.host, self.grpc_port)}" if self.grpc_port else "")

    async def start(self) -> None:
        """Listen; raise `BadInput` where a port is taken."""
        self._observe(self.opened)
        self.opened.progress()
        most = most_connections(self._at)
        if self._at.rest_port or self._any:
            await self._start_rest(most)
        if self._at.grpc_port or self._any:
            await self._start_rpc(most)
        self._note("gateway started", version=__version__, models=[*self.gateway.endpoints])

    def _observe(self, state: AppState) -> None:
        """Record every request from now on."""
        if self._telemetry is not None:
            self._telemetry.attach(state.gateway)

    def _note(self, action: str, **values: Any) -> None:
        if self._telemetry is not None:
            self._telemetry.note(action, **values)

    def _routes(self) -> list[Route]:
        if self._telemetry is None:
            return []
        return page.routes(self.gateway, self._telemetry, ui=self.opened.settings.operator.ui)

    async def _start_rest(self, most: int) -> None:
        listener = bind(self._at.host, 0 if self._any else self._at.rest_port, shared=self._shared)
        self.rest_port = listener.getsockname()[1]
        context = self._tls(attrgetter("http"))
        config = uvicorn.Config(
            routes.app(self.gateway, routes=self._routes()), ws="none", lifespan="off",
            http=functools.partial(  # pyright: ignore[reportArgumentType]
                BoundedConnection, most=most, arrive=self._at.arrive, age=self._at.connection_age or math.inf
            ),
            timeout_keep_alive=self._at.keep_alive,  # pyright: ignore[reportArgumentType]
            ssl_context_factory=None if context is None else lambda config, default: context,
            log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=int(self._at.stop) or 1,
        )  # fmt: skip
        self._rest = QuietServer(config, arrive=self._at.arrive)
        self._serving = asyncio.ensure_future(self._rest.serve([listener]))
        while not self._rest.started and not self._serving.done():
            await asyncio.sleep(0.005)

    async def _start_rpc(self, most: int) -> None:
        context = self._tls(attrgetter("rpc"))
        self._rpc = RpcServer(self.gateway, self._at, context, most=most, shared=self._shared)
        self.grpc_port = await self._rpc.start(0 if self._any else self._at.grpc_port)

    def stop(self) -> None:
        """Stop as soon as the requests in flight are done; at the second call, at once."""
        self._at_once = self._stop.is_set()
        if self._at_once and self._rest is not None:
            self._rest.force_exit = True
            if self._rpc is not None:
                self._last = asyncio.ensure_future(self._rpc.stop(0))
        self.opened.unwatch()
        self.gateway.stopping = True
        self._stop.set()

    async def stopped(self) -> None:
        """Wait until `stop` is called, and then until all has stopped."""
        await self._stop.wait()
        await asyncio.sleep(self._at.drain)
        endings, until = [], self.loop.time() + self._at.stop
        if self._rest is not None:
            self._rest.should_exit = True
            endings.append(self._serving)
        if self._rpc is not None:
            endings.append(self._rpc.stop(self._at.stop))
        await asyncio.gather(*endings)
        await self._finished(self.gateway.endpoints.values(), until)
        self._note("gateway stopped")
        await self.opened.close()

    async def reload(self, make: Factory) -> None:
        """Serve what `make` opens now, and open the audit log's file again.

        A call while another one waits for its turn is left to that one, which reads the settings later. Where anything
        fails all stays as it is. Requests in flight end where they began; the ledgers, and what was
        recorded of clients, are kept. Certificates are read again; what else of [server] and [operator] was changed is
        named in the log, and waits for a restart.

        Args:
            make: Opens the settings; called with the ledgers that are open.
        """
        if self._telemetry is not None:
            self._telemetry.reopen()
        if self._reload_waits:
            return
        self._reload_waits = True
        async with self._reloading:
            self._reload_waits, fresh = False, None
            try:
                fresh = await make(self.opened.ledgers)
                self._enter_modes(fresh)
            except FeintError as error:
                log.error("the settings are not taken: %s", one_line(error))
                self._note("settings refused", reason=type(error).__name__)
                if fresh is not None:
                    await fresh.close(ledgers=fresh.ledgers is not self.opened.ledgers)
                return
            endpoints, authenticator = self.gateway.endpoints.values(), self.gateway.authenticator
            old = self._swapped(fresh)
            if authenticator is not self.gateway.authenticator:
                close_authenticator(authenticator)
        try:
            longest = self._at.arrive + self._at.answer  # that a request may last
            await self._finished(endpoints, self.loop.time() + longest)
        finally:
            await old.close(ledgers=old.ledgers is not fresh.ledgers)

    async def _finished(self, endpoints: Iterable[ModelEndpoint], until: float) -> None:
        """Wait for all requests under way, those included whose clients have gone, until a time of the loop at most."""
        while any(endpoint.active for endpoint in endpoints) and self.loop.time() < until and not self._at_once:
            await asyncio.sleep(0.05)

    def _enter_modes(self, fresh: AppState) -> None:
        """Enter every change of a model between shadow and enforce before it is made; raise `NotWritten`."""
        for name, endpoint in fresh.gateway.endpoints.items():
            before = self.gateway.endpoints.get(name, endpoint)
            if self._telemetry is not None and before.shadow != endpoint.shadow:
                self._telemetry.enter(f"mode {'shadow' if endpoint.shadow else 'enforce'}", model=name, by="settings")

    def _swapped(self, fresh: AppState) -> AppState:
        """Serve `fresh`, and return what was served until now."""
        if waiting := _not_taken(self._started, fresh.settings):
            log.warning("changed, but not taken until a restart: %s", ", ".join(waiting))
        if fresh.certificate is not None and self._certificate is not None:  # whether there is one waits for a restart
            self._certificate = fresh.certificate
        old, self.opened = self.opened, fresh
        old.unwatch()
        gateway = self.gateway
        gateway.replace(fresh.gateway)
        fresh.gateway = gateway
        self._observe(fresh)
        fresh.progress()
        for warning in fresh.warnings:
            log.warning("%s", warning)
        log.warning("the settings are read anew: %s", ", ".join(gateway.endpoints))
        self._note("settings taken", models=[*gateway.endpoints])
        return old

    def _tls(self, of: Callable[[Certificate], ssl.SSLContext]) -> ssl.SSLContext | None:
        """Return the TLS of a protocol, if any: whoever connects is shown the certificate of the last reload."""
        if self._certificate is None:
            return None

        def show(connection: ssl.SSLObject, name: str | None, first: ssl.SSLContext) -> None:
            assert self._certificate is not None
            connection.context = of(self._certificate)

        context = of(self._certificate)
        context.sni_callback = show
        return context


def _not_taken(started: Settings, fresh: Settings) -> list[str]:
    """Return the settings that a reload does not change, of those that differ from when the server started."""
    waiting = []
    for table, taken in TAKEN.items():
        old, new = getattr(started, table), getattr(fresh, table)
        names = [field.name for field in fields(old) if field.name not in taken]
        if table == "server" and (old.tls_cert is None) == (new.tls_cert is None):
            names = [name for name in names if not name.startswith("tls_")]
        waiting += [f"[{table}] {name}" for name in names if getattr(old, name) != getattr(new, name)]
    return waiting
