"""Command `feint demo`."""

from pathlib import Path

from feint.cli.app import STUDY, app
from feint.cli.common import require_at_least


@app.command(group=STUDY)
def demo(
    *, data: str = "digits", out: Path | None = None, weights: Path | None = None, seeds: int = 3, collect: bool = False
) -> None:
    """Train a victim, defend it and steal it: a table in the terminal and a report in HTML.

    Example: `feint demo`

    Args:
        data: digits (ships with Feint), fashion_mnist or cifar10.
        out: Directory of all results (default: feint-demo/DATA). Existing results are not made again.
        weights: An .npz of published weights for the victim, which is not trained then.
        seeds: Number of seeds of each theft.
        collect: At the end, write all rows to OUT.jsonl, one file to publish, and their shared recipes to recipes.json
            beside it.
    """
    from feint import report
    from feint.bench import demo
    from feint.cli.terminal import bars, print_results
    from feint.evaluation import jsonl
    from feint.service import Service

    report.check()
    out = out or Path("feint-demo") / data
    with bars() as progress:
        done = demo.run(data, out, weights=weights, seeds=range(require_at_least(1, seeds, "seeds")), progress=progress)
        progress.step("report", 0, 1)
        services = {name: Service(done.victim, defense) for name, defense in done.defenses.items()}
        title = f"What an attacker gets: {done.setting.network} on {data}"
        report.write(out / "report.html", done.results, services, done.data.test, title=title)
        progress.step("report", 1, 1)
    print_results(done.results)
    for sentence in report.sentences(done.results):
        print(f"\n{sentence}")
    print(f"\nThe report, with curves, pictures and every recipe: {out / 'report.html'}")
    if collect:
        print(f"The rows in one file: {jsonl.collect(out / 'rows', jsonl.beside(out))}")
