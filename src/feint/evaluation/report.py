"""One HTML page that says what was measured, and needs nothing else to be read."""

import importlib.resources
import json
from dataclasses import dataclass
from pathlib import Path

from feint.data import Split
from feint.evaluation import figures
from feint.evaluation.results import Results, Row
from feint.evaluation.summary import HEADS, cells, sentences, worst_case
from feint.extras import need
from feint.query import Query
from feint.service import Service
from feint.store import written
from feint.victims import predict

SHOWN = 500  # test inputs in the t-SNE pictures: it takes 2 s for so many


@dataclass(frozen=True)
class Figure:
    """A figure with its title and what it shows."""

    title: str
    svg: str
    caption: str


def check() -> None:
    """Raise `MissingData` where a package that a report needs is not there: better now than after an hour."""
    for module in ("jinja2", "matplotlib", "sklearn"):
        need(module, "report")


def write(path: Path, results: Results, services: dict[str, Service], test: Split, *, title: str) -> None:
    """Write the report of `results` to `path`; `services` by the name of their defense, the undefended one first."""
    jinja2 = need("jinja2", "report")
    template = importlib.resources.files("feint.evaluation").joinpath("report.html").read_text()
    where = next(iter(results)).provenance
    worst = [worst_case(results, defense) for defense in results.names("defense")]
    page = (
        jinja2.Environment(autoescape=True)
        .from_string(template)
        .render(
            title=title,
            subtitle=f"{len(results)} rows · Feint {where['feint']} at {where['revision'] or 'no revision'} · torch "
            f"{where['torch']} · {where['device']}, {where['threads']} threads",
            sentences=sentences(results),
            heads=HEADS,
            rows=[(line in worst, cells(line)) for line in results.lines()],
            figures=_figures(results, services, test),
            recipes=[_recipe(row) for row in results],
        )
    )
    with written(path) as partial:
        partial.write_text(page)


def _figures(results: Results, services: dict[str, Service], test: Split) -> list[Figure]:
    curve = figures.budget_curve(results)
    theft = figures.utility_against_theft(results)
    shown = [
        Figure(
            "Budget curve",
            figures.svg(curve),
            "Accuracy of the stolen copy after so many queries; bands are 95 % intervals over seeds and test set.",
        ),
        Figure(
            "Utility against theft",
            figures.svg(theft),
            "What a defense costs an honest client (right is worse) and what a thief gets with the largest budget "
            "(up is worse). Hollow: each attack. Filled: the worst case.",
        ),
    ]
    x = test.inputs(slice(0, SHOWN))
    for name, service in list(services.items())[1:]:
        before, after = predict(service.model, x), service(Query(x, client="report")).p
        figure = figures.tsne(before, after, before.argmax(-1), name)
        shown.append(
            Figure(
                f"Answers before and after: {name}",
                figures.svg(figure),
                f"t-SNE of the answers to {len(x)} test inputs, coloured by the victim's own label.",
            )
        )
    return shown


def _recipe(row: Row) -> dict[str, str]:
    what = f"{row.attack}, {row.budget:,} queries, seed {row.seed}" if row.attack else "utility"
    text = {"recipe": row.recipe, "asked": row.asked, "seconds": row.seconds, "provenance": row.provenance}
    return {"title": f"{row.defense} · {what}", "text": json.dumps(text, indent=1, ensure_ascii=False)}
