"""Plots of a report, small enough for a phone; the names of points are listed beside a plot, not in it."""

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from feint.i18n import Catalog
from feint.report.figures import new_figure, svg
from feint.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST, NAIVE, GREY = "#0072b2", "#d55e00", "#8a93a3"  # Okabe and Ito's blue and vermilion
GRID = "#e6e9ee"
CLASSES = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#9a8c00"
MARKS = "o^sDvP"  # with the colours, 48 distinct classes
LEAST = 10.0  # percentage points that an axis shows, so that noise does not look large


def curve(section: Section, defense: str, say: Catalog) -> str:
    """Draw stealer accuracy of one defense against queries: worst case, naive, and the worst case without a defense."""
    least, most = section.budgets[0], section.budgets[-1]
    figure, ax = new_figure(3.0, 2.15)
    if section.victim_accuracy is not None:
        ax.axhline(100 * section.victim_accuracy, color=GREY, lw=1, ls=":")
    if section.bare and section.bare != defense:
        bare = {b: 100 * case.share for b in section.budgets if (case := section.robust(section.bare, b))}
        ax.plot(list(bare), list(bare.values()), color=GREY, lw=1.2)
    lines = [(b, line) for b in section.budgets if (line := section.naive(defense, b))]
    naive = {b: (line.scores["stealer_accuracy"], *line.intervals["stealer_accuracy"]) for b, line in lines}
    cases = [(b, case) for b in section.budgets if (case := section.robust(defense, b))]
    worst = {b: (case.share, case.low, case.high) for b, case in cases}
    _line(ax, naive, "--o", color=NAIVE, markersize=6.5, markerfacecolor="white")
    _line(ax, worst, "-o", color=WORST, markersize=4.5)
    ax.set(xscale="log", xlim=(least / 1.25, most * 1.25), ylim=(0, 104), xlabel=say("axis queries"))
    few = -(-len(section.budgets) // 4)
    shown = section.budgets[::-few]
    ax.set_xticks(shown, [f"{budget:,}" for budget in shown])
    ax.set_yticks(range(0, 101, 20))
    ax.minorticks_off()
    ax.grid(axis="y", color=GRID)
    return svg(figure)


def _line(ax: Any, shares: dict[int, tuple[float, float, float]], style: str, *, color: str, **marker: Any) -> None:
    """Draw a line through shares with their intervals (share, low, high), by budget."""
    if not shares:
        return
    middle, low, high = 100 * np.array(list(shares.values())).T
    ax.fill_between(list(shares), low, high, color=color, alpha=0.15, lw=1)
    ax.plot(list(shares), middle, style, color=color, lw=1.8, **marker)


def pareto(section: Section, say: Catalog) -> str:
    """Draw robust stealer accuracy against defender accuracy, numbered as in `section.places`, the front as a line."""
    places, front = section.places(), section.pareto()
    points = 100 * np.array(list(places.values()))
    (left, right), (bottom, top) = (_limits(values) for values in points.T)
    figure, ax = new_figure(4.8, 3.4)
    heights = bottom + (top - bottom) / 100 * spread(100 * (points[:, 1] - bottom) / (top - bottom))
    for number, (point, height) in enumerate(zip(points, heights, strict=True), 1):
        beside = right + (right - left) / 25, height
        line = {"arrowstyle": "-", "color": GREY, "lw": 0.8, "relpos": (0, 0.5)}
        ax.annotate(str(number), point, beside, va="center", annotation_clip=False, arrowprops=line)
    on_front = np.array([name in front for name in places])
    line = points[on_front]
    ax.plot(*points[~on_front].T, "o", color=WORST, markersize=7, markerfacecolor="white")
    ax.plot(*line[line[:, 0].argsort()].T, "-o", color=WORST, markersize=7, lw=1.2)
    ax.set(xlim=(left, right), ylim=(bottom, top), xlabel=say("axis defender"), ylabel=say("axis stealer"))
    ax.grid(axis="y", color=GRID)
    return svg(figure)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return the limits of an axis that shows these percentages."""
    span = max(LEAST, 1.2 * float(np.ptp(values)))
    middle = (values.min() + values.max()) / 2
    high = min(101.0, middle + span / 2)
    return max(-1.0, high - span), max(high, span - 1.0)


def spread(heights: np.ndarray, *, gap: float = 5.0, top: float = 100.0) -> np.ndarray:
    """Return label positions near `heights`, 0 to `top`, in order and at least `gap` apart if there is room."""
    order, positions = np.argsort(heights, kind="stable"), np.array(heights, dtype=float)
    gap = min(gap, top / max(1, len(heights)))
    last = -gap
    for i in order:
        last = positions[i] = max(positions[i], last + gap)
    ceiling = top
    for i in order[::-1]:
        ceiling = positions[i] = min(positions[i], ceiling)
        ceiling -= gap
    return positions


def clouds(before: np.ndarray, after: np.ndarray, labels: Tensor, say: Catalog) -> "Figure":
    """Draw two scatter plots of points (N, 2) beside each other, coloured by labels (N,)."""
    figure, axes = new_figure(6.4, 3.2, ncols=2)
    for ax, places, name in zip(axes, (before, after), (say("before"), say("after")), strict=True):
        for label in labels.unique().tolist():
            points, mark = places[labels.numpy() == label], MARKS[label // len(CLASSES) % len(MARKS)]
            ax.plot(*points.T, mark, color=CLASSES[label % len(CLASSES)], ms=3, mew=0)
        ax.set_title(name, fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("#d9dde5")
    return figure
