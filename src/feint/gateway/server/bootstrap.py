"""Start of a gateway from its settings: all models are loaded and tried before any client is admitted."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from feint.errors import BadInput, BadRecipe, FeintError, MissingData, NotWritten, StoreLost, one_line
from feint.gateway.app import Authenticator, Gateway
from feint.gateway.auth import keys
from feint.gateway.auth.keys import KeyFileAuth
from feint.gateway.backends.base import LoadedModel
from feint.gateway.backends.registry import LOADERS
from feint.gateway.changes import LedgerMark
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.redaction import address
from feint.gateway.secrets import NO_PASSPHRASE
from feint.gateway.server.marks import read_marks, write_marks
from feint.gateway.server.readiness import (
    TRIAL,
    accept,
    check_decision,
    check_writable,
    explained,
    keys_lost,
    settings_warnings,
)
from feint.gateway.server.replicas import ReplicaWatch, facts
from feint.gateway.settings import LOOPBACK, ServerSettings, Settings
from feint.gateway.stores import open_store
from feint.gateway.telemetry.audit_chain import read_key
from feint.openinference.model_spec import ModelSpec

ENFORCE = "shadow = false (or --enforce) enforces it"
EVERY = 2.0  # seconds between two checks of an upstream

log = logging.getLogger("feint.gateway")


@dataclass
class Ledgers:
    """A ledger for each model at one `url`: what a client did to one model is no evidence for another."""

    url: str
    _sessions: dict[str, LedgerSession] = field(default_factory=dict)

    def __getitem__(self, model: str) -> LedgerSession:
        """Return the ledger of a model, opened at its first use; raise `StoreLost` or `BadInput`."""
        if model not in self._sessions:
            self._sessions[model] = LedgerSession(open_store(self.url, model))
        return self._sessions[model]

    async def close(self) -> None:
        """Close all of them."""
        for session in self._sessions.values():
            await session.store.close()


@dataclass
class AppState:
    """A gateway with its models and ledgers.

    Attributes:
        settings: The settings that it was built from.
        gateway: The gateway.
        models: The loaded models by name.
        ledgers: Their ledgers.
        warnings: Problems that the operator should fix.
    """

    settings: Settings
    gateway: Gateway
    models: Mapping[str, LoadedModel]
    ledgers: Ledgers
    warnings: Sequence[str] = ()
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    def progress(self) -> None:
        """Prepare the models for clients; then keep asking whether ledger, keys and upstreams are ready.

        Models that become ready are served.
        """
        for loaded in self.models.values():
            loaded.opening()
        watches = [self._watch(name, loaded) for name, loaded in self.models.items() if loaded.upstream]
        self._watching = [asyncio.ensure_future(watch) for watch in (*watches, self._watch_ledger())]

    async def _watch_ledger(self) -> None:
        watches = [
            ReplicaWatch(self.gateway.endpoints[name], partial(facts, self.settings, self.gateway, name, loaded))
            for name, loaded in self.models.items()
        ]
        risk = ""
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self.check_ledger()
                risk = await self._check_settings(risk)
                for watch in watches:
                    await watch.look()
                lost = ""
                self.keep_marks()
            except StoreLost as error:
                lost = f"the ledger is lost: {error.args[0]}"
            except Exception as error:  # of a server that answers otherwise than its protocol: the watch goes on
                lost = f"the ledger is lost: {type(error).__name__}"
            if bool(lost) != self.gateway.ledger_lost:
                log.warning(lost or "the ledger is back")
            self.gateway.ledger_lost = bool(lost)
            if (nobody := keys_lost(self.gateway.authenticator)) != self.gateway.keys_lost:
                log.warning("the file of keys %s", "is lost: nobody is let in" if nobody else "is back")
            self.gateway.keys_lost = nobody

    async def _check_settings(self, before: str) -> str:
        """Log, where it was not so `before`, that the ledger's server may lose data by its settings; return how."""
        try:
            await settings_warnings(self.ledgers[TRIAL].store)
            risk = ""
        except BadInput as error:
            risk = one_line(error)
        if risk != before:
            log.error("the ledger is not safe: %s", risk) if risk else log.warning("the ledger is safe again")
        return risk

    @property
    def marks(self) -> dict[str, LedgerMark]:
        """Marks of the ledgers that were kept in the settings' file; none without one. Raises `DamagedFile`."""
        file = self.settings.ledger.mark
        return read_marks(file) if file is not None else {}

    def keep_marks(self) -> None:
        """Keep the ledgers' marks, if there is a file for them; a failure is logged."""
        file, sessions = self.settings.ledger.mark, {n: at.session for n, at in self.gateway.endpoints.items()}
        if file is None or any(session.mark is None for session in sessions.values()):
            return
        try:
            write_marks(file, {name: session.mark for name, session in sessions.items() if session.mark is not None})
        except NotWritten as error:
            log.warning("the ledger's mark: %s", one_line(error))

    async def accept_ledger(self, marks: Mapping[str, LedgerMark]) -> None:
        """Take the ledger of each model as it is now, or as its mark has it; raise `StoreLost`, as `check_ledger`."""
        with explained(self.ledgers.url):
            for name, endpoint in self.gateway.endpoints.items():
                endpoint.session.accept(marks.get(name))
                if name not in marks:
                    await accept(endpoint.session.store)
            await accept(self.ledgers[TRIAL].store)

    async def check_ledger(self) -> None:
        """Read the ledger of each model, and write into one; raise `StoreLost`, with address and cause."""
        with explained(self.ledgers.url):
            for endpoint in self.gateway.endpoints.values():
                await endpoint.session.check()
            await check_writable(self.ledgers[TRIAL].store)

    async def _watch(self, name: str, loaded: LoadedModel) -> None:
        assert loaded.upstream is not None
        assert loaded.connect is not None
        while True:
            await asyncio.sleep(EVERY)
            endpoint = self.gateway.endpoints[name]
            try:
                ready = await loaded.upstream.ready()
                if ready and not endpoint.ready:  # it is new, or it was started again, perhaps with another model
                    ready = await self._connect(name, loaded.connect)
            except Exception as error:  # of answers that nobody foresaw: the watch goes on
                log.warning("the upstream of %s: %s", name, type(error).__name__)
                ready = False
            if ready != endpoint.ready:
                log.warning("the upstream of %s %s", name, "is ready" if ready else "does not answer")
            endpoint.ready = ready

    async def _connect(self, name: str, connect: Callable[[], Awaitable[ModelSpec]]) -> bool:
        try:
            spec = await connect()
        except FeintError as error:
            log.warning("the upstream of %s: %s", name, error.args[0])
            return False
        endpoint = self.gateway.endpoints[name]
        known = endpoint.spec
        if known.domain is not None and (known.domain, known.classes) != (spec.domain, spec.classes):
            log.error("the upstream of %s is another model now: restart or reload", name)
            return False
        endpoint.spec = spec
        return True

    def unwatch(self) -> None:
        """Stop asking upstreams."""
        for task in self._watching:
            task.cancel()

    async def close(self, *, ledgers: bool = True) -> None:
        """Close models and upstreams, and the ledgers unless they are still used elsewhere."""
        self.unwatch()
        for loaded in self.models.values():
            loaded.close()
        if ledgers:
            self.keep_marks()
            await self.ledgers.close()


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
    tls(settings.server)
    read_key(settings.operator.audit_key_env, settings.operator.audit_key_file)
    models: dict[str, LoadedModel] = {}
    with contextlib.ExitStack() as failed:
        if authenticator is None:
            authenticator = authenticator_of(settings)
            failed.callback(close_authenticator, authenticator)
        for name, model in settings.models.items():
            models[name] = await _opened(name, LOADERS[type(model)](model, name))
            failed.callback(models[name].close)
        state = await tried(build_app(settings, models, authenticator, ledgers), ledgers)
        failed.pop_all()
    return state


async def tried(state: AppState, ledgers: Ledgers | None = None) -> AppState:
    """Return the gateway, after a try of every rule and of each model's ledger, which is taken as it is now.

    Ledgers other than `ledgers` are closed where anything fails.

    Raises:
        FeintError: `BadInput` where a rule fails; `StoreLost` where the ledger does, and nobody could be answered then.
    """
    try:
        for name, loaded in state.models.items():
            with _naming(name):
                await check_decision(loaded)
        await state.accept_ledger(state.marks if ledgers is None else {})  # a reload takes the ledger as it is
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
    settings: Settings, models: Mapping[str, LoadedModel], authenticator: Authenticator, ledgers: Ledgers | None = None
) -> AppState:
    """Build a gateway of opened models; arguments, result and errors are those of `opened`."""
    held = ledgers if ledgers and ledgers.url == settings.ledger.store else Ledgers(settings.ledger.store)
    endpoints = {name: _endpoint(settings, name, loaded, held) for name, loaded in models.items()}
    for name, loaded in models.items():
        endpoints[name].ready = loaded.spec is not None
    gateway = Gateway(
        endpoints, authenticator, settings.server.limits,
        ledger_needed=settings.ledger.readiness and settings.ledger.when_lost == "refuse",
        upstreams=frozenset(name for name, loaded in models.items() if loaded.upstream),
    )  # fmt: skip
    return AppState(settings, gateway, models, held, _warnings(settings, models))


async def _opened(name: str, loaded: Awaitable[LoadedModel]) -> LoadedModel:
    with _naming(name):
        return await loaded


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


def tls(server: ServerSettings) -> ssl.SSLContext | None:
    """Return the server's certificate, if it has one; raise `MissingData`."""
    if server.tls_cert is None or server.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key, password=NO_PASSPHRASE)
    except (OSError, ssl.SSLError) as error:
        raise MissingData(
            f"{server.tls_cert.name} and {server.tls_key.name} ({error.strerror or type(error).__name__})",
            "a certificate and its key, in PEM and without passphrase",
            "check both",
        ) from error
    return context


def _warnings(settings: Settings, models: Mapping[str, LoadedModel]) -> list[str]:
    warnings = [f"{name}: {warning}" for name, loaded in models.items() for warning in loaded.warnings]
    public = settings.server.host not in LOOPBACK
    if public and settings.server.tls_cert is None:
        warnings.append(f"{settings.server.host} without TLS: keys and inputs can be read on the way")
    if public and settings.keys.anonymous:
        warnings.append("anybody may ask, and all of them are one client of the ledger")
    if settings.ledger.store == "memory:":
        warnings.append("the ledger is in memory: budgets and evidence are forgotten when the gateway stops")
    return warnings


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
