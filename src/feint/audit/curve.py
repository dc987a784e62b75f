"""Curve of an audit's first page: the worst case by number of queries."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from feint.audit.findings import AttackResult, Findings
from feint.audit.text import AuditText
from feint.report.figures import new_figure, svg
from feint.report.plots import GREY, GRID, NAIVE, WORST

GREY_TEXT = "#51606f"


def budget_curve(findings: Findings, text: AuditText) -> str:
    """Draw the accuracy of the best copy against queries, beside the model and a constant answer.

    Args:
        findings: Findings with worst cases.
        text: Texts in the page's language.

    Returns:
        The figure as an <svg> element.
    """
    figure, ax = new_figure(6.4, 3.0)
    model, constant = findings.utility.get("victim_accuracy"), findings.constant.accuracy
    least, most = findings.budgets[0] / 1.25, findings.budgets[-1] * 1.25
    for share, word, side in ((model, "curve model", "bottom"), (constant, "curve majority", "top")):
        if share is not None:
            ax.axhline(100 * share, color=GREY, lw=1, ls=":")
            ax.annotate(f"{text(word)} {100 * share:.1f}", (most, 100 * share), ha="right", va=side, color=GREY_TEXT)
    _line(ax, findings.worst_cases, WORST, text("curve none"))
    if findings.recommended is not None:
        _line(ax, findings.recommended.worst_cases, NAIVE, text.word(findings.recommended.candidate.name))
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 1.14), ncols=2)
    ax.set(xscale="log", xlim=(least, most), ylim=(0, 108), xlabel=text("queries"), ylabel=text("axis accuracy"))
    ax.set_xticks(findings.budgets, [f"{budget:,}" for budget in findings.budgets])
    ax.minorticks_off()
    ax.grid(axis="y", color=GRID)
    return svg(figure)


def _line(ax: Any, cases: Sequence[AttackResult], color: str, label: str) -> None:
    """Draw worst cases with their intervals; hollow where they are no basis for advice."""
    shares = [(case.stealer_accuracy.low, case.stealer_accuracy.share, case.stealer_accuracy.high) for case in cases]
    if not shares:
        return
    budgets = [case.budget for case in cases]
    low, middle, high = 100 * np.array(shares).T
    ax.fill_between(budgets, low, high, color=color, alpha=0.15, lw=0)
    ax.plot(budgets, middle, "-", color=color, lw=1.8)
    for filled in (True, False):
        shown = [i for i, case in enumerate(cases) if (case.doubt is None) == filled]
        here, face = [budgets[i] for i in shown], color if filled else "white"
        name = label if filled else None
        ax.plot(here, middle[shown], "o", color=color, markersize=5, markerfacecolor=face, label=name)
