"""`feint bench`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feint.cli.app import app
from feint.cli.common import require_at_least
from feint.errors import BadInput, UnknownName

if TYPE_CHECKING:
    from feint.bench import Suite
    from feint.evaluation.results import Results
    from feint.runners import Runner


@app.command
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

    Rows that are there are not made again: the same command continues, and several may share a directory. A cell that
    fails is a row with its error, the others go on, and the exit code is 1. Rows in OUT.jsonl are there, too.

    Example: `feint bench quick --seeds 1`

    Parameters
    ----------
    suite
        A TOML file, or the name of a suite that comes with Feint: quick, fashion_mnist, cifar10, gtsrb, …
    out
        The directory of the rows (default: feint-bench/SUITE).
    runner
        processes (of one thread each), ray, or here: one cell after the other in this process.
    workers
        How many processes (default: as many as there are cores).
    gpus
        With ray, the share of a GPU that a cell needs, like 0.25.
    address
        With ray, the address of a cluster (default: RAY_ADDRESS, or one that is started on this machine).
    seeds
        How many times each theft is repeated, instead of what the suite says.
    only
        An expression: run the cells whose "victim, defense, attack, budget" has a match for it.
    dry_run
        Print the cells, how many queries they ask and how long they may take, and run nothing.
    collect
        At the end, write all rows to OUT.jsonl, one file to publish, with what they share in recipes.json beside it.
    """
    from feint import bench as suites

    chosen = suites.load(suite)
    if seeds is not None:
        chosen = chosen.with_seeds(require_at_least(1, seeds, "seeds"))
    out = out or Path("feint-bench") / Path(suite).stem
    mapped = _runner(runner, workers, gpus, address)
    if not chosen.cells(only):
        raise BadInput(
            f"--only {only!r}, which finds no cell", "an expression that finds some", "try it with --dry-run"
        )
    if dry_run:
        _print_plan(chosen, only, out, workers if runner == "processes" else 1)
        return
    results = _run(chosen, suites.place(suite), only, out, mapped)
    _print_end(results, chosen, _collected(out) if collect else out)


def _runner(name: str, workers: int | None, gpus: float, address: str | None) -> "Runner":
    """The runner of this name, with what was said of it. Raises `UnknownName` or `BadInput`."""
    from functools import partial

    from feint import runners

    given = {"workers": workers, "gpus": gpus or None, "address": address}
    known: dict[str, tuple[Runner, tuple[str, ...]]] = {
        "here": (map, ()),
        "processes": (runners.processes, ("workers",)),
        "ray": (runners.ray, ("gpus", "address")),
    }
    if name not in known:
        raise UnknownName.among("runner", name, known)
    run, takes = known[name]
    said = {key: value for key, value in given.items() if value is not None}
    for key in said:
        if key not in takes:
            options = " and ".join(f"--{it}" for it in takes) or "nothing more to say"
            raise BadInput(f"--{key} with the runner {name}", options, "leave it out, or choose another runner")
    return partial(run, **said) if said else run


def _run(suite: "Suite", file: Path, only: str, out: Path, runner: "Runner") -> "Results":
    from feint.bench import executor, prepare
    from feint.cli.terminal import Lines, bars
    from feint.recipes.store import atomic_write

    work = out / ".work"
    with bars(elsewhere=Lines) as progress:
        progress.folder = work / "trainings"
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
    found = estimate(suite, cells, Results.load(out))
    if found.seconds is None:
        print(f"No estimate of the time: it rests on {found.rests_on}")
        return
    workers = workers or os.cpu_count() or 1
    on = f"{workers} worker{'s' if workers > 1 else ''}"
    duration = timedelta(seconds=round(found.seconds / workers))
    print(f"About {duration} (h:mm:ss) on {on}, victims and defenses apart. It rests on: {found.rests_on}")


def _collected(out: Path) -> Path:
    from feint.evaluation import jsonl

    return jsonl.collect(out)


def _print_end(results: "Results", suite: "Suite", out: Path) -> None:
    from feint.cli.terminal import print_results, print_robust

    for victim in results.names("victim"):
        print(f"{suite.title}: {victim}")
        print_robust(results.on(victim))
        print_results(results.on(victim))
    for line in _beside(results, suite):
        print(line)
    for row in results.failed:
        named = ", ".join(it for it in (row.victim, row.defense, row.attack, f"{row.budget} queries") if it)
        print(f"feint: failed: {named}, seed {row.seed}: {row.error}", file=sys.stderr)
    print(f"\n{len(results)} rows in {out}. Next: feint report {out}")
    if results.failed:
        count = f"{len(results.failed)} cell{'' if len(results.failed) == 1 else 's'}"
        print(f"feint: {count} failed; the same command tries them again.", file=sys.stderr)
        sys.exit(1)


def _beside(results: "Results", suite: "Suite") -> list[str]:
    """What was published beside what was measured here, where there is both."""
    from feint.report.published import measured

    said = []
    for row in suite.expected:
        found = measured(results.on(row.victim), row)
        if found is not None:
            of = ", ".join([row.victim, row.defense, *([row.attack, f"{row.budget:,} queries"] if row.attack else [])])
            said.append(f"  {row.score} of {of}: {found:.4f} here, {row.value:.4f} in {row.source}")
    return ["Published beside measured:", *said] if said else []
