"""The attack × defense matrix as a heat map."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from feint.i18n import Catalog
from feint.report.section import Section
from feint.report.tables import Table


@dataclass(frozen=True)
class Cell:
    """A cell of a heat map: what is shown, and how dark, 0 to 1; None for one that has no score."""

    text: str
    shade: float | None = None
    kind: str = ""  # "missing", "failed", "worst" or nothing
    hint: str = ""


@dataclass(frozen=True)
class HeatMap:
    """Stealer accuracy of every attack (a row) on every defense (a column) with one budget."""

    budget: int
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]] = field(default_factory=list)

    def table(self, title: str, note: str) -> Table:
        """The same as text."""
        return Table(title, self.heads, [[name, *(cell.text for cell in cells)] for name, cells in self.rows], note)


def heat_map(section: Section, budget: int, say: Catalog) -> HeatMap:
    """The matrix at one budget."""
    shares = {(it.attack, it.defense): it for it in section.lines if it.budget == budget}
    failed = {(row.attack, row.defense): row for row in section.results.failed if row.budget == budget}
    bounds = section.upper_bounds
    worst = {name: it.attack for name in section.defenses if (it := section.robust(name, budget))}

    def cell(attack: str, defense: str) -> Cell:
        line = shares.get((attack, defense))
        if line is None:
            row = failed.get((attack, defense))
            return Cell("✕", kind="failed", hint=say("failed")) if row else Cell("", kind="missing", hint=say("none"))
        share = line.scores["stealer_accuracy"]
        text = f"{'≤ ' if attack in bounds else ''}{100 * share:.1f}"
        return Cell(text, share, "worst" if worst.get(defense) == attack else "")

    attacks = [name for name in section.attacks if any(it[0] == name for it in [*shares, *failed])]
    stolen = [name for name in section.defenses if any(it[1] == name for it in [*shares, *failed])]
    rows = [(attack, [cell(attack, defense) for defense in stolen]) for attack in attacks]
    return HeatMap(budget, [say("Attack"), *stolen], rows)


def colour(shade: float) -> str:
    """The style of a heat map's cell, 0 to 1: light to dark in one hue, with text that can be read on it."""
    light, dark = (247, 251, 255), (8, 69, 130)
    mixed = [round(a + (b - a) * shade) for a, b in zip(light, dark, strict=True)]
    return f"background:#{bytes(mixed).hex()};color:{'#fff' if shade > 0.55 else '#1c2333'}"
