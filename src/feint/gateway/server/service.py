"""Serving of a service of this process, from Python."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from feint.errors import BadInput
from feint.gateway.server import run
from feint.gateway.server.app_state import AppState, Ledgers
from feint.gateway.server.bootstrap import authenticator_of, build_app, describe, tried
from feint.gateway.settings import LOOPBACK, KeySettings, LedgerSettings, ServerSettings, Settings, TorchSettings

if TYPE_CHECKING:
    from feint.service import Service
    from feint.signature import Domain


def serve(
    service: "Service",
    *,
    name: str,
    port: int = 8080,
    grpc_port: int = 0,
    host: str = "127.0.0.1",
    keys: Path | str | None = None,
    store: str = "memory:",
    domain: "Domain | Sequence[int] | None" = None,
) -> None:
    """Serve a service by the Open Inference Protocol v2 until Ctrl-C or SIGTERM.

    Whatever cannot be opened raises a `FeintError` before any client is admitted.

    Args:
        service: The model and its defense; the `shadow` of a `Ladder` decides whether it is enforced.
        name: The model's name.
        port: The port of REST, 0 for none.
        grpc_port: The port of gRPC, 0 for none.
        host: The address to listen on.
        keys: The file of API keys. Without one anybody on this machine may query.
        store: Where the ledger is kept.
        domain: The domain of the inputs, where the model does not have it; the shape of an image stands for `Pixels`.
    """
    settings = settings_of(name, ServerSettings(host, port, grpc_port), keys, store)

    def started(running: run.RunningServer) -> None:
        print("\n".join([*describe(running.opened), f"serving {running.url}"]), flush=True)  # noqa: T201

    async def make(ledgers: Ledgers | None) -> AppState:
        return await tried(load_service(service, settings, domain=domain, ledgers=ledgers), ledgers)

    run.run(make, started=started)


def settings_of(name: str, at: ServerSettings, keys: Path | str | None, store: str) -> Settings:
    """Return the settings of one model; raise `BadInput` where anyone could ask without a key."""
    if keys is None and at.host not in LOOPBACK:
        raise BadInput(f"{at.host} without keys", "a file of keys", "feint keys add, or serve on 127.0.0.1")
    who = KeySettings(anonymous=True) if keys is None else KeySettings(Path(keys))
    return Settings({name: TorchSettings(torch="a service")}, at, who, LedgerSettings(store))


def load_service(
    service: "Service",
    settings: Settings,
    *,
    domain: "Domain | Sequence[int] | None" = None,
    ledgers: Ledgers | None = None,
) -> AppState:
    """Open a gateway over `service`, the only model of the settings; raise `FeintError`."""
    from feint.defense import Ladder
    from feint.gateway.backends.torch_backend import of_service

    ((name, table),) = settings.models.items()
    if table.shadow is None:  # a service of Python says so itself
        shadow = isinstance(service.defense, Ladder) and service.defense.shadow
        settings = replace(settings, models={name: replace(table, shadow=shadow)})
    return build_app(settings, {name: of_service(service, name, domain=domain)}, authenticator_of(settings), ledgers)
