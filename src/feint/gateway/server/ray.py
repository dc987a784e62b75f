"""Gateway on Ray Serve, over REST: stateless replicas, which decide as one through their shared ledger."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from feint._optional import require
from feint.errors import BadRecipe, FeintError, one_line
from feint.gateway import routes
from feint.gateway.dashboard import page
from feint.gateway.redaction import address, redacted
from feint.gateway.server.bootstrap import load
from feint.gateway.settings_file import read
from feint.gateway.stores import store_class
from feint.gateway.telemetry import observers


def deployment(file: Path | str, *, replicas: int = 2) -> Any:
    """Return the application for `ray.serve.run`.

    Ray Serve listens, by its own settings; [server] holds the limits of a request.

    Args:
        file: The gateway's settings, which every node reads at this path.
        replicas: Number of replicas.

    Returns:
        The application. `MissingData` is raised if ray[serve] is not installed or there is no such file.

    Raises:
        BadRecipe: If several replicas share no ledger.
    """
    serve = require("ray.serve", "ray-serve")
    file = Path(file).absolute()
    store = read(file).ledger.store
    if replicas > 1 and not store_class(store).shared:
        raise BadRecipe(
            f"{replicas} replicas and the ledger {address(store)}",
            "one in Redis or Valkey",
            "set ledger.store, or replicas=1",
        )
    ingress = serve.ingress(Replica(file))(type("Gateway", (), {}))
    return serve.deployment(name="feint", num_replicas=replicas)(ingress).bind()


class Replica:
    """The gateway of a file of settings as an ASGI application: it is opened when its lifespan begins."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._app: ASGIApp | None = None
        self._under_way = set[asyncio.Future[None]]()  # a loop alone would let go of them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            gone = asyncio.Event()  # set as Ray Serve cancels what nobody waits for
            extensions = {**scope.get("extensions", {}), routes.HAS_GONE: gone.is_set}
            await self._outlasting(self._app({**scope, "extensions": extensions}, receive, send), gone)

    async def _outlasting(self, work: Awaitable[None], gone: asyncio.Event) -> None:
        """Wait for the handling of a request, which goes on where its client has gone.

        Args:
            work: The handling.
            gone: Set where whoever waits is cancelled.

        Raises:
            CancelledError: No one waits for it.
        """
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            gone.set()
            raise
        finally:
            del task  # raised, its error holds this frame, which would hold it

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            state = await load(read(self._file))
        except FeintError as error:
            await send({"type": "lifespan.startup.failed", "message": redacted(one_line(error))})
            return
        table = state.settings.operator
        telemetry = observers.start_telemetry(table)
        telemetry.attach(state.gateway)
        state.progress()
        self._app = routes.app(state.gateway, routes=page.routes(state.gateway, telemetry, ui=table.ui))
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await state.close()
        telemetry.close()
        await send({"type": "lifespan.shutdown.complete"})
