"""Command `feint shadow`."""

from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import OPERATE, app
from feint.errors import UnknownName

if TYPE_CHECKING:
    from feint.gateway.server.shadow import Drift, ShadowReport
    from feint.gateway.settings import Settings


@app.command(group=OPERATE)
def shadow(settings: Path, /, *, model: str = "", share: float = 0.01) -> None:
    """Report what a ladder in shadow would do to the clients in its ledger, before you enforce it.

    Example: `feint shadow gateway.toml`

    Args:
        settings: Settings file of the gateway, which may be running.
        model: Name of the model (default: every model).
        share: Share of honest clients who may be accused. It takes 1/share - 1 clients or more.
    """
    import asyncio

    from feint.gateway.server.shadow import shadow_report
    from feint.gateway.settings_file import read

    table = read(settings)
    for name in _chosen(model, table):
        print("\n".join(_lines(asyncio.run(shadow_report(table, name, share)), share)))


def _chosen(model: str, settings: "Settings") -> list[str]:
    """Return the models to report on; raise `UnknownName` for one that is not among the settings."""
    if model and model not in settings.models:
        raise UnknownName.among("model", model, settings.models)
    return [model] if model else [*settings.models]


def _lines(report: "ShadowReport", share: float) -> list[str]:
    sets = "; ".join(f"{n:,} inputs, alpha {alpha:g}" for n, alpha in report.calibrated)
    lines = [f"model {report.model}", f"  calibrated on: {sets or 'not known'}", f"  clients: {report.clients:,}"]
    lines.append(f"  drift: {_spoken(report.drift) if report.drift else 'not known, no sequential test has bet'}")
    if report.drift:
        lines.append("         without drift: 1.00, 1.0 % and 5.0 %; feint fit prints the first number for each slice")
    lines += [f"    {name}: {_spoken(drift)}" for name, drift in report.furthest]
    lines += [*_bursts(report), *_pooled(report)]
    lines.append(
        f"  at the present threshold {report.level:.4g}: {report.accused:,} of {report.clients:,} clients would be "
        f"accused; a further one with probability at most {report.bound:.2%} (95 % confidence)"
    )
    if report.calibration is None:
        return [*lines, f"  for fewer than {share:.3g} of clients: {report.missing}"]
    calibrated = report.calibration
    return [
        *lines,
        f"  threshold that fewer than {share:.3g} of clients reach: {calibrated.level:.6g}; probability for a further "
        f"client {calibrated.average:.2%} on average, at most {calibrated.bound:.2%} (95 % confidence)",
        "  to enforce it, in the settings:",
        f"    [models.{report.model}]",
        "    shadow = false",
        f"    threshold = {calibrated.level!r}  # of {calibrated.clients} clients, share {share:g}",
    ]


def _bursts(report: "ShadowReport") -> list[str]:
    """Return who asks in bursts or in an order, and what to declare."""
    from feint.defenses.access.bursts import LONGEST, ORDERED

    if not report.bursts:
        return ["  bursts: not known, too few queries of a client"]
    bursts = [(name, length) for name, length in report.bursts if 1 < length < ORDERED]
    ordered = [name for name, length in report.bursts if length == ORDERED]
    lines = [f"  bursts: {len(bursts):,} of the {len(report.bursts):,} clients with most evidence ask in bursts"]
    lines += [f"    {name}: about {length} queries in a row depend on each other" for name, length in bursts[:5]]
    if bursts:
        longest = bursts[0][1]
        lines.append(
            f"    to promise them what is promised for independent queries: fit SequentialTest(burst={longest}), which "
            f"takes {longest} times the queries to accuse, or somewhat more; the threshold below covers bursts as well"
        )
    lines += [f"    {name}: more than {LONGEST} queries in a row depend on each other" for name in ordered[:5]]
    if ordered:
        lines.append(
            f"    {len(ordered):,} ask in an order, such as that of a video or of a sorted file, and no burst is that "
            "long: --slices classes covers classes in a row, and the threshold below all orders"
        )
    return lines


def _pooled(report: "ShadowReport") -> list[str]:
    """Return what a campaign would do."""
    if report.pooled is None:
        return []
    alarms, named = report.pooled.alarms, report.pooled.named
    lines = [f"  campaign: {alarms:,} alarms, each with newcomers on probation; {named:,} clients named now"]
    if alarms or named:
        lines.append(
            "    newcomers of another kind than those fitted to, such as a new application's, are one cause: look at "
            "the clients above, and fit the campaign again to the last period's newcomers before you enforce it"
        )
    return lines


def _spoken(drift: "Drift") -> str:
    from feint.defenses.access.martingale import SMALL

    shares = ", ".join(f"p <= {p} {share:.1%}" for p, share in zip(SMALL, drift.below, strict=True))
    return f"mean of -log p {drift.surprise:.2f}, {shares} of {drift.queries:,} queries"
