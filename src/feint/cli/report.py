"""`feint report`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import app
from feint.errors import BadInput, MissingData

if TYPE_CHECKING:
    from feint.bench import Suite
    from feint.evaluation.results import Results
    from feint.report import ImageExamples


@app.command
def report(
    place: Path,
    /,
    *more: Path,
    out: Path | None = None,
    lang: str = "en",
    price_per_1000: float | None = None,
    pictures: bool = True,
) -> None:
    """Say what the rows of a bench mean: tables in Markdown here, and a page with figures to open.

    Rows of several places are put together, as those of several machines; each victim has its own section.

    Example: `feint report feint-bench/quick --price-per-1000 1.5`

    Parameters
    ----------
    place
        A directory of rows, as feint bench and feint demo write them, or a file NAME.jsonl that --collect made of one.
    more
        More of them.
    out
        The page to write (default: report.html in the first directory, or NAME.html beside the file).
    lang
        en or zh.
    price_per_1000
        What 1,000 queries cost a client, in any currency: the report says what each theft costs.
    pictures
        Draw answers and features by t-SNE, some seconds for each defense, where victim and defenses are kept beside
        the rows. Use --no-pictures to leave them out.
    """
    from feint import report
    from feint.evaluation.jsonl import folder_of
    from feint.evaluation.results import Results
    from feint.i18n import Catalog

    places, say = (place, *more), Catalog(lang)
    report.check()
    if price_per_1000 is not None and not 0 <= price_per_1000 < float("inf"):
        raise BadInput(f"--price-per-1000 {price_per_1000:g}", "0 or more", "change it")
    rows = {it: _rows(it) for it in places}
    results = Results(row for some in rows.values() for row in some)
    suites = {it: suite for it in places if (suite := _suite(it, rows[it])) is not None}
    made = report.Report(
        results,
        _title(places, suites),
        say,
        examples=_looks(suites, results) if pictures and suites else {},
        expected=list(dict.fromkeys(row for suite in suites.values() for row in suite.expected)),
        price=price_per_1000,
        pictures=pictures,
    )
    out = out or (place / "report.html" if folder_of(place) == place else place.with_suffix(".html"))
    made.write(out)
    print(made.markdown())
    print(f"\n{out}", file=sys.stderr)


def _rows(place: Path) -> "Results":
    """The rows of a place. Raises `MissingData` where there is none."""
    from feint.evaluation.results import Results

    rows = Results.load(place)
    if not len(rows):
        raise MissingData(f"{place}, without a row", "a place that feint bench wrote", "name one that has rows")
    return rows


def _suite(place: Path, rows: "Results") -> "Suite | None":
    """The suite that a place has rows of: as it was run, else for a file the one of its name that comes with Feint."""
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
    return chosen if set(rows.names("victim")) <= set(chosen.victims) else None  # else the name is a coincidence


def _title(places: tuple[Path, ...], suites: "dict[Path, Suite]") -> str:
    from feint.evaluation.jsonl import folder_of

    names = (suites[place].title if place in suites else folder_of(place).resolve().name for place in places)
    return " · ".join(dict.fromkeys(names))


def _looks(suites: "dict[Path, Suite]", results: "Results") -> "dict[str, ImageExamples]":
    """What the pictures of each victim are made of, where its suite still has victim and defenses beside the rows."""
    from feint import data
    from feint.bench.prepare import ArtifactStore
    from feint.defense import Defense, Ladder
    from feint.evaluation.jsonl import folder_of
    from feint.report import ImageExamples
    from feint.service import Service

    found: dict[str, ImageExamples] = {}
    for place, suite in suites.items():
        shelf = ArtifactStore(suite, folder_of(place) / ".work")
        for victim in suite.victims:
            named = [it for it in results.on(victim).names("defense") if it in suite.on(victim)]
            if victim in found or not shelf.has((victim,)) or not all(shelf.has((victim, it)) for it in named):
                continue
            model, test = shelf.victim(victim), data.load(suite.victims[victim].data).test
            kept = {it: shelf.defense(victim, it) for it in named}
            services = {
                it: Service(model, made) if isinstance(made, (Defense, Ladder)) else made
                for it, made in kept.items()
                if made != Defense()
            }
            found[victim] = ImageExamples({"": Service(model, Defense()), **services}, test)
    return found
