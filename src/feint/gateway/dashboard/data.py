"""Data of the dashboard: the ledger's clients and this process's recent requests, as plain texts."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from feint import __version__
from feint.errors import StoreLost
from feint.gateway.app import Gateway
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.record import shown
from feint.gateway.telemetry.audit_log import AuditLog
from feint.gateway.telemetry.recent import TIMES, WHOLE, RecentClient, RecentRequests
from feint.i18n import Catalog

SHOWN = 50  # clients of each model
WIDE, HIGH = 120.0, 28.0  # pixels of a curve
PACES = 0, 5, 30
OUTCOMES = "answered", "refused", "failed"
STAGES = "access", "model", "outputs", "ledger", WHOLE
DASH = "–"


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
    """A client as a row of the table; `path` is its curve, `mark` the height of evidence 1 in pixels from the top."""

    name: str
    evidence: str
    rung: int
    asked: str
    left: str
    last: str
    path: str
    mark: float | None


@dataclass(frozen=True)
class ModelSection:
    """A model as a section of the page; `alarm` if newcomers are on probation, `lost` if its ledger cannot be read."""

    name: str
    shadow: bool
    alarm: bool
    lost: bool
    known: str
    clients: Sequence[ClientRow]
    groups: Sequence[Sequence[str]]
    timed: str
    stages: Sequence[Sequence[str]]
    outcomes: Sequence[Sequence[str]]
    reasons: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Dashboard:
    """Data of the dashboard, which is loaded again after `every` seconds, 0 for never."""

    subtitle: str
    warnings: Sequence[str]
    models: Sequence[ModelSection]
    every: int
    paces: Sequence[tuple[int, str]]


async def dashboard(
    gateway: Gateway, recent: RecentRequests, audit: AuditLog | None, say: Catalog, *, every: int
) -> Dashboard:
    """Return the data of the page as they are now."""
    warnings = [] if gateway.ready else [say("not ready")]
    differ = [name for name, endpoint in gateway.endpoints.items() if endpoint.replicas_differ]
    warnings += [say("replicas differ", model=name) for name in differ]
    if audit is not None and audit.lost:
        warnings.append(say("audit lost", lost=audit.lost))
    return Dashboard(
        say("subtitle", version=__version__, since=_clock(recent.since), now=_clock(time.time())),
        warnings,
        [await _model(name, endpoint, recent, say) for name, endpoint in gateway.endpoints.items()],
        every,
        [(pace, say("every", seconds=pace) if pace else say("off")) for pace in PACES],
    )


async def _model(name: str, endpoint: ModelEndpoint, recent: RecentRequests, say: Catalog) -> ModelSection:
    here, lost, store = recent.of(name), False, endpoint.session.store
    try:
        clients, groups = await store.clients(SHOWN), await store.clients(SHOWN, kind="group")
    except StoreLost:
        clients, groups, lost = _recent_only(here), [], True
    outcomes, reasons = recent.counted(name)
    quantiles = recent.quantiles(name)
    return ModelSection(
        name,
        endpoint.shadow,
        recent.alarms.get(name, False),
        lost,
        f"{max(len(here), len(clients)):,}",
        [_person(client, totals, here.get(client), _budget(endpoint)) for client, totals in clients],
        [(group, _evidence(totals)) for group, totals in groups],
        f"{min(TIMES, sum(outcomes.values())):,}",
        [
            (say(f"stage {stage}"), *(f"{1000 * s:.2f}" for s in quantiles[stage]))
            for stage in STAGES
            if stage in quantiles
        ],
        [(say(f"outcome {outcome}"), f"{outcomes.get(outcome, 0):,}") for outcome in OUTCOMES],
        [(reason, f"{count:,}") for reason, count in reasons.items()],
    )


def _recent_only(here: Mapping[str, RecentClient]) -> list[tuple[str, dict[str, float]]]:
    most = sorted(here.items(), key=lambda entry: -entry[1].evidence)[:SHOWN]
    return [
        (name, {"evidence": client.evidence, "rung": client.rung, "queries": client.asked}) for name, client in most
    ]


def _person(name: str, totals: Mapping[str, float], recent: RecentClient | None, budget: int | None) -> ClientRow:
    path, mark = curve(recent.times, recent.levels) if recent else ("", None)
    left = DASH if budget is None or "budget" not in totals else f"{max(0, budget - int(totals['budget'])):,}"
    return ClientRow(
        name, _evidence(totals), int(totals.get("rung", 0)), f"{int(totals.get('queries', 0)):,}",
        left, _clock(recent.last) if recent else DASH, path, mark,
    )  # fmt: skip


def _evidence(totals: Mapping[str, float]) -> str:
    return f"{shown(totals.get('evidence', 0.0)):.2f}"


def _budget(endpoint: ModelEndpoint) -> int | None:
    """Return the least budget that a client of this model has, if any."""
    rules = endpoint.pipeline.rules if isinstance(endpoint.pipeline, HasRules) else ()
    limits = [rule.query_limit for rule in rules if isinstance(rule, HasQueryLimit)]
    return min((limit for limit in limits if limit is not None), default=None)


def curve(times: Sequence[float], levels: Sequence[float]) -> tuple[str, float | None]:
    """Draw the curve of a client's evidence.

    The curve runs over the whole width in time. Its highest point, or evidence 1, is at the top.

    Args:
        times: Times at which the evidence was recorded, in seconds.
        levels: Evidence at these times.

    Returns:
        The path in SVG, and the height of evidence 1; "" and None for fewer than two points.
    """
    if len(times) < 2 or times[-1] <= times[0]:
        return "", None
    top = max(1.0, *levels)
    span = times[-1] - times[0]
    points = [
        ((when - times[0]) / span * WIDE, 1 + (HIGH - 2) * (1 - max(0.0, level) / top))
        for when, level in zip(times, levels, strict=True)
    ]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points), round(1 + (HIGH - 2) * (1 - 1 / top), 1)


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


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
