"""Reports of results: one HTML page, and its tables in Markdown."""

import functools
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from feint._optional import available, require
from feint.data import Split
from feint.evaluation.results import Results
from feint.i18n import Catalog
from feint.recipes.store import atomic_write
from feint.report import heatmap, tables
from feint.report.blocks import Extras, blocks, numbers, with_ids
from feint.report.images import ImageExamples
from feint.report.published import PublishedValue
from feint.report.section import Section, sections
from feint.report.text import describe, sentences
from feint.service import Service

__all__ = ["ImageExamples", "Report", "check", "sentences", "write"]


def check() -> None:
    """Raise `MissingData` for a missing package, before an hour of measuring rather than after it."""
    for module in ("jinja2", "matplotlib", "sklearn"):
        available(module, "report")


def write(
    path: Path,
    results: Results,
    services: Mapping[str, Service],
    test: Split,
    *,
    title: str,
    language: str = "en",
    price: float | None = None,
) -> None:
    """Write the report of results on one victim.

    `MissingData` is raised for a missing package, `NotWritten` where the page cannot be written.

    Args:
        path: The HTML file.
        results: Rows of one victim.
        services: The victim behind each defense, by the name of the defense; the undefended one first.
        test: Test inputs for the t-SNE figures.
        title: Title of the page.
        language: "en" or "zh".
        price: Price of 1,000 queries; None leaves the table of prices out.
    """
    examples = dict.fromkeys(results.names("victim") or [""], ImageExamples(services, test))
    Report(results, title, Catalog(language), examples=examples, price=price).write(path)


@dataclass(frozen=True)
class Report:
    """A report of results.

    Attributes:
        results: Rows of any victims; each victim has a section.
        title: Title of the page.
        say: Texts in the language of the page.
        examples: Services and inputs for the t-SNE figures, by the victim's name.
        expected: Published values to compare with.
        price: Price of 1,000 queries; None leaves the table of prices out.
        pictures: Whether the page has t-SNE figures.
    """

    results: Results
    title: str
    say: Catalog = field(default_factory=Catalog)
    examples: Mapping[str, ImageExamples] = field(default_factory=dict)
    expected: Sequence[PublishedValue] = ()
    price: float | None = None
    pictures: bool = True

    def write(self, path: Path) -> None:
        """Write the page to `path`. Raises `MissingData` or `NotWritten`."""
        page = self._page(_docs_from(path))
        with atomic_write(path) as partial:
            partial.write_text(page, "utf-8")

    @functools.cached_property
    def sections(self) -> list[Section]:
        """The rows of each victim."""
        return sections(self.results)

    def markdown(self) -> str:
        """Return the texts and tables in Markdown."""
        parts = [f"# {self.title}"]
        for section in self.sections:
            parts += [f"## {self.say('victim', name=section.name)}", *describe(section, self.say)]
            parts += [table.markdown for table in self._tables(section)]
        return "\n\n".join(parts)

    def _tables(self, section: Section) -> list[tables.Table]:
        say, shown = self.say, [tables.headline(section, self.say)]
        for budget in section.budgets:
            title = f"{say('matrix title')}: {say('matrix caption', budget=f'{budget:,}')}"
            shown.append(heatmap.heat_map(section, budget, say).table(title, ""))
        shown += [*numbers(section, self._extras(section), say), tables.thefts(section, say)]
        shown += [replace(flag, title=f"{say('flags title')}: {flag.title}") for flag in tables.flags(section, say)]
        shown.append(tables.failures(section, say))
        return [table for table in shown if table.rows]

    def _extras(self, section: Section) -> Extras:
        victim = next(iter(section.results)).victim
        expected = [value for value in self.expected if value.victim == victim]
        return Extras(self.price, expected, self.examples.get(victim), self.pictures)

    def _page(self, docs: str) -> str:
        jinja2 = require("jinja2", "report")
        parts = [self._part(section, number) for number, section in enumerate(self.sections, 1)]
        words = {name: json.dumps(self.say(name), ensure_ascii=False) for name in ("copy", "copied")}
        return jinja2.Environment(autoescape=True, trim_blocks=True).from_string(_file("page.html")).render(
            title=self.title,
            language={"zh": "zh-CN"}.get(self.say.name, self.say.name),
            subtitle=self._subtitle(),
            parts=parts,
            say=self.say,
            colour=heatmap.colour,
            docs=docs,
            style=_file("page.css"),
            script=_file("page.js") % words,
        )  # fmt: skip

    def _part(self, section: Section, number: int) -> dict[str, Any]:
        shown = with_ids(blocks(section, self._extras(section), self.say), f"part-{number}")
        return {
            "id": f"part-{number}",
            "heading": self.say("victim", name=section.name),
            "sentences": describe(section, self.say),
            "blocks": shown,
            "contents": [(block.id, block.title) for block in shown],
        }

    def _subtitle(self) -> str:
        """Return the number of rows, and the machines and versions of their runs."""
        none, runs = self.say("no revision"), [row.provenance for row in self.results]
        machines = dict.fromkeys(self.say("machine", **{**run, "revision": run["revision"] or none}) for run in runs)
        return self.say("subtitle", rows=f"{len(self.results):,}", machines="; ".join(machines))


def _file(name: str) -> str:
    return importlib.resources.files("feint.report").joinpath(name).read_text("utf-8")


def _docs_from(path: Path) -> str:
    """Return the link from the page at `path` to the page of checks, or "" where it lies in no checkout."""
    for up, folder in enumerate(path.resolve().parents):
        if (folder / "docs" / "reference" / "checks.md").is_file():
            return "../" * up + "docs/reference/checks.md"
    return ""
