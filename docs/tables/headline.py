"""Table of the README, five defenses at one budget, and pictures of what a suite's defenses hold."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from docs.tables.rows import grid, results_of

from feint.errors import MissingData
from feint.evaluation.robust import Robust
from feint.report import figures
from feint.report.section import sections

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUITE = "fashion_mnist"
DEFENSES = "none", "reverse sigmoid", "APMSA", "ModelGuard-W", "APGP top-1"


def table() -> str:
    """Return the table: the naive attacker, the worst case, and what honest clients pay."""
    rows = [["Defense", "Naive attacker", "Worst case", "Accuracy for honest clients", "Answers moved (L1)"]]
    for name, naive, worst, utility in _measured(SUITE, DEFENSES):
        share = f"{100 * worst.share:.1f} ({100 * worst.low:.1f}–{100 * worst.high:.1f})"
        rows.append([
            name, f"{100 * naive:.1f}", share, f"{100 * utility['defender_accuracy']:.1f}", f"{utility['l1']:.2f}",
        ])  # fmt: skip
    return grid(rows)


def figure(suite: str, title: str, names: Iterable[str] | None = None) -> "Figure":
    """Return the picture of a suite: for each defense a line from the naive share to the worst case.

    Args:
        suite: Name of the suite, whose rows are at hand.
        title: Name of the data set.
        names: Defenses to show; None for those that were attacked.
    """
    measured = _measured(suite, names)
    drawn, ax = figures.new_figure(8, 0.9 + 0.4 * len(measured))
    for i, (_, naive, worst, utility) in enumerate(measured):
        ax.plot([100 * naive, 100 * worst.share], [i, i], color="#9aa3b2", lw=2, zorder=1)
        ax.scatter(100 * naive, i, s=60, color="white", edgecolor="#c4621b", lw=2, zorder=2)
        ax.scatter(100 * worst.share, i, s=60, color="#3566b8", zorder=3)
        ax.plot([100 * utility["defender_accuracy"]] * 2, [i - 0.3, i + 0.3], color="#4c566a", lw=2)
    ax.scatter([], [], s=60, color="white", edgecolor="#c4621b", lw=2, label="copy, naive attacker")
    ax.scatter([], [], s=60, color="#3566b8", label="copy, worst case")
    ax.plot([], [], color="#4c566a", lw=2, label="service, honest clients")
    ax.set_yticks(range(len(measured)), [name for name, *_ in measured])
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.set_xlabel(f"accuracy on {title}, %")
    ax.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return drawn


def _measured(suite: str, names: Iterable[str] | None) -> list[tuple[str, float, Robust, dict[str, float]]]:
    """Return for each defense its name, the naive share, the worst case, and the utility that it leaves."""
    [section] = sections(results_of(suite))
    budget, shown = section.compared(), []
    attacked = (name for name in section.defenses if section.naive(name, budget) is not None)
    for name in attacked if names is None else names:
        naive, worst = section.naive(name, budget), section.robust(name, budget)
        if naive is None or worst is None:
            raise MissingData(f"no worst case of {name}", "a row for each attack of the suite", "run the suite")
        shown.append((name, naive.scores["stealer_accuracy"], worst, section.results.utility(name)))
    return shown


TABLES = {"claim": table}
