"""Command `feint bench`."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import STUDY, app
from feint.cli.common import require_at_least
from feint.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from feint.bench import Suite
    from feint.evaluation.results import Results
    from feint.runners import Runner


@app.command(group=STUDY)
def bench(
    suite: str,
    /,
    *,
    out: Path | None = None,
    runner: str = "processes",
    workers: int | None = None,
    gpus: float = 0.0,
    address: str | None = None,
    seeds: int | None = None,
    only: str = "",
    dry_run: bool = False,
    collect: bool = False,
) -> None:
    """Run a suite: every attack through every lens on every defense of every victim, a row for each.

    Existing rows are not run again, also those of OUT.jsonl: run the same command again to continue. Several commands
    may share a directory. A failed cell is stored as a row with its error, the others go on, and the exit code is 1.

    Example: `feint bench quick --seeds 1`

    Args:
        suite: TOML file, or the name of a suite of Feint: quick, fashion_mnist, cifar10, gtsrb, …
        out: Directory of the rows (default: feint-bench/SUITE).
        runner: processes (one thread each), ray, or here: one cell after another in this process.
        workers: Number of processes (default: one for each core).
        gpus: Share of a GPU for each cell, like 0.25, with ray.
        address: Address of a cluster, with ray (default: RAY_ADDRESS, or a cluster started on this machine).
        seeds: Number of seeds of each theft, instead of those of the suite.
        only: Regular expression: run the cells whose "victim, defense, attack, budget" it matches.
        dry_run: Print the cells, their queries and an estimate of their time, and run nothing.
        collect: At the end, write all rows to OUT.jsonl, one file to publish, and their shared recipes to recipes.json
            beside it.

    Raises:
        BadInput: If --only matches no cell.
    """
    from feint import bench as suites

    chosen = suites.load(suite)
    if seeds is not None:
        chosen = chosen.with_seeds(require_at_least(1, seeds, "seeds"))
    out = out or Path("feint-bench") / Path(suite).stem
    mapped = _runner(runner, workers, gpus, address)
    if not chosen.cells(only):
        raise BadInput(
            f"--only {only!r}, which matches no cell", "an expression that matches some", "try it with --dry-run"
        )
    if dry_run:
        _print_plan(chosen, only, out, workers if runner == "processes" else 1)
        return
    results = _run(chosen, suites.place(suite), only, out, mapped)
    _print_end(results, chosen, _collected(out) if collect else out)


def _runner(name: str, workers: int | None, gpus: float, address: str | None) -> "Runner":
    """Return the runner of this name with its options, or raise `UnknownName` or `BadInput`."""
    from functools import partial

    from feint import runners

    options = {"workers": workers, "gpus": gpus or None, "address": address}
    runs: dict[str, tuple[Runner, tuple[str, ...]]] = {
        "here": (map, ()),
        "processes": (runners.processes, ("workers",)),
        "ray": (runners.ray, ("gpus", "address")),
    }
    if name not in runs:
        raise UnknownName.among("runner", name, runs)
    run, takes = runs[name]
    chosen = {option: value for option, value in options.items() if value is not None}
    for option in chosen:
        if option not in takes:
            expected = " and ".join(f"--{known}" for known in takes) or "no further option"
            raise BadInput(f"--{option} with the runner {name}", expected, "leave it out, or choose another runner")
    return partial(run, **chosen) if chosen else run


def _run(suite: "Suite", file: Path, only: str, out: Path, runner: "Runner") -> "Results":
    from feint.bench import executor, prepare
    from feint.cli.terminal import Lines, bars
    from feint.models.cache import cached_in
    from feint.recipes.store import atomic_write

    work = out / ".work"
    with bars(elsewhere=Lines) as progress, cached_in(work / "trainings"):
        with atomic_write(out / "suite.toml") as partial:
            partial.write_text(file.read_text())
        matrices = prepare.matrices(suite, work, progress=progress, map=runner, only=only)
        return executor.run(matrices, folder=out, map=runner, progress=progress)


def _print_plan(suite: "Suite", only: str, out: Path, workers: int | None) -> None:
    import os
    from datetime import timedelta

    from feint.bench.estimate import estimate
    from feint.bench.plan import lines
    from feint.evaluation.results import Results

    cells = suite.cells(only)
    print("\n".join(lines(suite, cells)))
    estimated = estimate(suite, cells, Results.load(out))
    if estimated.seconds is None:
        print(f"No estimate of the time: it rests on {estimated.rests_on}")
        return
    workers = workers or os.cpu_count() or 1
    on = f"{workers} worker{'s' if workers > 1 else ''}"
    duration = timedelta(seconds=round(estimated.seconds / workers))
    print(f"About {duration} (h:mm:ss) on {on}, victims and defenses apart. It rests on: {estimated.rests_on}")


def _collected(out: Path) -> Path:
    from feint.evaluation import jsonl

    return jsonl.collect(out)


def _print_end(results: "Results", suite: "Suite", out: Path) -> None:
    from feint.cli.terminal import print_results, print_robust

    for victim in results.names("victim"):
        print(f"{suite.title}: {victim}")
        print_robust(results.on(victim))
        print_results(results.on(victim))
    for line in _published(results, suite):
        print(line)
    for row in results.failed:
        cell = ", ".join(part for part in (row.victim, row.defense, row.attack, f"{row.budget} queries") if part)
        print(f"feint: failed: {cell}, seed {row.seed}: {row.error}", file=sys.stderr)
    print(f"\n{len(results)} rows in {out}. Next: {shlex.join(['feint', 'report', str(out)])}")
    if results.failed:
        count = f"{len(results.failed)} cell{'' if len(results.failed) == 1 else 's'}"
        print(f"feint: {count} failed; run the same command again to retry.", file=sys.stderr)
        sys.exit(1)


def _published(results: "Results", suite: "Suite") -> list[str]:
    """Return the lines that compare published values with those measured here, where both exist."""
    from feint.report.published import measured

    lines = []
    for row in suite.expected:
        value = measured(results.on(row.victim), row)
        if value is not None:
            of = ", ".join([row.victim, row.defense, *([row.attack, f"{row.budget:,} queries"] if row.attack else [])])
            lines.append(f"  {row.score} of {of}: {value:.4f} here, {row.value:.4f} in {row.source}")
    return ["Published beside measured:", *lines] if lines else []
