"""From settings to a gateway: everything is opened and tried before anybody is let in."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from feint.errors import BadRecipe, FeintError, MissingData
from feint.gateway.door import keys
from feint.gateway.drafts import Drafts
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.gateway import Doorkeeper, Gateway
from feint.gateway.models.places import OPEN, Place
from feint.gateway.settings import LOOPBACK, Server, Settings
from feint.gateway.stores import open_store
from feint.openinference.model_spec import ModelSpec

EVERY = 2.0  # seconds between two looks at an upstream

log = logging.getLogger("feint.gateway")


@dataclass
class Ledgers:
    """A ledger for each model at one `url`: what a client did to one says nothing of another."""

    url: str
    _drafts: dict[str, Drafts] = field(default_factory=dict)

    def __getitem__(self, model: str) -> Drafts:
        """The ledger of a model, opened when it is first named. Raises `StoreLost` or `BadInput`."""
        if model not in self._drafts:
            self._drafts[model] = Drafts(open_store(self.url, model))
        return self._drafts[model]

    async def close(self) -> None:
        """Let go of all of them."""
        for drafts in self._drafts.values():
            await drafts.store.close()


@dataclass
class Opened:
    """A gateway and what it holds: `said` is what there is to say of each model, `warnings` what is to be minded."""

    settings: Settings
    gateway: Gateway
    places: Mapping[str, Place]
    ledgers: Ledgers
    warnings: Sequence[str] = ()
    away: set[str] = field(default_factory=set)
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    def progress(self) -> None:
        """Keep asking upstreams whether they are there, and let in those that come."""
        self._watching = [
            asyncio.ensure_future(self._watch(name, place)) for name, place in self.places.items() if place.upstream
        ]

    async def _watch(self, name: str, place: Place) -> None:
        assert place.upstream is not None
        assert place.come is not None
        while True:
            await asyncio.sleep(EVERY)
            there = await place.upstream.ready()
            if there and name in self.away:  # it is new, or it was started again, perhaps with another model
                there = await self._comes(name, place.come)
            (self.away.discard if there else self.away.add)(name)
            self.gateway.ready = not self.away

    async def _comes(self, name: str, come: Callable[[], Awaitable[ModelSpec]]) -> bool:
        try:
            about = await come()
        except FeintError as error:
            log.warning("the upstream of %s: %s", name, error.args[0])
            return False
        desk = self.gateway.desks[name]
        if desk.about.shape and (desk.about.shape, desk.about.classes) != (about.shape, about.classes):
            log.error("the upstream of %s is another model now: restart or reload", name)
            return False
        desk.about = about
        return True

    def unwatch(self) -> None:
        """Ask no more."""
        for task in self._watching:
            task.cancel()

    async def close(self, *, ledgers: bool = True) -> None:
        """Let go of models and upstreams; of the ledgers too, unless others still hold them."""
        self.unwatch()
        for place in self.places.values():
            place.close()
        if ledgers:
            await self.ledgers.close()


async def opened(settings: Settings, *, door: Doorkeeper | None = None, ledgers: Ledgers | None = None) -> Opened:
    """What the settings say, opened and tried. The `door` and the `ledgers` may be given. Raises `FeintError`."""
    tls(settings.server)
    door = door or door_of(settings)
    places: dict[str, Place] = {}
    with contextlib.ExitStack() as failed:
        for name, at in settings.models.items():
            places[name] = await _opened(name, OPEN[type(at)](at, name))
            failed.callback(places[name].close)
        it = assembled(settings, places, door, ledgers)
        failed.pop_all()
    return it


def assembled(
    settings: Settings, places: Mapping[str, Place], door: Doorkeeper, ledgers: Ledgers | None = None
) -> Opened:
    """A gateway of opened places. The `ledgers` are kept where they are those of the settings. Raises `FeintError`."""
    held = ledgers if ledgers and ledgers.url == settings.ledger.store else Ledgers(settings.ledger.store)
    desks = {name: _desk(settings, name, place, held) for name, place in places.items()}
    away = {name for name, place in places.items() if place.about is None}
    gateway = Gateway(desks, door, settings.server.limits, ready=not away)
    return Opened(settings, gateway, places, held, _warnings(settings, places), away)


async def _opened(name: str, place: Awaitable[Place]) -> Place:
    try:
        return await place
    except FeintError as error:
        got, expected, remedy = error.args
        raise type(error)(f"the model {name}: {got}", expected, remedy) from error


def _desk(settings: Settings, name: str, place: Place, ledgers: Ledgers) -> ModelEndpoint:
    lost = settings.ledger.when_lost == "strongest"
    if lost and place.safest is None:
        raise BadRecipe(
            f'when_lost = "strongest" and {name}, which has no output defense', "one", 'when_lost = "refuse"'
        )
    about = place.about or ModelSpec(name, "", (), "", 0)
    return ModelEndpoint(about, place.line, ledgers[name], shadow=settings.models[name].shadow, open_when_lost=lost)


def door_of(settings: Settings) -> Doorkeeper:
    """Who lets clients in. Raises `MissingData` or `BadRecipe`."""
    if settings.keys.file is None and not settings.keys.anonymous:
        raise BadRecipe(
            "settings without keys", '[keys] with file = "keys.db"', "feint keys add, or anonymous = true for anybody"
        )
    door = keys.open(settings.keys.file) if settings.keys.file else None
    return keys.Anonymous(door) if settings.keys.anonymous or door is None else door


def tls(server: Server) -> ssl.SSLContext | None:
    """What proves who the server is, if anything does. Raises `MissingData`."""
    if server.tls_cert is None or server.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise MissingData(
            f"{server.tls_cert} and {server.tls_key} ({error})", "a certificate and its key, in PEM", "check both"
        ) from error
    return context


def _warnings(settings: Settings, places: Mapping[str, Place]) -> list[str]:
    """What an owner should know before anybody else does."""
    found = [f"{name}: {said}" for name, place in places.items() for said in place.warnings]
    public = settings.server.host not in LOOPBACK
    if public and settings.server.tls_cert is None:
        found.append(f"{settings.server.host} without TLS: keys and inputs can be read on the way")
    if public and settings.keys.anonymous:
        found.append("anybody may ask, and all of them are one client of the ledger")
    if settings.ledger.store == "memory:":
        found.append("the ledger is in memory: budgets and evidence are forgotten when the gateway stops")
    return found


def spoken(it: Opened) -> list[str]:
    """What is served, line by line."""
    settings = it.settings
    who = [f"keys in {settings.keys.file}"] if settings.keys.file else []
    lines = []
    for name, place in it.places.items():
        shape = f"{place.about.shape} → {place.about.classes} classes" if place.about else "not there yet"
        shadow = ", in shadow mode" if settings.models[name].shadow else ""
        lines += [f"model {name}: {shape}{shadow}", *(f"  {said}" for said in place.said)]
    lost = "then nobody is answered" if settings.ledger.when_lost == "refuse" else "then the strongest defense answers"
    return [
        *lines,
        f"ledger {settings.ledger.store}; if it is lost, {lost}",
        f"who may ask: {', '.join(who + ['anybody'] * settings.keys.anonymous) or 'who has the key'}",
    ]
