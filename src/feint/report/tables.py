"""Tables of a report. Cells of scores that were not measured are empty."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feint.evaluation import checks
from feint.evaluation.metrics import group, metric
from feint.evaluation.robust import Robust
from feint.i18n import Catalog
from feint.report.published import PublishedValue, measured
from feint.report.section import Section
from feint.report.summary import theft_score


@dataclass(frozen=True)
class Table:
    """A table with a title and a note.

    Attributes:
        title: Title.
        heads: Heads of the columns.
        rows: Cells of each row.
        note: Text under the title.
        words: Number of columns, from the left, that hold words and not numbers.
        english: Number of the column that quotes messages in English, from 1.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: int = 1
    english: int | None = None

    @property
    def markdown(self) -> str:
        """The table in Markdown, with its title as a heading."""
        escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [self.heads, *self.rows]]
        ruler = ["---"] * self.words + ["---:"] * (len(self.heads) - self.words)
        lines = ["| " + " | ".join(row) + " |" for row in [escaped[0], ruler, *escaped[1:]]]
        return "\n".join([f"### {self.title}", "", *([self.note, ""] if self.note else []), *lines])


def interval(worst: Robust) -> str:
    """Return a worst case with its interval, in percent."""
    return f"{100 * worst.share:.1f} ({100 * worst.low:.1f}–{100 * worst.high:.1f})"


def headline(section: Section, say: Catalog) -> Table:
    """Return the table of robust stealer accuracy beside the naive one, for each defense."""
    heads = "Defense", "Worst case", "Naive", "", "Queries", "Seeds", "by", "Verdict"
    rows = []
    for name in section.defenses:
        worst, utility, largest = section.robust(name), section.results.utility(name), section.largest(name)
        naive = section.naive(name, largest)
        rows.append([
            name,
            interval(worst) if worst else "",
            f"{100 * naive.scores['stealer_accuracy']:.1f}" if naive else "",
            metric("defender_accuracy").shown(utility),
            f"{largest:,}" if largest else "",
            f"{worst.seeds}" if worst else "",
            worst.attack if worst else "",
            verdict(section.verdict(name), say) if largest else "",
        ])  # fmt: skip
    accuracy = metric("defender_accuracy").label(say.name)
    shown = [say(head) if head else accuracy for head in heads]
    return Table(say("robust title"), shown, rows, say("robust note"))


def verdict(text: str, say: Catalog) -> str:
    """Return a verdict in the reader's language. The names of flags stay, as they are in the docs."""
    return say("trusted") if text == "trusted" else text


def utility(section: Section, say: Catalog) -> Table:
    """Return the table of every defense's utility for honest clients."""
    utilities = _utilities(section)
    columns = [score for score in group("utility") if any(score.name in scores for scores in utilities.values())]
    heads = [say("Defense"), *(score.label(say.name) for score in columns)]
    rows = [[name, *(score.shown(scores) for score in columns)] for name, scores in utilities.items()]
    return Table(say("utility title"), heads, rows, say("utility note"))


def cost(section: Section, say: Catalog) -> Table:
    """Return the table of the owner's cost of 1,000 queries."""
    columns = group("cost")
    rows = [
        [name, *(_short(scores.get(score.name)) for score in columns)] for name, scores in _utilities(section).items()
    ]
    heads = [say("Defense"), *(score.label(say.name) for score in columns)]
    return Table(say("cost title"), heads, rows, say("cost note"))


def _utilities(section: Section) -> dict[str, dict[str, float]]:
    """Return the utility scores of the defenses that have some."""
    return {name: scores for name in section.defenses if (scores := section.results.utility(name))}


def price(section: Section, per_1000: float, say: Catalog) -> Table:
    """Return the table of what each budget costs the attacker, and of the worst case at that budget."""
    rows = []
    for budget in section.budgets:
        worst = [section.robust(name, budget) for name in section.defenses]
        shown = ["" if case is None else interval(case) for case in worst]
        rows.append([f"{budget:,}", f"{budget / 1000 * per_1000:,.2f}", *shown])
    heads = [say("Queries"), say("Price"), *section.defenses]
    return Table(say("price title"), heads, rows, say("price note", price=f"{per_1000:g}"), words=0)


def springboard(section: Section, say: Catalog) -> Table:
    """Return the table of downstream attacks with the surrogates."""
    return _copies(section, "springboard", say)


def ownership(section: Section, say: Catalog) -> Table:
    """Return the table of claims against the surrogates."""
    return _copies(section, "ownership", say)


def _copies(section: Section, name: str, say: Catalog) -> Table:
    """Return the table of a group of scores of each theft, without columns that no theft has."""
    copies = section.copies({score.name for score in group(name)})
    columns = [score for score in group(name) if any(score.name in scores for *_, scores in copies)]
    heads = [*map(say, ("Defense", "Attack", "Queries")), *(score.label(say.name) for score in columns)]
    rows = [
        [defense, attack, f"{budget:,}", *(score.shown(scores) for score in columns)]
        for defense, attack, budget, scores in copies
    ]
    return Table(say(f"{name} title"), heads, rows, say(f"{name} note"), words=2)


def published(section: Section, expected: Iterable[PublishedValue], say: Catalog) -> Table:
    """Return the table of published values beside the measured ones."""
    heads = [say(head) for head in ("Defense", "Attack", "Score", "Source", "Queries", "Published", "Measured")]
    rows = []
    for paper in expected:
        mean = measured(section.results, paper)
        queries = f"{paper.budget:,}" if paper.budget else ""
        shown = "" if mean is None else f"{mean:.4g}"
        rows.append([paper.defense, paper.attack, paper.score, paper.source, queries, f"{paper.value:.4g}", shown])
    return Table(say("expected title"), heads, rows, say("expected note"), words=4)


def thefts(section: Section, say: Catalog) -> Table:
    """Return the table of all thefts, averaged over seeds."""
    columns = [score for score in group("theft") if any(score.name in line.scores for line in section.lines)]
    heads = [*map(say, ("Defense", "Attack", "Queries", "Seeds")), *(score.label(say.name) for score in columns)]
    rows = [
        [
            line.defense,
            line.attack,
            f"{line.budget:,}",
            f"{line.seeds}",
            *(theft_score(line, score) for score in columns),
        ]
        for line in section.lines
    ]
    return Table(say("thefts title"), heads, rows, say("thefts note"), words=2)


def failures(section: Section, say: Catalog) -> Table:
    """Return the table of failed cells, with their errors."""
    heads = [say(head) for head in ("Defense", "Attack", "Queries", "Seed", "Error")]
    rows = [[row.defense, row.attack, f"{row.budget:,}", f"{row.seed}", row.error] for row in section.results.failed]
    return Table(say("failed title"), heads, rows, say("failed note"), words=5, english=5)


def flags(section: Section, say: Catalog) -> list[Table]:
    """Return a table for every flag: its meaning, and the attacks on each defense that have it."""
    heads = [say(head) for head in ("Defense", "Queries", "Attacks")]
    return [
        Table(flag, heads, [[name, f"{budget:,}", _flagged(attacks)] for (name, budget), attacks in at.items()],
              meaning(flag, say), words=3)
        for flag, at in section.suspected().items()
    ]  # fmt: skip


def meaning(flag: str, say: Catalog) -> str:
    """Return the meaning of a flag. Flags of a later version may be unknown here."""
    bounds = {"explained": f"{checks.EXPLAINED:.0%}", "seeds": checks.SEEDS}
    return say(f"flag {flag}" if f"flag {flag}" in say else "flag unknown", **bounds)


def _flagged(attacks: Mapping[str, Sequence[str]]) -> str:
    """Return the attacks with the numbers of their seeds, grouped by equal numbers."""
    alike: dict[str, list[str]] = {}
    for attack, numbers in attacks.items():
        alike.setdefault(", ".join(dict.fromkeys(numbers)), []).append(attack)
    return "; ".join("; ".join(names) + (f" ({seeds})" if seeds else "") for seeds, names in alike.items())


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
