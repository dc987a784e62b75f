"""Blocks of a page in their order: tables, figures and recipes, each with a title."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from feint.evaluation.checks import verdict
from feint.evaluation.results import Row
from feint.i18n import Catalog
from feint.report import heatmap, plots, tables
from feint.report.images import Figure, ImageExamples, pictures
from feint.report.published import PublishedValue
from feint.report.section import Section
from feint.report.tables import Table

FOLDED = 12  # lines; a longer table is folded


class Recipe(NamedTuple):
    """The recipe of a row, to copy, with the verdict on the row."""

    title: str
    verdict: str
    trusted: bool
    text: str


@dataclass(frozen=True)
class Block:
    """A part of the page under one heading, with a table, figures or recipes.

    Attributes:
        title: Heading.
        note: Text under the heading.
        table: Table.
        kind: CSS class of the figures.
        folded: Whether the table is folded at first.
        forest: Rows of the headline table, each with the marks of its small figure.
        maps: Heat maps, one for each budget.
        figures: Figures.
        listed: Names of the numbered points in a figure.
        flags: A table for each flag.
        recipes: Recipes of rows.
        id: Anchor in the page.
    """

    title: str
    note: str = ""
    table: Table | None = None
    kind: str = ""
    folded: bool = False
    forest: Sequence[tuple[Sequence[str], dict[str, Any]]] = ()
    maps: Sequence[heatmap.HeatMap] = ()
    figures: Sequence[Figure] = ()
    listed: Sequence[str] = ()
    flags: Sequence[Table] = ()
    recipes: Sequence[Recipe] = ()
    id: str = ""


@dataclass(frozen=True)
class Extras:
    """Optional content of a section beside its rows.

    Attributes:
        price: Price of 1,000 queries.
        expected: Published values of the section's victim.
        examples: Services and inputs for the t-SNE figures.
        pictures: Whether the section has t-SNE figures.
    """

    price: float | None = None
    expected: Sequence[PublishedValue] = ()
    examples: ImageExamples | None = None
    pictures: bool = True


def blocks(section: Section, extras: Extras, say: Catalog) -> Iterator[Block]:
    """Yield the blocks of a section, without empty ones."""
    yield _headline(section, say)
    if len(section.places()) > 1:
        yield _pareto(section, say)
    if len(section.budgets) > 1:
        yield _curves(section, say)
    if section.budgets:
        maps = [heatmap.heat_map(section, budget, say) for budget in section.budgets]
        yield Block(say("matrix title"), say("matrix note"), maps=maps)
    yield from _tables(section, extras, say)
    yield from _pictures(extras, say)
    if section.lines:
        yield _of(tables.thefts(section, say), folded=len(section.lines) > FOLDED)
    yield _flags(section, say)
    if section.results.failed:
        yield _of(tables.failures(section, say))
    recipes = [_recipe(row, section, say) for row in section.results]
    yield Block(say("recipes title"), say("recipes note"), recipes=recipes)


def _of(table: Table, **more: Any) -> Block:
    return Block(table.title, table.note, table, **more)


def numbers(section: Section, extras: Extras, say: Catalog) -> Iterator[Table]:
    """Return the tables of utility, cost, price, downstream attacks and published values, without empty ones."""
    measured = [tables.utility(section, say), tables.cost(section, say)]
    if extras.price is not None:
        measured.append(tables.price(section, extras.price, say))
    measured += [tables.springboard(section, say), tables.ownership(section, say)]
    measured += [tables.published(section, extras.expected, say)]
    return (table for table in measured if table.rows)


def _tables(section: Section, extras: Extras, say: Catalog) -> Iterator[Block]:
    return (_of(table) for table in numbers(section, extras, say))


def _headline(section: Section, say: Catalog) -> Block:
    table = tables.headline(section, say)
    forest = [(row, _bar(section, name, say)) for row, name in zip(table.rows, section.defenses, strict=True)]
    return Block(table.title, f"{table.note} {say('forest note')}", table, forest=forest)


def _bar(section: Section, defense: str, say: Catalog) -> dict[str, Any]:
    """Return the positions of a defense's marks in its small figure, 4 to 136 for 0 to 100 %."""
    worst, naive = section.robust(defense), section.naive(defense, section.largest(defense))
    marks = {"victim": section.victim_accuracy, "naive": naive and naive.scores["stealer_accuracy"]}
    if worst is not None:
        marks |= {"worst": worst.share, "low": worst.low, "high": worst.high}
    shown = [say("none") if marks.get(mark) is None else f"{marks[mark]:.1%}" for mark in ("worst", "naive")]
    places = {name: f"{4 + 132 * share:.1f}" for name, share in marks.items() if share is not None}
    return {**places, "alt": say("alt forest", worst=shown[0], naive=shown[1])}


def _pareto(section: Section, say: Catalog) -> Block:
    places, front = section.places(), section.pareto()
    listed = [
        say("alt place", name=name, stolen=f"{100 * stolen:.1f}", defended=f"{100 * defended:.2f}")
        for name, (defended, stolen) in places.items()
    ]
    alt = say("alt pareto", front=", ".join(name for name in places if name in front))
    figure = Figure("", plots.pareto(section, say), "", alt)
    note = say("pareto note", budget=f"{section.compared():,}")
    left = [name for name in section.defenses if section.largest(name) and name not in places]
    if left:  # at fewer queries every defense looks better
        note = f"{note} {say('pareto left out', names=', '.join(left))}"
    return Block(say("pareto title"), note, kind="plane", figures=[figure], listed=listed)


def _curves(section: Section, say: Catalog) -> Block:
    stolen = [name for name in section.defenses if section.largest(name)]
    figures = [Figure(name, plots.curve(section, name, say), name, _curve_alt(section, name, say)) for name in stolen]
    return Block(say("curves title"), say("curves note"), kind="panels", figures=figures)


def _curve_alt(section: Section, defense: str, say: Catalog) -> str:
    worst = {budget: section.robust(defense, budget) for budget in section.budgets}
    naive = {budget: section.naive(defense, budget) for budget in section.budgets}
    texts = [
        "; ".join(f"{b:,}: {share:.1%}" for b, share in shares.items()) or say("none")
        for shares in (
            {b: case.share for b, case in worst.items() if case},
            {b: line.scores["stealer_accuracy"] for b, line in naive.items() if line},
        )
    ]
    return say("alt curve", defense=defense, worst=texts[0], naive=texts[1])


def _pictures(extras: Extras, say: Catalog) -> Iterator[Block]:
    if not extras.pictures:
        yield Block(say("no pictures title"), say("pictures off"))
    elif extras.examples is None:
        yield Block(say("no pictures title"), say("no pictures"))
    else:
        for figure in pictures(extras.examples, say):
            yield Block(figure.title, kind="clouds", figures=[figure])


def _flags(section: Section, say: Catalog) -> Block:
    raised = tables.flags(section, say)
    return Block(say("flags title"), say("flags note" if raised else "flags none"), flags=raised)


def _recipe(row: Row, section: Section, say: Catalog) -> Recipe:
    words = {"defense": row.defense, "attack": row.attack, "budget": f"{row.budget:,}", "seed": row.seed}
    flags = section.flags[row.fingerprint]
    judged = verdict(flags)
    text = {"recipe": row.recipe, "flags": [str(flag) for flag in flags], "asked": row.asked, "seconds": row.seconds}
    text["provenance"] = row.provenance
    shown = json.dumps(text, indent=1, ensure_ascii=False)
    title = say("row theft" if row.attack else "row utility", **words)
    return Recipe(title, tables.verdict(judged, say), judged == "trusted", shown)


def with_ids(items: Iterable[Block], prefix: str) -> list[Block]:
    """Return the blocks with unique ids."""
    return [replace(block, id=f"{prefix}-{number}") for number, block in enumerate(items, 1)]
