"""Tables and the picture of the suite `ownership`: which marks survive thefts and removals."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.record import RESULTS
from docs.tables.rows import grid

from feint.bench import load
from feint.defenses.access.binomial import upper_bound
from feint.evaluation import jsonl, traits
from feint.evaluation.results import Cell, Results, Row
from feint.ownership.claim import Policy
from feint.report import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUITE, THEFT, LABELS = "ownership", "KnockoffNets", ", labels only"
STUDENTS = " with students"  # how the names of victims end whose owner rehearses students
MARKS = "claimed_same_mistakes", "claimed_triggers", "claimed_marked_answers", "claimed_trained_mark"
HEADS = [
    "Served", "Theft, or what is done to its copy", "Copy by", "Queries", "Accuracy, %", "Fidelity, %", "Claimed",
    "95 %", "By mistakes · triggers · mark served", "log10 e", "Asked", "Innocents",
]  # fmt: skip
NO_BREAK = "\N{NO-BREAK SPACE}"
Grid = list[list[str]]


class Group(NamedTuple):
    """Cells of the suite that differ in nothing but their seed.

    Attributes:
        defense: Name of the defense.
        attack: Name of the attack and its lenses.
        budget: Queries of the theft.
        planned: Number of seeds that the suite plans.
        rows: Rows of those that were run.
    """

    defense: str
    attack: str
    budget: int
    planned: int
    rows: list[Row]

    def shares(self, name: str) -> list[float]:
        """Return a score of each row that has it."""
        return [row.scores[name] for row in self.rows if name in row.scores]

    def mean(self, name: str) -> str:
        """Return the mean of a share, in percent."""
        return f"{100 * mean(self.shares(name)):.1f}"

    def hits(self, name: str) -> str:
        """Return in how many rows a score is 1; a dash where the claim had no such mark."""
        shares = self.shares(name)
        return f"{sum(shares):.0f}" if shares else "-"

    @property
    def claim(self) -> tuple[str, str, str]:
        """How many copies are claimed, the median of log10 e, and the mean of the questions, as text."""
        if not self.rows:
            return "not run", "", ""
        power = round(median(self.shares("claim_log_e")), 1) + 0.0  # of -0.04 as well as of 0.04
        missing = f", {self.planned - len(self.rows)} not run" if len(self.rows) < self.planned else ""
        claimed = f"{sum(self.shares('claimed')):.0f} of {len(self.rows)}{missing}"
        return claimed, f"{power:.1f}", f"{mean(self.shares('claim_asked')):,.0f}"


def _results() -> Results:
    """Return the rows of the suite; none where it was not run."""
    file = RESULTS / f"{SUITE}.jsonl"
    return Results.load(file) if file.exists() else Results()


def _groups(victim: str) -> list[Group]:
    """Return the cells of the suite on one victim, whether they were run or not."""
    planned = dict[tuple[str, str, int], list[Cell]]()
    for cell in load(SUITE).cells():
        if cell.victim == victim and cell.attack:
            planned.setdefault((cell.defense, cell.attack, cell.budget), []).append(cell)
    rows = dict[tuple[str, str, int], list[Row]]()
    for row in _results():
        if row.victim == victim and not row.error:
            rows.setdefault((row.defense, row.attack, row.budget), []).append(row)
    return [Group(*key, len(cells), rows.get(key, [])) for key, cells in planned.items()]


def survival(victim: str) -> Grid:
    """Return the table of a victim: how many copies are claimed, by each mark, after each theft and removal."""
    groups = _groups(victim)
    thefts = {(group.defense, group.attack, group.budget): group for group in groups}
    order = [*dict.fromkeys((group.defense, group.attack.removesuffix(LABELS)) for group in groups)]
    groups.sort(key=lambda group: (order.index((group.defense, group.attack.removesuffix(LABELS))), group.budget))
    return [HEADS, *(_line(group, thefts) for group in groups)]


def _line(group: Group, thefts: Mapping[tuple[str, str, int], Group]) -> list[str]:
    name, by = group.attack.removesuffix(LABELS), "labels" if group.attack.endswith(LABELS) else "probabilities"
    first = [group.defense, name.replace(f"{THEFT}, ", ""), by, f"{group.budget:,}"]
    if not group.rows:
        return [*first, "", "", "not run", *[""] * 5]
    accuracy = group.mean("stealer_accuracy")
    theft = thefts.get((group.defense, group.attack.replace(name, THEFT), group.budget))
    if theft and theft.rows and _is_removal(group.rows[0]):
        accuracy = f"{theft.mean('stealer_accuracy')} → {accuracy}".replace(" ", NO_BREAK)
    count, hits = len(group.rows), round(sum(group.shares("claimed")))
    low, high = 1 - upper_bound(count - hits, count, 0.975), upper_bound(hits, count, 0.975)
    served = next((name for name in MARKS[2:] if group.shares(name)), MARKS[-1])
    claimed, power, asked = group.claim
    return [
        *first, accuracy, group.mean("fidelity"), claimed, f"{100 * low:.0f}–{100 * high:.0f}",
        " · ".join(map(group.hits, (*MARKS[:2], served))), power, asked, f"≤ {max(group.shares('claim_bound')):.2%}",
    ]  # fmt: skip


def students(victims: Sequence[str] = ("digits", "fashion_mnist")) -> Grid:
    """Return the table of claims by triggers that were chosen with students, beside those chosen without."""
    numbers = ["Claimed", "log10 e", "Asked"]
    heads = [f"{name}{more}" for name in numbers for more in ("", " with students")]
    shown = [["Set", "Theft, or what is done to its copy", "Copy by", "Queries", *heads]]
    for victim in victims:
        without = {(group.attack, group.budget): group for group in _groups(victim) if group.defense == "none"}
        for group in (group for group in _groups(f"{victim}{STUDENTS}") if group.rows):
            name, by = group.attack.removesuffix(LABELS), "labels" if group.attack.endswith(LABELS) else "probabilities"
            pairs = zip(without[group.attack, group.budget].claim, group.claim, strict=True)
            shown.append([victim, name, by, f"{group.budget:,}", *(cell for pair in pairs for cell in pair)])
    return shown


def _is_removal(row: Row) -> bool:
    return any(table.get("kind") == "Removed" for table in traits.tables(row.recipe["attack"]))


def honest() -> Grid:
    """Return the table of what a mark costs honest clients."""
    utility = (row for row in _results() if not row.attack and not row.victim.endswith(STUDENTS))
    rows = sorted(utility, key=lambda row: row.victim)
    shown = [["Set", "Served", "Accuracy for honest clients", "Points lost"]]
    for row in rows:
        right, before = row.scores["defender_accuracy"], row.scores["victim_accuracy"]
        shown.append([row.victim, row.defense, f"{right:.2%}", f"{100 * (before - right):.2f}"])
    return shown


def picture() -> "Figure":
    """Draw the evidence of each copy against its fidelity, a panel for each set, with what a claim needs as a line."""
    points: dict[str, list[tuple[float, float, bool]]] = {}
    for name, fidelity, power, is_claimed in _points():
        points.setdefault(name, []).append((fidelity, power, is_claimed))
    figure, axes = figures.new_figure(8.5, 3.0, nrows=1, ncols=len(points), sharey=True, squeeze=False)
    for ax, (name, drawn) in zip(axes[0], points.items(), strict=True):
        for is_claimed, face in ((True, figures.COLOURS[1]), (False, "none")):
            x, y = [[point[i] for point in drawn if point[2] is is_claimed] for i in (0, 1)]
            ax.scatter(x, y, s=18, facecolor=face, edgecolor=figures.COLOURS[1], lw=0.9)
        ax.axhline(-math.log10(Policy().alpha), color="#999", lw=0.8, ls="--")
        ax.set(title=name, xlabel="fidelity, %")
    axes[0][0].set_ylabel("log10 of the e-value")
    axes[0][0].scatter([], [], s=18, color=figures.COLOURS[1], label="claimed")
    axes[0][0].scatter([], [], s=18, facecolor="none", edgecolor=figures.COLOURS[1], label="not claimed")
    axes[0][0].legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def _points() -> Iterator[tuple[str, float, float, bool]]:
    """Yield set, fidelity in percent, log10 of the e-value and the verdict of each copy judged by a model's marks."""
    for row in jsonl.read(RESULTS / "claims.jsonl"):
        if row["kind"] in ("copy", "file", "removal") and "fidelity" in row:
            together = row["together"]
            yield row["data"], 100 * row["fidelity"], together["log_e"] / math.log(10), bool(together["claimed"])
    for row in _results():
        if "claimed_triggers" in row.scores:
            scores = row.scores
            yield (
                row.victim.removesuffix(STUDENTS),
                100 * scores["fidelity"],
                scores["claim_log_e"],
                scores["claimed"] == 1,
            )


TABLES = {
    "ownership_digits": lambda: grid(survival("digits")),
    "ownership_fashion_mnist": lambda: grid(survival("fashion_mnist")),
    "ownership_students": lambda: grid(students()),
    "ownership_honest": lambda: grid(honest()),
}
