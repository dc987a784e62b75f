"""Heat map of the attack × defense matrix."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from feint.i18n import Catalog
from feint.report.section import Section
from feint.report.tables import Table


@dataclass(frozen=True)
class HeatCell:
    """A cell of a heat map.

    Attributes:
        text: Text of the cell.
        shade: Darkness, 0 to 1; None for a cell without a score.
        kind: "missing", "failed", "worst" or empty.
        hint: Text for the pointer and for screen readers.
    """

    text: str
    shade: float | None = None
    kind: str = ""
    hint: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Stealer accuracy of every attack (a row) on every defense (a column) with one budget."""

    budget: int
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[HeatCell]]] = field(default_factory=list)

    def table(self, title: str, note: str) -> Table:
        """Return the map as a table."""
        return Table(title, self.heads, [[name, *(cell.text for cell in cells)] for name, cells in self.rows], note)


def heat_map(section: Section, budget: int, say: Catalog) -> HeatMap:
    """Return the heat map of a section at one budget."""
    lines = {(line.attack, line.defense): line for line in section.lines if line.budget == budget}
    failed = {(row.attack, row.defense): row for row in section.results.failed if row.budget == budget}
    bounds = section.upper_bounds
    worst = {name: case.attack for name in section.defenses if (case := section.robust(name, budget))}

    def cell(attack: str, defense: str) -> HeatCell:
        line = lines.get((attack, defense))
        if line is None:
            row = failed.get((attack, defense))
            return (
                HeatCell("✕", kind="failed", hint=say("failed"))
                if row
                else HeatCell("", kind="missing", hint=say("none"))
            )
        share = line.scores["stealer_accuracy"]
        text = f"{'≤ ' if attack in bounds else ''}{100 * share:.1f}"
        return HeatCell(text, share, "worst" if worst.get(defense) == attack else "")

    pairs = [*lines, *failed]
    attacks = [name for name in section.attacks if any(name == attack for attack, _ in pairs)]
    stolen = [name for name in section.defenses if any(name == defense for _, defense in pairs)]
    rows = [(attack, [cell(attack, defense) for defense in stolen]) for attack in attacks]
    return HeatMap(budget, [say("Attack"), *stolen], rows)


def colour(shade: float) -> str:
    """Return the CSS of a cell's shade, 0 to 1: light to dark in one hue, with a text colour of enough contrast."""
    light, dark = (247, 251, 255), (8, 69, 130)
    mixed = [round(a + (b - a) * shade) for a, b in zip(light, dark, strict=True)]
    return f"background:#{bytes(mixed).hex()};color:{'#fff' if shade > 0.55 else '#1c2333'}"
