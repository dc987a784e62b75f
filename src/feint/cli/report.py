"""Command `feint report`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from feint.cli.app import STUDY, app
from feint.errors import BadInput, MissingData

if TYPE_CHECKING:
    from feint.bench import Suite
    from feint.evaluation.results import Results
    from feint.report import ImageExamples


@app.command(group=STUDY)
def report(
    place: Path,
    /,
    *more: Path,
    out: Path | None = None,
    lang: str = "en",
    price_per_1000: float | None = None,
    pictures: Annotated[bool, Parameter(negative="--no-pictures")] = True,
) -> None:
    """Report the rows of a bench: tables in Markdown in the terminal, and an HTML page with figures.

    Rows of several directories or files are joined, as those of several machines; each victim has its own section.

    Example: `feint report feint-bench/quick --price-per-1000 1.5`

    Args:
        place: Directory of rows, as written by feint bench and feint demo, or a file NAME.jsonl of --collect.
        more: Further directories or files.
        out: Page to write (default: report.html in the first directory, or NAME.html beside the file).
        lang: Language, en or zh.
        price_per_1000: Price of 1,000 queries, in any currency, from which the report computes the price of each theft.
        pictures: Draw answers and features by t-SNE, some seconds for each defense, where victim and defenses are
            stored beside the rows. Use --no-pictures to leave them out.

    Raises:
        BadInput: For a negative price.
    """
    from feint import report
    from feint.evaluation.jsonl import folder_of
    from feint.evaluation.results import Results
    from feint.i18n import Catalog

    places, text = (place, *more), Catalog(lang)
    report.check()
    if price_per_1000 is not None and not 0 <= price_per_1000 < float("inf"):
        raise BadInput(f"--price-per-1000 {price_per_1000:g}", "0 or more", "change it")
    rows = {source: _rows(source) for source in places}
    results = Results(row for part in rows.values() for row in part)
    suites = {source: suite for source in places if (suite := _suite(source, rows[source])) is not None}
    page = report.Report(
        results,
        _title(places, suites),
        text,
        examples=_examples(suites, results) if pictures and suites else {},
        expected=list(dict.fromkeys(row for suite in suites.values() for row in suite.expected)),
        price=price_per_1000,
        pictures=pictures,
    )
    out = out or (place / "report.html" if folder_of(place) == place else place.with_suffix(".html"))
    page.write(out)
    print(page.markdown())
    print(f"\n{out}", file=sys.stderr)


def _rows(place: Path) -> "Results":
    """Load the rows of a directory or file, or raise `MissingData` if there is none."""
    from feint.evaluation.results import Results

    rows = Results.load(place)
    if not len(rows):
        raise MissingData(
            f"{place}, without a row", "a directory or file that feint bench wrote", "name one that has rows"
        )
    return rows


def _suite(place: Path, rows: "Results") -> "Suite | None":
    """Return the suite of a directory's or file's rows: as it was run, or else Feint's own suite of the file's name."""
    from feint.evaluation.jsonl import folder_of

    as_run = folder_of(place) / "suite.toml"
    if not as_run.is_file() and folder_of(place) == place:
        return None
    from feint import bench

    if as_run.is_file():
        return bench.load(str(as_run))
    if place.stem not in bench.shipped():
        return None
    chosen = bench.load(place.stem)
    return chosen if set(rows.names("victim")) <= set(chosen.victims) else None  # else only the name is the same


def _title(places: tuple[Path, ...], suites: "dict[Path, Suite]") -> str:
    from feint.evaluation.jsonl import folder_of

    names = (suites[place].title if place in suites else folder_of(place).resolve().name for place in places)
    return " · ".join(dict.fromkeys(names))


def _examples(suites: "dict[Path, Suite]", results: "Results") -> "dict[str, ImageExamples]":
    """Return the images' inputs for each victim that is stored beside the rows, with all its defenses."""
    from feint import data
    from feint.bench.artifacts import ArtifactStore
    from feint.defense import Defense, Ladder
    from feint.evaluation.jsonl import folder_of
    from feint.report import ImageExamples
    from feint.service import Service

    examples: dict[str, ImageExamples] = {}
    for place, suite in suites.items():
        artifacts = ArtifactStore(suite, folder_of(place) / ".work")
        for victim in suite.victims:
            names = [name for name in results.on(victim).names("defense") if name in suite.on(victim)]
            stored = artifacts.has((victim,)) and all(artifacts.has((victim, name)) for name in names)
            if victim in examples or not stored:
                continue
            model, test = artifacts.victim(victim), data.load(suite.victims[victim].data).test
            defenses = {name: artifacts.defense(victim, name) for name in names}
            services = {
                name: Service(model, defense) if isinstance(defense, (Defense, Ladder)) else defense
                for name, defense in defenses.items()
                if defense != Defense()
            }
            examples[victim] = ImageExamples({"": Service(model, Defense()), **services}, test)
    return examples
