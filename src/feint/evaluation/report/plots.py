"""The figures of a report: small, so that they can be read on a phone; names stand beside them, not in them."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from feint.evaluation.figures import new_figure
from feint.evaluation.language import Language
from feint.evaluation.report.section import Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST, NAIVE, GREY = "#0072b2", "#d55e00", "#8a93a3"  # Okabe and Ito's blue and vermilion
CLASSES = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#9a8c00"
MARKS = "o^sDvP"  # with the colours, 48 classes that can be told apart without seeing colours alone
LEAST = 10.0  # percentage points that an axis shows, so that noise does not look like much


def curve(section: Section, defense: str, say: Language) -> "Figure":
    """Stealer accuracy of one defense against queries: worst case, naive, and the worst case without a defense."""
    figure, ax = new_figure(3.4, 2.5, box=(0.13, 0.19, 0.83, 0.77))
    if section.bare and section.bare != defense:
        bare = [(b, it.share) for b in section.budgets if (it := section.robust(section.bare, b))]
        ax.plot([b for b, _ in bare], [100 * share for _, share in bare], "-", color=GREY, lw=1)
    worst = [(b, it.share, it.low, it.high) for b in section.budgets if (it := section.robust(defense, b))]
    naive = [
        (it.budget, it.scores["stealer_accuracy"], *it.intervals["stealer_accuracy"])
        for b in section.budgets
        if (it := section.naive(defense, b))
    ]
    for points, colour, dash, mark in ((naive, NAIVE, "--", "s"), (worst, WORST, "-", "o")):
        if points:
            x, shares, low, high = np.array(points).T
            ax.fill_between(x, 100 * low, 100 * high, color=colour, alpha=0.15, lw=0)
            ax.plot(x, 100 * shares, dash, marker=mark, ms=4, color=colour)
            ax.errorbar(x, 100 * shares, 100 * np.array([np.maximum(shares - low, 0), np.maximum(high - shares, 0)]),
                        fmt="none", ecolor=colour, elinewidth=0.8)  # fmt: skip
    if section.victim_accuracy is not None:
        ax.axhline(100 * section.victim_accuracy, color=GREY, lw=0.8, ls=":")
    ax.set(xscale="log", xlabel=say("axis queries"), ylim=(0, 104))
    shown = section.budgets if len(section.budgets) <= 4 else section.budgets[:: -(-len(section.budgets) // 4)]
    ax.set_xticks(shown, [f"{budget:,}" for budget in shown])
    ax.minorticks_off()
    ax.set_xlim(section.budgets[0] / 1.25, section.budgets[-1] * 1.25)
    ax.grid(axis="y", color="#e6e9ee", lw=0.6)
    return figure


def pareto(section: Section, say: Language) -> "Figure":
    """Robust stealer accuracy against defender accuracy, numbered as in `section.places`; the front is a line."""
    figure, ax = new_figure(4.6, 3.4, box=(0.13, 0.14, 0.76, 0.83))
    places, front = section.places(), section.pareto()
    points = 100 * np.array(list(places.values()))
    (low, high), (bottom, top) = (_around(values) for values in points.T)
    order = sorted(tuple(100 * np.array(places[name])) for name in front)
    ax.plot([it[0] for it in order], [it[1] for it in order], "-", color=WORST, lw=1, zorder=1)
    for name, (kept, stolen) in zip(places, points, strict=True):
        face = WORST if name in front else "white"
        ax.plot(kept, stolen, "o", ms=7, color=WORST, mfc=face, zorder=2)
    ax.locator_params(axis="x", nbins=5)
    ax.set(xlabel=say("axis defender"), ylabel=say("axis stealer"), xlim=(low, high), ylim=(bottom, top))
    heights = bottom + (top - bottom) / 100 * spread(100 * (points[:, 1] - bottom) / (top - bottom))
    for number, ((kept, stolen), height) in enumerate(zip(points, heights, strict=True), 1):
        ends = (high, high + 0.035 * (high - low))
        ax.plot([kept, ends[0], ends[1]], [stolen, height, height], "-", color=GREY, lw=0.5, clip_on=False, zorder=0)
        ax.text(high + 0.045 * (high - low), height, str(number), va="center", fontsize=9)
    ax.grid(color="#e6e9ee", lw=0.6)
    return figure


def _around(values: np.ndarray) -> tuple[float, float]:
    """The ends of an axis that shows these percentages."""
    span = max(LEAST, 1.2 * float(np.ptp(values)))
    middle = (values.min() + values.max()) / 2
    high = min(101.0, middle + span / 2)
    return max(-1.0, high - span), max(high, span - 1.0)


def spread(heights: np.ndarray, *, gap: float = 5.0, top: float = 100.0) -> np.ndarray:
    """Places for labels near their `heights`, 0 to `top`, at least `gap` apart where there is room, in their order."""
    order, placed = np.argsort(heights, kind="stable"), np.array(heights, dtype=float)
    gap = min(gap, top / max(1, len(heights)))
    last = -gap
    for i in order:
        last = placed[i] = max(placed[i], last + gap)
    over = top
    for i in order[::-1]:
        over = placed[i] = min(placed[i], over)
        over -= gap
    return placed


def clouds(before: np.ndarray, after: np.ndarray, labels: Tensor, say: Language) -> "Figure":
    """Two maps (N, 2) beside each other, coloured by labels (N,)."""
    figure, axes = new_figure(6.4, 3.2, ncols=2)
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.92, wspace=0.04)
    for ax, places, name in zip(axes, (before, after), (say("before"), say("after")), strict=True):
        for label in labels.unique().tolist():
            points, mark = places[labels.numpy() == label], MARKS[label // len(CLASSES) % len(MARKS)]
            ax.plot(*points.T, mark, color=CLASSES[label % len(CLASSES)], ms=3, mew=0)
        ax.set_title(name, fontsize=10)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
        ax.spines[:].set_color("#d9dde5")
    return figure
