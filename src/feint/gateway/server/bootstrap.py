"""Start of a gateway from its settings: all models are loaded and tried before any client is admitted."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from feint.errors import BadRecipe, FeintError, StoreLost, one_line
from feint.gateway.app import Authenticator, Gateway
from feint.gateway.auth import keys
from feint.gateway.auth.keys import KeyFileAuth
from feint.gateway.backends.base import LoadedModel
from feint.gateway.backends.paid import share
from feint.gateway.backends.registry import LOADERS
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.redaction import address
from feint.gateway.server.app_state import AppState, Ledgers
from feint.gateway.server.certificates import Certificate, read_certificate
from feint.gateway.server.readiness import TRIAL, check_decision, settings_warnings
from feint.gateway.settings import LOOPBACK, ModelSettings, Settings, UpstreamSettings
from feint.gateway.telemetry.observers import check_telemetry
from feint.openinference.model_spec import ModelSpec

SOON = 14  # days before its end in which a certificate is warned of
ENFORCE = "shadow = false (or --enforce) enforces it"

log = logging.getLogger("feint.gateway")


async def load(
    settings: Settings, *, authenticator: Authenticator | None = None, ledgers: Ledgers | None = None
) -> AppState:
    """Load and try the models of the settings.

    Anything that cannot be opened raises a `FeintError`, and nothing stays open.

    Args:
        settings: The models, and how they are served.
        authenticator: Authenticates clients; by default the settings' keys.
        ledgers: Ledgers that are open already, used where they are those of the settings.

    Returns:
        The gateway, not yet listening.
    """
    certificate = read_certificate(settings.server)
    if ledgers is None:  # a reload takes nothing of it, and goes on where the audit log's disk fails
        check_telemetry(settings.operator)
    with contextlib.ExitStack() as failed:
        if authenticator is None:
            authenticator = authenticator_of(settings)
            failed.callback(close_authenticator, authenticator)
        models = await _open_models(settings, failed)
        state = await tried(build_app(settings, models, authenticator, ledgers, certificate), ledgers)
        failed.pop_all()
    return state


async def tried(state: AppState, ledgers: Ledgers | None = None) -> AppState:
    """Return the gateway, after a try of every rule and of each model's ledger.

    A reload takes the ledger as it is now. A start does not: a supervisor that starts a gateway again, or one more of
    them, would give back budgets and evidence that the ledger is known to have lost.

    Ledgers other than `ledgers` are closed where anything fails.

    Raises:
        FeintError: `BadInput` where a rule fails; `StoreLost` where the ledger does, and nobody could be answered then.
    """
    try:
        for name, loaded in state.models.items():
            with _naming(name):
                await check_decision(loaded)
        if ledgers is None:
            state.expect_marks()
        else:  # whoever asks for a reload takes the ledger as it is; a start may be nobody's decision
            await state.accept_ledgers()
        await state.check_ledger()
        warnings = await settings_warnings(state.ledgers[TRIAL].store)
    except FeintError as error:
        if isinstance(error, StoreLost) and state.settings.ledger.when_lost == "strongest":
            return replace(state, warnings=[*state.warnings, one_line(error)])
        if state.ledgers is not ledgers:
            await state.ledgers.close()
        raise
    return replace(state, warnings=[*state.warnings, *warnings])


def close_authenticator(authenticator: Authenticator) -> None:
    """Close the file of an authenticator, if it has one."""
    if isinstance(authenticator, KeyFileAuth | keys.AnonymousAuth):
        authenticator.close()


def build_app(
    settings: Settings,
    models: Mapping[str, LoadedModel],
    authenticator: Authenticator,
    ledgers: Ledgers | None = None,
    certificate: Certificate | None = None,
) -> AppState:
    """Build a gateway of opened models; arguments, result and errors are those of `load`."""
    held = ledgers if ledgers and ledgers.url == settings.ledger.store else Ledgers(settings.ledger.store)
    endpoints = {name: _endpoint(settings, name, loaded, held) for name, loaded in models.items()}
    for name, loaded in models.items():
        endpoints[name].ready = loaded.spec is not None
    gateway = Gateway(
        endpoints, authenticator, settings.server.limits,
        ledger_needed=settings.ledger.readiness and settings.ledger.when_lost == "refuse",
        upstreams=frozenset(name for name, loaded in models.items() if loaded.upstream),
        certificate_expires=None if certificate is None else certificate.expires,
    )  # fmt: skip
    warnings = [*_warnings(settings, models), *_certificate_warnings(gateway.certificate_expires)]
    return AppState(settings, gateway, models, held, certificate, warnings)


async def _open_models(settings: Settings, failed: contextlib.ExitStack) -> dict[str, LoadedModel]:
    """Load and try the models, which `failed` closes. Servers that run some are asked at once: each may be slow."""
    models, elsewhere = dict[str, LoadedModel](), dict[str, asyncio.Task[LoadedModel]]()
    for name, model in settings.models.items():
        if isinstance(model, UpstreamSettings):
            elsewhere[name] = asyncio.ensure_future(_opened(name, model))
            failed.callback(_abandon, elsewhere[name])
    for name, model in settings.models.items():
        models[name] = loaded = await (elsewhere.get(name) or _opened(name, model))
        if name not in elsewhere:
            failed.callback(loaded.close)
        if loaded.meter is not None:
            await asyncio.to_thread(share, loaded.meter, settings.ledger.store, name)  # it asks a server
    return models


async def _opened(name: str, model: ModelSettings) -> LoadedModel:
    with _naming(name):
        return await LOADERS[type(model)](model, name)


def _abandon(opening: asyncio.Task[LoadedModel]) -> None:
    """Close a model that is loaded, or being loaded."""
    if not opening.cancel() and not opening.cancelled() and opening.exception() is None:
        opening.result().close()


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Put the model's name before the text of an error."""
    try:
        yield
    except FeintError as error:
        got, expected, remedy = error.args
        raise type(error)(f"the model {name}: {got}", expected, remedy) from error


def _endpoint(settings: Settings, name: str, loaded: LoadedModel, ledgers: Ledgers) -> ModelEndpoint:
    lost = settings.ledger.when_lost == "strongest"
    if lost and loaded.safest is None:
        raise BadRecipe(
            f'when_lost = "strongest" and {name}, which has no output defense', "one", 'when_lost = "refuse"'
        )
    spec = loaded.spec or ModelSpec(name, None, "", 0)
    shadow = settings.models[name].shadow
    return ModelEndpoint(
        spec,
        loaded.pipeline,
        ledgers[name],
        shadow=loaded.rungs > 1 if shadow is None else shadow,
        tenants=settings.models[name].tenants,
        open_when_lost=lost,
    )


def authenticator_of(settings: Settings) -> Authenticator:
    """Return what authenticates clients; raise `MissingData` or `BadRecipe`."""
    if settings.keys.file is None and not settings.keys.anonymous:
        raise BadRecipe(
            "settings without keys", '[keys] with file = "keys.db"', "feint keys add, or anonymous = true for anybody"
        )
    authenticator = keys.open(settings.keys.file) if settings.keys.file else None
    return keys.AnonymousAuth(authenticator) if settings.keys.anonymous or authenticator is None else authenticator


def _warnings(settings: Settings, models: Mapping[str, LoadedModel]) -> list[str]:
    warnings = [f"{name}: {warning}" for name, loaded in models.items() for warning in loaded.warnings]
    public = settings.server.host not in LOOPBACK
    if public and settings.server.tls_cert is None:
        warnings.append(f"{settings.server.host} without TLS: keys and inputs can be read on the way")
    if public and settings.keys.anonymous:
        warnings.append("anybody may ask, and all of them are one client of the ledger")
    if settings.ledger.store.startswith("memory:"):
        warnings.append("the ledger is in memory: budgets and evidence are forgotten when the gateway stops")
    elif settings.ledger.mark_file is None:
        warnings.append("the ledger has no mark: what it loses while no gateway runs is not noticed ([ledger] mark)")
    return warnings


def _certificate_warnings(expires: float | None) -> list[str]:
    """Return what is wrong with a certificate that expires at a time; None for no certificate."""
    days = math.inf if expires is None else (expires - time.time()) / 86_400
    if days > SOON:
        return []
    if days > 0:
        return [f"the certificate expires in {days:.0f} days: renew it, and send SIGHUP"]
    return ["the certificate has expired, or is for no server: clients refuse it; renew it, and send SIGHUP"]


def describe(state: AppState) -> list[str]:
    """Return what is served, as lines of text."""
    settings = state.settings
    who = [f"keys in {settings.keys.file.name}"] if settings.keys.file else []
    if settings.keys.anonymous:
        who.append("anybody")
    lines = []
    for name, loaded in state.models.items():
        shape = _signature(loaded.spec) if loaded.spec else "not there yet"
        shadow = state.gateway.endpoints[name].shadow
        lines += [
            f"model {name}: {shape}{', in shadow mode' if shadow else ''}",
            *(f"  {note}" for note in loaded.notes),
        ]
        if shadow:
            lines.append(f"  shadow: evidence is recorded, and everybody stays on the first rung; {ENFORCE}")
    lost = "then nobody is answered" if settings.ledger.when_lost == "refuse" else "then the strongest defense answers"
    return [
        *lines,
        f"ledger {address(settings.ledger.store)}; if it is lost, {lost}",
        f"who may ask: {', '.join(who) or 'who has the key'}",
    ]


def _signature(spec: ModelSpec) -> str:
    """Return what a model takes and gives, in words."""
    listed = [
        f"{tensor.name} {tensor.datatype} ({', '.join(map(str, ('N', *tensor.shape)))})" for tensor in spec.inputs
    ]
    more = f", … ({len(listed)} inputs)" if len(listed) > 4 else ""
    return f"{', '.join(listed[:4])}{more} → {spec.classes} classes"
