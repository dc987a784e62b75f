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
    folder: Path,
    /,
    *more: Path,
    out: Path | None = None,
    lang: str = "en",
    price_per_1000: float | None = None,
    pictures: bool = True,
) -> None:
    """Say what the rows of a bench mean: tables in Markdown here, and a page with figures to open.

    Rows of several directories are put together, as those of several machines; each victim has its own section.

    Example: `feint report feint-bench/quick --price-per-1000 1.5`

    Parameters
    ----------
    folder
        A directory of rows, as feint bench and feint demo write them.
    more
        More of them.
    out
        The page to write (default: report.html in the first directory).
    lang
        en or zh.
    price_per_1000
        What 1,000 queries cost a client, in any currency: the report says what each theft costs.
    pictures
        Draw answers and features by t-SNE, some seconds for each defense, where victim and defenses are kept beside
        the rows. Use --no-pictures to leave them out.
    """
    from feint import report
    from feint.i18n import Catalog

    folders, say = (folder, *more), Catalog(lang)
    report.check()
    if price_per_1000 is not None and not 0 <= price_per_1000 < float("inf"):
        raise BadInput(f"--price-per-1000 {price_per_1000:g}", "0 or more", "change it")
    results = _merged(folders)
    suites = {it: suite for it in folders if (suite := _suite(it)) is not None}
    made = report.Report(
        results,
        _title(folders, suites),
        say,
        looks=_looks(suites, results) if pictures and suites else {},
        expected=list(dict.fromkeys(row for suite in suites.values() for row in suite.expected)),
        price=price_per_1000,
        pictures=pictures,
    )
    out = out or folder / "report.html"
    made.write(out)
    print(made.markdown())
    print(f"\n{out}", file=sys.stderr)


def _merged(folders: tuple[Path, ...]) -> "Results":
    """The rows of all folders. Raises `MissingData` for one without a row."""
    from feint.evaluation.results import Results

    results = Results()
    for folder in folders:
        rows = Results.load(folder)
        if not len(rows):
            raise MissingData(
                f"{folder}, without a row", "a directory that feint bench wrote", "name one that has rows"
            )
        results = results.merge(rows)
    return results


def _suite(folder: Path) -> "Suite | None":
    file = folder / "suite.toml"
    if not file.is_file():
        return None
    from feint import bench

    return bench.load(str(file))


def _title(folders: tuple[Path, ...], suites: "dict[Path, Suite]") -> str:
    return " · ".join(dict.fromkeys(suites[it].title if it in suites else it.resolve().name for it in folders))


def _looks(suites: "dict[Path, Suite]", results: "Results") -> "dict[str, ImageExamples]":
    """What the pictures of each victim are made of, where its suite still has victim and defenses beside the rows."""
    from feint import data
    from feint.bench.prepare import ArtifactStore
    from feint.defense import Defense, Ladder
    from feint.report import ImageExamples
    from feint.service import Service

    found: dict[str, ImageExamples] = {}
    for folder, suite in suites.items():
        shelf = ArtifactStore(suite, folder / ".work")
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
