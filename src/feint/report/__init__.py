"""A report: one HTML page that says what was measured, and needs nothing else to be read; the same in Markdown."""

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
from feint.report.blocks import Extras, blocks, named, numbers
from feint.report.images import ImageExamples
from feint.report.published import PublishedValue
from feint.report.section import Section, sections
from feint.report.text import said, sentences
from feint.service import Service

__all__ = ["ImageExamples", "Report", "check", "sentences", "write"]


def check() -> None:
    """Raise `MissingData` where a package that a report needs is not there: better now than after an hour."""
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
    """Write the report of `results` on one victim to `path`; `services` by the name of their defense, the undefended
    one first."""
    looks = dict.fromkeys(results.names("victim") or [""], ImageExamples(services, test))
    Report(results, title, Catalog(language), looks=looks, price=price).write(path)


@dataclass(frozen=True)
class Report:
    """What a report is made of: rows, and where they are known what pictures are made of, by the victim's name.

    `price` is what 1,000 queries cost a client.
    """

    results: Results
    title: str
    say: Catalog = field(default_factory=Catalog)
    looks: Mapping[str, ImageExamples] = field(default_factory=dict)
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
        """The rows apart by their victim."""
        return sections(self.results)

    def markdown(self) -> str:
        """The tables in Markdown."""
        parts = [f"# {self.title}"]
        for section in self.sections:
            parts += [f"## {self.say('victim', name=section.name)}", *said(section, self.say)]
            parts += [table.markdown for table in self._tables(section)]
        return "\n\n".join(parts)

    def _tables(self, section: Section) -> list[tables.Table]:
        say, found = self.say, [tables.headline(section, self.say)]
        for budget in section.budgets:
            title = f"{say('matrix title')}: {say('matrix caption', budget=f'{budget:,}')}"
            found.append(heatmap.heat_map(section, budget, say).table(title, ""))
        found += [*numbers(section, self._extras(section), say), tables.thefts(section, say)]
        found += [replace(it, title=f"{say('flags title')}: {it.title}") for it in tables.flags(section, say)]
        found.append(tables.failures(section, say))
        return [table for table in found if table.rows]

    def _extras(self, section: Section) -> Extras:
        victim = next(iter(section.results)).victim
        expected = [it for it in self.expected if it.victim == victim]
        return Extras(self.price, expected, self.looks.get(victim), self.pictures)

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
        found = named(blocks(section, self._extras(section), self.say), f"part-{number}")
        return {
            "id": f"part-{number}",
            "heading": self.say("victim", name=section.name),
            "sentences": said(section, self.say),
            "blocks": found,
            "contents": [(block.id, block.title) for block in found],
        }

    def _subtitle(self) -> str:
        """How many rows there are, and the machines and versions that they come from."""
        none, made = self.say("no revision"), [row.provenance for row in self.results]
        machines = dict.fromkeys(self.say("machine", **{**it, "revision": it["revision"] or none}) for it in made)
        return self.say("subtitle", rows=f"{len(self.results):,}", machines="; ".join(machines))


def _file(name: str) -> str:
    return importlib.resources.files("feint.report").joinpath(name).read_text("utf-8")


def _docs_from(path: Path) -> str:
    """Where the page at `path` finds docs/reference/checks.md, if it lies in a checkout; nothing elsewhere."""
    for up, folder in enumerate(path.resolve().parents):
        if (folder / "docs" / "reference" / "checks.md").is_file():
            return "../" * up + "docs/reference/checks.md"
    return ""
