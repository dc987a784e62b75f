"""The figures of a report: small, so that they can be read on a phone; names stand beside them, not in them."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from feint.i18n import Catalog
from feint.report.figures import new_figure
from feint.report.section import Section
from feint.report.svg import Drawing, ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORST, NAIVE, GREY = "#0072b2", "#d55e00", "#8a93a3"  # Okabe and Ito's blue and vermilion
CLASSES = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#9a8c00"
MARKS = "o^sDvP"  # with the colours, 48 classes that can be told apart without seeing colours alone
LEAST = 10.0  # percentage points that an axis shows, so that noise does not look like much


def curve(section: Section, defense: str, say: Catalog) -> str:
    """Stealer accuracy of one defense against queries: worst case, naive, and the worst case without a defense."""
    least, most = section.budgets[0], section.budgets[-1]
    drawing = Drawing(300, 215, (least / 1.25, most * 1.25), (0, 104), logarithmic=True)
    few = -(-len(section.budgets) // 4)
    shown = {float(budget): f"{budget:,}" for budget in section.budgets[::-few][::-1]}
    drawing.axes(shown, ticks(0, 100), below=say("axis queries"))
    if section.victim_accuracy is not None:
        accuracy = 100 * section.victim_accuracy
        drawing.line([(least / 1.25, accuracy), (most * 1.25, accuracy)], GREY, width=1, dashes="1 3")
    worst = {b: it for b in section.budgets if (it := section.robust(defense, b))}
    naive = {b: it for b in section.budgets if (it := section.naive(defense, b))}
    if section.bare and section.bare != defense:
        bare = [(b, 100 * it.share) for b in section.budgets if (it := section.robust(section.bare, b))]
        if bare:
            drawing.line(bare, GREY, width=1.2)
    scores = {b: (it.scores["stealer_accuracy"], *it.intervals["stealer_accuracy"]) for b, it in naive.items()}
    _run(drawing, scores, NAIVE, "6 4")
    _run(drawing, {b: (it.share, it.low, it.high) for b, it in worst.items()}, WORST, "")
    return drawing.svg


def _run(drawing: Drawing, shares: dict[int, tuple[float, float, float]], colour: str, dashes: str) -> None:
    """A line through shares with their intervals (share, low, high), by budget."""
    if not shares:
        return
    middle, low, high = ([(b, 100 * it[i]) for b, it in shares.items()] for i in range(3))
    drawing.band(low, high, colour)
    drawing.line(middle, colour, dashes=dashes)
    for point in middle:
        drawing.dot(point, colour, radius=4.5 if dashes else 3, hollow=bool(dashes))


def pareto(section: Section, say: Catalog) -> str:
    """Robust stealer accuracy against defender accuracy, numbered as in `section.places`; the front is a line."""
    places, front = section.places(), section.pareto()
    points = 100 * np.array(list(places.values()))
    x, (bottom, top) = (_around(values) for values in points.T)
    drawing = Drawing(480, 340, x, (bottom, top), margin=34)
    drawing.axes(ticks(*x), ticks(bottom, top), below=say("axis defender"), beside=say("axis stealer"))
    heights = bottom + (top - bottom) / 100 * spread(100 * (points[:, 1] - bottom) / (top - bottom))
    for number, (point, height) in enumerate(zip(points.tolist(), heights.tolist(), strict=True), 1):
        drawing.beside((point[0], point[1]), height, str(number), GREY)
    on_front = sorted((100 * kept, 100 * stolen) for name, (kept, stolen) in places.items() if name in front)
    drawing.line(on_front, WORST, width=1.2)
    for name, (kept, stolen) in places.items():
        drawing.dot((100 * kept, 100 * stolen), WORST, radius=5, hollow=name not in front)
    return drawing.svg


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


def clouds(before: np.ndarray, after: np.ndarray, labels: Tensor, say: Catalog) -> "Figure":
    """Two maps (N, 2) beside each other, coloured by labels (N,)."""
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
