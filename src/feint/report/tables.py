"""The tables of a report: what was not measured stays empty."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feint.evaluation import checks
from feint.evaluation.metrics import group, metric
from feint.evaluation.results import ResultRow
from feint.evaluation.robust import Robust
from feint.i18n import Catalog
from feint.report.published import PublishedValue, measured
from feint.report.section import Section


@dataclass(frozen=True)
class Table:
    """A table with a title and a note. `words` is how many of its columns, from the left, are words and not numbers;
    `english` is one that quotes what a program said."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    words: int = 1
    english: int | None = None

    @property
    def markdown(self) -> str:
        """The table in Markdown, under its title."""
        escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [self.heads, *self.rows]]
        ruler = ["---"] * self.words + ["---:"] * (len(self.heads) - self.words)
        lines = ["| " + " | ".join(row) + " |" for row in [escaped[0], ruler, *escaped[1:]]]
        return "\n".join([f"### {self.title}", "", *([self.note, ""] if self.note else []), *lines])


def interval(worst: Robust) -> str:
    return f"{100 * worst.share:.1f} ({100 * worst.low:.1f}–{100 * worst.high:.1f})"


def headline(section: Section, say: Catalog) -> Table:
    """Robust stealer accuracy beside the naive number, for each defense."""
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
    """ "trusted" in the reader's language; the names of flags as they are in the docs."""
    return say("trusted") if text == "trusted" else text


def utility(section: Section, say: Catalog) -> Table:
    """What each defense leaves to honest clients."""
    measured = {it: section.results.utility(it) for it in section.defenses if section.results.utility(it)}
    metrics = [known for known in group("utility") if any(known.name in scores for scores in measured.values())]
    heads = [say("Defense"), *(known.label(say.name) for known in metrics)]
    rows = [[name, *(known.shown(scores) for known in metrics)] for name, scores in measured.items()]
    return Table(say("utility title"), heads, rows, say("utility note"))


def cost(section: Section, say: Catalog) -> Table:
    """What 1,000 queries cost the owner."""
    measured = {it: section.results.utility(it) for it in section.defenses if section.results.utility(it)}
    rows = [[name, *(_short(scores.get(known.name)) for known in group("cost"))] for name, scores in measured.items()]
    heads = [say("Defense"), *(known.label(say.name) for known in group("cost"))]
    return Table(say("cost title"), heads, rows, say("cost note"))


def price(section: Section, per_1000: float, say: Catalog) -> Table:
    """What each budget costs the thief, and what the worst case gets for it."""
    rows = []
    for budget in section.budgets:
        worst = [section.robust(name, budget) for name in section.defenses]
        shown = ["" if it is None else interval(it) for it in worst]
        rows.append([f"{budget:,}", f"{budget / 1000 * per_1000:,.2f}", *shown])
    heads = [say("Queries"), say("Price"), *section.defenses]
    return Table(say("price title"), heads, rows, say("price note", price=f"{per_1000:g}"), words=0)


def springboard(section: Section, say: Catalog) -> Table:
    """What the surrogates make possible, where that was measured."""
    landing = group("springboard")
    heads = [*map(say, ("Defense", "Attack", "Queries")), *(known.label(say.name) for known in landing)]
    rows = [
        [defense, attack, f"{budget:,}", *(known.shown(scores) for known in landing)]
        for defense, attack, budget, scores in section.springboard()
    ]
    return Table(say("springboard title"), heads, rows, say("springboard note"), words=2)


def published(section: Section, expected: Iterable[PublishedValue], say: Catalog) -> Table:
    """Published numbers beside what was measured."""
    heads = [say(it) for it in ("Defense", "Attack", "Score", "Source", "Queries", "Published", "Measured")]
    rows = []
    for it in expected:
        found = measured(section.results, it)
        queries = f"{it.budget:,}" if it.budget else ""
        shown = "" if found is None else f"{found:.4g}"
        rows.append([it.defense, it.attack, it.score, it.source, queries, f"{it.value:.4g}", shown])
    return Table(say("expected title"), heads, rows, say("expected note"), words=4)


def thefts(section: Section, say: Catalog) -> Table:
    """All thefts, averaged over seeds."""
    shares = group("theft")
    heads = [*map(say, ("Defense", "Attack", "Queries", "Seeds")), *(known.label(say.name) for known in shares)]
    rows = [
        [it.defense, it.attack, f"{it.budget:,}", f"{it.seeds}", *(_share(it, known.name) for known in shares)]
        for it in section.lines
    ]
    return Table(say("thefts title"), heads, rows, say("thefts note"), words=2)


def failures(section: Section, say: Catalog) -> Table:
    """The cells that failed, with their errors."""
    heads = [say(it) for it in ("Defense", "Attack", "Queries", "Seed", "Error")]
    rows = [[it.defense, it.attack, f"{it.budget:,}", f"{it.seed}", it.error] for it in section.results.failed]
    return Table(say("failed title"), heads, rows, say("failed note"), words=5, english=5)


def flags(section: Section, say: Catalog) -> list[Table]:
    """For every flag what it means, and the attacks on every defense that have it."""
    heads = [say(it) for it in ("Defense", "Queries", "Attacks")]
    return [
        Table(flag, heads, [[name, f"{budget:,}", _flagged(it)] for (name, budget), it in at.items()],
              meaning(flag, say), words=3)
        for flag, at in section.suspected().items()
    ]  # fmt: skip


def meaning(flag: str, say: Catalog) -> str:
    """What a flag means; a later version's may be unknown here."""
    bounds = {"explained": f"{checks.EXPLAINED:.0%}", "seeds": checks.SEEDS}
    return say(f"flag {flag}" if f"flag {flag}" in say else "flag unknown", **bounds)


def _flagged(attacks: Mapping[str, Sequence[str]]) -> str:
    """Attacks with the numbers of their seeds; those with the same together."""
    alike: dict[str, list[str]] = {}
    for attack, numbers in attacks.items():
        alike.setdefault(", ".join(dict.fromkeys(numbers)), []).append(attack)
    return "; ".join("; ".join(names) + (f" ({seeds})" if seeds else "") for seeds, names in alike.items())


def _share(line: ResultRow, score: str) -> str:
    low, high = line.intervals[score]
    return f"{100 * line.scores[score]:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"
