"""What a ladder in shadow would do to the clients of a ledger, before it is enforced."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from feint.defenses.access import client_state
from feint.defenses.access.binomial import upper_bound
from feint.defenses.access.bursts import burst_length
from feint.defenses.access.clients import ClientThreshold, threshold
from feint.defenses.access.cohort import ACCOUNTS, ALARMS, LEVEL, rejected
from feint.defenses.access.martingale import DRIFT, Martingale
from feint.defenses.access.mixture import Mixture
from feint.errors import BadInput
from feint.gateway.accounts import check_stored, to_read
from feint.gateway.backends.registry import LOADERS
from feint.gateway.changes import SHARED, AccountName, Kind
from feint.gateway.settings import Settings
from feint.gateway.stores.base import LedgerReader
from feint.ledger import Account

MOST = 1_000_000  # clients that are read
MEASURED = 100  # of clients, and of groups: those with the most evidence, whose recent queries are read too


@runtime_checkable
class HasDetectors(Protocol):
    """Pipeline that lists the detectors of its ladder."""

    @property
    def detectors(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Drift:
    """How the p-values of queries differ from those of the calibration.

    Attributes:
        queries: Number of queries, near copies left out.
        surprise: Mean of −log p: 1 where they do not differ.
        below: Shares of p ≤ 0.01 and of p ≤ 0.05.
    """

    queries: int
    surprise: float
    below: tuple[float, float]

    @classmethod
    def of(cls, totals: Sequence[Mapping[str, float]]) -> "Drift | None":
        """Return the drift of these clients' queries, None where no sequential test has bet on any."""
        queries, *sums = (math.fsum(client.get(name, 0.0) for client in totals) for name in DRIFT)
        if not queries:
            return None
        surprise, low, lower = (total / queries for total in sums)
        return cls(int(queries), surprise, (low, lower))


@dataclass(frozen=True)
class PooledEvidence:
    """What a campaign's evidence over all accounts says.

    Attributes:
        alarms: Number of alarms that there were.
        named: Number of clients, and groups of linked ones, that e-BH names now.
    """

    alarms: int
    named: int

    @classmethod
    def of(cls, shared: Mapping[str, float], observed: Sequence[Mapping[str, float]]) -> "PooledEvidence | None":
        """Return the evidence in the totals of the shared account and of all others, None where no campaign has any."""
        if not shared.get(ACCOUNTS):
            return None
        account = Account("")
        account.add_all(shared)
        least = rejected(account)
        return cls(int(shared.get(ALARMS, 0)), sum(totals.get(LEVEL, 0.0) - 1 >= least for totals in observed))


@dataclass(frozen=True)
class ShadowReport:
    """What enforcing a ladder would do to the clients in its ledger.

    Attributes:
        model: The model's name.
        calibrated: Number of benign inputs of each sequential test, and its alpha.
        clients: Number of clients.
        level: Present threshold.
        accused: Number of clients whose evidence has reached it.
        bound: Upper bound of the probability that a further client does, with confidence 95 %.
        drift: Drift of all queries; None where no sequential test has bet.
        furthest: Clients, and groups of linked ones, whose queries differ most, with their drift.
        bursts: How many queries in a row depend on each other, the longest first, as `burst_length` returns it: of each
            client or group with the most evidence who has asked enough.
        pooled: Evidence over all accounts; None where the ladder has no campaign.
        calibration: Threshold that fewer than a share of clients reach.
        missing: Why there is no such threshold, or "".
    """

    model: str
    calibrated: Sequence[tuple[int, float]]
    clients: int
    level: float
    accused: int
    bound: float
    drift: Drift | None = None
    furthest: Sequence[tuple[str, Drift]] = field(default_factory=list)
    bursts: Sequence[tuple[str, int]] = field(default_factory=list)
    pooled: PooledEvidence | None = None
    calibration: ClientThreshold | None = None
    missing: str = ""


async def shadow_report(settings: Settings, model: str, share: float) -> ShadowReport:
    """Return what enforcing the ladder of a model would do to the clients in its ledger.

    Models and stores that cannot be opened raise their own errors.

    Args:
        settings: Settings of the gateway.
        model: Name of the model.
        share: Share of honest clients who may be accused.

    Returns:
        The report.

    Raises:
        BadInput: The model has no ladder, or the ledger is in memory.
    """
    check_stored(settings)
    table = settings.models[model]
    loaded = await LOADERS[type(table)](table, model)
    try:
        if loaded.rungs < 2:
            raise BadInput(f"the model {model} without a ladder", "one with a ladder", "export it with a Ladder")
        detectors = loaded.pipeline.detectors if isinstance(loaded.pipeline, HasDetectors) else ()
    finally:
        loaded.close()
    async with to_read(settings, model) as ledger:
        clients, groups = await ledger.clients(MOST), await ledger.clients(MOST, kind="group")
        bursts = [*await _bursts(ledger, "client", clients), *await _bursts(ledger, "group", groups)]
        shared = (await ledger.account(SHARED)).totals
    calibrated = [
        (len(member.inputs), test.alpha)
        for test in detectors
        for member in (test.members if isinstance(test, Mixture) else [test])
        if isinstance(member, Martingale)
    ]
    return report_of(model, clients, table.threshold, share, calibrated, groups, bursts, shared)


async def _bursts(
    ledger: LedgerReader, kind: Kind, listed: Sequence[tuple[str, Mapping[str, float]]]
) -> list[tuple[str, int]]:
    """Return how many queries in a row depend on each other, of those with the most evidence and enough queries."""
    lengths = []
    for name, _ in listed[:MEASURED]:
        rows = (await ledger.account(AccountName(kind, name))).rows.get(client_state.NAME)
        if rows is not None and (length := burst_length(client_state.recent_codes(rows.ravel()))) is not None:
            lengths.append((_observed(name, kind), length))
    return lengths


def _observed(name: str, kind: Kind) -> str:
    return f"{name} (group)" if kind == "group" else name


def report_of(
    model: str,
    clients: Sequence[tuple[str, Mapping[str, float]]],
    level: float,
    share: float,
    calibrated: Sequence[tuple[int, float]] = (),
    groups: Sequence[tuple[str, Mapping[str, float]]] = (),
    bursts: Sequence[tuple[str, int]] = (),
    shared: Mapping[str, float] | None = None,
) -> ShadowReport:
    """Return the report on clients and their totals; the arguments are attributes of `ShadowReport`.

    The queries of linked clients are observed in the accounts of their `groups`; `shared` has the totals of the account
    of all.
    """
    evidence = [totals.get("evidence", 0.0) for _, totals in clients]
    accused = sum(reached >= level for reached in evidence)
    observed = [*clients, *((_observed(name, "group"), totals) for name, totals in groups)]
    drifts = [(name, drift) for name, totals in observed if (drift := Drift.of([totals]))]
    calibration, missing = None, ""
    try:
        calibration = threshold(evidence, share)
    except BadInput as error:
        got, expected, _ = error.args
        missing = f"{got}; it takes {expected}"
    return ShadowReport(
        model, calibrated, len(clients), level, accused, upper_bound(accused, len(clients)),
        Drift.of([totals for _, totals in observed]),
        sorted(drifts, key=lambda entry: -entry[1].surprise)[:5],
        sorted(bursts, key=lambda entry: -entry[1]),
        PooledEvidence.of(shared or {}, [totals for _, totals in observed]), calibration, missing,
    )  # fmt: skip
