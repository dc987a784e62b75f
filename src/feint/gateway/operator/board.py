"""What the operator's page shows: the ledger's clients and this process's recent past, as plain texts."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

from feint import __version__
from feint.defenses.access import Budget
from feint.errors import StoreLost
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.gateway import Gateway
from feint.gateway.operator.audit import AuditLog
from feint.gateway.operator.seen import TIMES, WHOLE, Client, Seen
from feint.i18n import Catalog

SHOWN = 50  # clients of each model
WIDE, HIGH = 120.0, 28.0  # pixels of a curve
PACES = 0, 5, 30
OUTCOMES = "answered", "refused", "failed"
STAGES = "access", "model", "outputs", "ledger", WHOLE
DASH = "–"


@runtime_checkable
class Ruled(Protocol):
    """A line that says its access rules, those of its rungs among them."""

    @property
    def rules(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Person:
    """A client as a row of the table; `path` is its curve, `mark` where evidence is 1, in pixels from the top."""

    name: str
    evidence: str
    rung: int
    asked: str
    left: str
    last: str
    path: str
    mark: float | None


@dataclass(frozen=True)
class Model:
    """A model as a section of the page; `lost` where its ledger cannot be read."""

    name: str
    shadow: bool
    lost: bool
    known: str
    clients: Sequence[Person]
    timed: str
    stages: Sequence[Sequence[str]]
    outcomes: Sequence[Sequence[str]]
    reasons: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Board:
    """All of the page but its words; it is loaded again after `every` seconds, 0 for never."""

    subtitle: str
    warnings: Sequence[str]
    models: Sequence[Model]
    every: int
    paces: Sequence[tuple[int, str]]


async def board(gateway: Gateway, seen: Seen, audit: AuditLog | None, say: Catalog, *, every: int) -> Board:
    """What there is to see now."""
    warnings = [] if gateway.ready else [say("not ready")]
    if audit is not None and audit.lost:
        warnings.append(say("audit lost", lost=audit.lost))
    return Board(
        say("subtitle", version=__version__, since=_clock(seen.since), now=_clock(time.time())),
        warnings,
        [await _model(name, desk, seen, say) for name, desk in gateway.desks.items()],
        every,
        [(pace, say("every", seconds=pace) if pace else say("off")) for pace in PACES],
    )


async def _model(name: str, desk: ModelEndpoint, seen: Seen, say: Catalog) -> Model:
    here, lost = seen.of(name), False
    try:
        told = await desk.drafts.store.clients(SHOWN)
    except StoreLost:
        told, lost = _only_seen(here), True
    outcomes, reasons = seen.counted(name)
    quantiles = seen.quantiles(name)
    return Model(
        name,
        desk.shadow,
        lost,
        f"{max(len(here), len(told)):,}",
        [_person(client, totals, here.get(client), _budget(desk)) for client, totals in told],
        f"{min(TIMES, sum(outcomes.values())):,}",
        [(say(f"stage {it}"), *(f"{1000 * s:.2f}" for s in quantiles[it])) for it in STAGES if it in quantiles],
        [(say(f"outcome {it}"), f"{outcomes.get(it, 0):,}") for it in OUTCOMES],
        [(reason, f"{count:,}") for reason, count in reasons.items()],
    )


def _only_seen(here: Mapping[str, Client]) -> list[tuple[str, dict[str, float]]]:
    most = sorted(here.items(), key=lambda it: -it[1].evidence)[:SHOWN]
    return [(name, {"evidence": it.evidence, "rung": it.rung, "queries": it.asked}) for name, it in most]


def _person(name: str, totals: Mapping[str, float], seen: Client | None, budget: int | None) -> Person:
    path, mark = curve(seen.times, seen.levels) if seen else ("", None)
    left = DASH if budget is None or "budget" not in totals else f"{max(0, budget - int(totals['budget'])):,}"
    return Person(
        name, f"{totals.get('evidence', 0.0):.2f}", int(totals.get("rung", 0)), f"{int(totals.get('queries', 0)):,}",
        left, _clock(seen.last) if seen else DASH, path, mark,
    )  # fmt: skip


def _budget(desk: ModelEndpoint) -> int | None:
    """The least budget that a client of this desk has, if any."""
    rules = desk.pipeline.rules if isinstance(desk.pipeline, Ruled) else ()
    return min((rule.queries for rule in rules if isinstance(rule, Budget)), default=None)


def curve(times: Sequence[float], levels: Sequence[float]) -> tuple[str, float | None]:
    """The path of a line through evidence `levels` at `times`, and the height of evidence 1 where it is in sight.

    The line runs over the whole width in time; it reaches to the top where evidence is 1 or its own most.
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


def pace(told: str) -> int:
    """The seconds after which the page is loaded again: the nearest of `PACES` that is no less than what was told."""
    if not told.isdecimal():
        return PACES[-1]  # a page that is loaded anew unticks the box beside a button
    return PACES[min(bisect_left(PACES, int(told[:6])), len(PACES) - 1)]


def language(told: str, accepted: Iterable[str]) -> Catalog:
    """The language that was told, or the first of those accepted that there is."""
    for name in (told, *(it.split(";")[0].strip()[:2].lower() for it in accepted)):
        if name in ("en", "zh"):
            return Catalog(name, room=__package__ or "")
    return Catalog("en", room=__package__ or "")


def _clock(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
