"""Data of the dashboard, as plain texts: what the ledger and the settings hold, which every replica shows alike."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

import numpy as np

from feint import __version__
from feint.errors import StoreLost
from feint.gateway.app import Gateway
from feint.gateway.array_query import ArrayQuery
from feint.gateway.changes import SHARED
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.record import shown
from feint.gateway.stores.base import snapshot_of
from feint.i18n import Catalog
from feint.ledger import Account
from feint.pipeline import QueryLike

SHOWN = 50  # clients of each model
PACES = 0, 5, 30
DASH = "–"


class Alarming(Protocol):
    """Campaign, as `feint.defense.Pooled` has it."""

    def alarmed(self, query: QueryLike, account: Account) -> bool | None: ...


@runtime_checkable
class HasCampaign(Protocol):
    """Pipeline with evidence over many accounts, None for none."""

    @property
    def campaign(self) -> Alarming | None: ...


@runtime_checkable
class HasRules(Protocol):
    """Pipeline that lists its access rules, including those of its rungs."""

    @property
    def rules(self) -> Sequence[Any]: ...


@runtime_checkable
class HasQueryLimit(Protocol):
    """Access rule with a fixed number of queries for every client, None where there is none in all."""

    @property
    def query_limit(self) -> int | None: ...


@dataclass(frozen=True)
class ClientRow:
    """A client as a row of the table."""

    name: str
    evidence: str
    rung: int
    asked: str
    left: str


@dataclass(frozen=True)
class ModelSection:
    """A model as a section of the page; `alarm` if newcomers are on probation, `lost` if its ledger cannot be read."""

    name: str
    shadow: bool
    differs: str
    alarm: bool = False
    lost: bool = False
    clients: Sequence[ClientRow] = ()
    groups: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Dashboard:
    """Data of the dashboard, which is loaded again after `every` seconds, 0 for never."""

    subtitle: str
    models: Sequence[ModelSection]
    every: int
    paces: Sequence[tuple[int, str]]


async def dashboard(gateway: Gateway, say: Catalog, *, every: int) -> Dashboard:
    """Return the data of the page as they are now."""
    return Dashboard(
        say("subtitle", version=__version__, now=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"),
        [await _model(name, endpoint, say) for name, endpoint in gateway.endpoints.items()],
        every,
        [(pace, say("every", seconds=pace) if pace else say("off")) for pace in PACES],
    )


async def _model(name: str, endpoint: ModelEndpoint, say: Catalog) -> ModelSection:
    store, differ = endpoint.session.store, ", ".join(say(f"fact {what}") for what in endpoint.replicas_differ)
    differs = say("replicas differ", differ=differ) if differ else ""
    try:
        clients, groups = await store.clients(SHOWN), await store.clients(SHOWN, kind="group")
        alarm = await _alarm(endpoint)
    except StoreLost:
        return ModelSection(name, endpoint.shadow, differs, lost=True)
    budget = _budget(endpoint)
    return ModelSection(
        name,
        endpoint.shadow,
        differs,
        alarm,
        clients=[_row(client, totals, budget) for client, totals in clients],
        groups=[(group, _evidence(totals)) for group, totals in groups],
    )


async def _alarm(endpoint: ModelEndpoint) -> bool:
    """Return whether the ledger holds a campaign alarm: as a newcomer would meet it now."""
    campaign = endpoint.pipeline.campaign if isinstance(endpoint.pipeline, HasCampaign) else None
    if campaign is None:
        return False
    shared = Account("")
    shared.add_all((await snapshot_of(endpoint.session.store, SHARED)).totals)
    newcomer = ArrayQuery(np.empty((0, 1)), "", time=endpoint.session.now())
    return bool(campaign.alarmed(newcomer, Account("", shared)))


def _row(client: str, totals: Mapping[str, float], budget: int | None) -> ClientRow:
    left = DASH if budget is None or "budget" not in totals else f"{max(0, budget - int(totals['budget'])):,}"
    asked = f"{int(totals.get('queries', 0)):,}"
    return ClientRow(client, _evidence(totals), int(totals.get("rung", 0)), asked, left)


def _evidence(totals: Mapping[str, float]) -> str:
    return f"{shown(totals.get('evidence', 0.0)):.2f}"


def _budget(endpoint: ModelEndpoint) -> int | None:
    """Return the least budget that a client of this model has, if any."""
    rules = endpoint.pipeline.rules if isinstance(endpoint.pipeline, HasRules) else ()
    limits = [rule.query_limit for rule in rules if isinstance(rule, HasQueryLimit)]
    return min((limit for limit in limits if limit is not None), default=None)


def pace(seconds: str) -> int:
    """Return the seconds after which the page is loaded again: the least of `PACES` that is not below `seconds`."""
    if not seconds.isdecimal():
        return PACES[-1]
    return PACES[min(bisect_left(PACES, int(seconds[:6])), len(PACES) - 1)]


def language(wanted: str, accepted: Iterable[str]) -> Catalog:
    """Return the catalogue of the wanted language, or of the first of those accepted that exists, or English."""
    for name in (wanted, *(tag.split(";")[0].strip()[:2].lower() for tag in accepted)):
        if name in ("en", "zh"):
            return Catalog(name, room=__package__ or "")
    return Catalog("en", room=__package__ or "")
