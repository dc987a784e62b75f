"""Figures as standalone SVG."""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from feint._optional import require
from feint.evaluation.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = "#4c566a", "#3566b8", "#c4621b", "#2f8f5b", "#8a4fbf", "#b03a5b"
DASHES = "-", "--", ":", "-."
STYLE = {"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "feint"}  # small, and the same each time


def new_figure(width: float, height: float, **grid: Any) -> tuple["Figure", Any]:
    """Return an empty figure and its axes. Raises `MissingData` without matplotlib."""
    require("matplotlib", "report").rcParams.update(STYLE)
    Figure = require("matplotlib.figure", "report").Figure  # noqa: N806
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(**grid)
    for ax in np.ravel(np.array(axes, dtype=object)):
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg(figure: "Figure") -> str:
    """Return the figure as an <svg> element without the parts that all figures share."""
    buffer = io.StringIO()
    with (
        warnings.catch_warnings()
    ):  # the reader's browser has the glyphs of their language, even if this machine has not
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub("<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", text[text.index("<svg") :])  # ids that repeat in every figure


def budget_curve(results: Results) -> "Figure":
    """Draw stealer accuracy against queries, with a colour for each defense and a dash pattern for each attack."""
    figure, ax = new_figure(8, 4.2)
    defenses, attacks, lines = results.names("defense"), results.names("attack"), results.lines()
    for i, defense in enumerate(defenses):
        for j, attack in enumerate(attacks):
            here = [line for line in lines if (line.defense, line.attack) == (defense, attack)]
            if not here:
                continue
            x = [line.budget for line in here]
            shares = [100 * line.scores["stealer_accuracy"] for line in here]
            bounds = np.array([line.intervals["stealer_accuracy"] for line in here]).T * 100
            ax.plot(x, shares, DASHES[j % 4], marker="o", ms=4, color=COLOURS[i % 6], label=f"{defense} · {attack}")
            ax.fill_between(x, *bounds, color=COLOURS[i % 6], alpha=0.12, lw=0)
    victim = results.utility(defenses[0]).get("victim_accuracy")
    if victim is not None:
        ax.axhline(100 * victim, color="#999", lw=0.8)
        ax.annotate(
            "victim", (1, 100 * victim), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="#777"
        )
    ax.set(xscale="log", xlabel="queries", ylabel="stealer accuracy, %", ylim=(0, 105))
    budgets = sorted({line.budget for line in lines})
    ax.set_xticks(budgets, [f"{budget:,}" for budget in budgets])
    ax.minorticks_off()
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), handlelength=3.5)
    return figure
