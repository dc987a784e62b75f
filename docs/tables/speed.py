"""Tables of times and memory beside other tools, from results/bench.json."""

import re
from collections.abc import Iterator
from functools import partial

from docs.tables.rows import Row, grid, recorded

ART = "ART 1.20.1"
bench_rows = partial(recorded, "bench.json")


def bench() -> str:
    """Return the table of the benchmarks' times beside other tools."""
    rows = [["What", "Feint", "Instead", "Ratio"], *_apgp(), *_wall(), *_imports()]
    rows += [[f"load {row['data']}", f"{row['seconds']:.3f} s", "", ""] for row in bench_rows("loading")]
    rows += [*_turns(), *_equations(), *_thefts(), *_matrices()]
    for row in bench_rows("memory"):
        rows.append([f"{row['attack']}, {row['asked']:,} queries, peak memory", f"{row['peak_mb']:,.0f} MiB", "", ""])
    return grid(rows)


def _apgp() -> Iterator[list[str]]:
    """Yield the lines of APGP beside ART's reverse sigmoid, the first row of each number of classes."""
    speed = bench_rows("apgp")
    for classes in dict.fromkeys(row["classes"] for row in speed):
        sigmoid, *defenses = (row for row in speed if row["classes"] == classes)
        for row in defenses:
            for key, unit, n in (("ms_10000_rows", "ms", "10,000 answers"), ("us_one_row", "µs", "1 answer")):
                what = f"{row['defense']}, {n} of {classes:,} classes"
                theirs = f"{sigmoid[key]:.3g} {unit} (ART ReverseSigmoid)"
                yield [what, f"{row[key]:.3g} {unit}", theirs, f"{row[key] / sigmoid[key]:.1f}"]


def _wall() -> Iterator[list[str]]:
    """Yield the lines of a service beside the model's bare forward pass, the first row."""
    rows = bench_rows("wall")
    for row in rows[1:]:
        what = f"{row['path']} with no defense, ResNet-20, batch of 128"
        bare = f"{rows[0]['ms_batch_128']:.1f} ms (bare forward)"
        yield [what, f"{row['ms_batch_128']:.1f} ms", bare, f"{row['ratio']:.3f}"]


def _imports() -> Iterator[list[str]]:
    loads = {row["import"]: row["seconds"] for row in bench_rows("imports")}
    for name in ("feint", "feint, all names") if loads else ():
        ratio = f"{loads[name] / loads['torch']:.2f}"
        yield [f"import {name}", f"{loads[name]:.2f} s", f"{loads['torch']:.2f} s (import torch)", ratio]


def _turns() -> Iterator[list[str]]:
    """Yield the lines of the data-free attacks' turns, beside ports of their published loops."""
    rows = bench_rows("data_free")
    timed = {(row["attack"], row["tool"]): 1 / row["turns_a_second"] for row in rows}
    for attack, batch in {row["attack"]: row["batch"] for row in rows}.items():
        what = f"{attack}, a turn in batches of {batch}, LeNet, CPU time"
        yield instead(what, timed[attack, "Feint"], timed[attack, "direct port"], "direct port")


def _equations() -> Iterator[list[str]]:
    solved = {row["tool"]: row for row in bench_rows("equations")}
    if solved:
        ours, theirs = solved["Feint"], solved["random inputs, torch.linalg.solve"]
        what = f"EquationSolving, d = {ours['features']:,}, {ours['asked']:,} queries (the least there can be)"
        cells = [f"{row['seconds']:.2g} s, error {row['relative_error']:.0e}" for row in (ours, theirs)]
        ratio = f"{ours['seconds'] / theirs['seconds']:.2f}"
        yield [what, cells[0], f"{cells[1]} (random inputs, torch.linalg.solve)", ratio]


def _thefts() -> Iterator[list[str]]:
    names = dict.fromkeys(("knockoff", "knockoff_resnet20"), "KnockoffNets")
    names |= {"knockoff_adaptive": "KnockoffNets adaptive", "copycat": "CopycatCNN"}
    for name, attack in names.items():
        if thefts := bench_rows(name):
            yield _theft(thefts, attack)


def _theft(thefts: list[Row], name: str) -> list[str]:
    """Return the line of one theft with both tools, averaged over seeds: processor time, since the schedules differ."""
    seconds = {tool: [row["cpu_seconds"] for row in thefts if row["tool"] == tool] for tool in ("Feint", ART)}
    ours, theirs = (sum(runs) / len(runs) for runs in seconds.values())
    first = thefts[0]
    setting = f"{first['network']}, {first['epochs']} epochs"
    what = f"{name}, {first['asked']:,} queries, Fashion-MNIST, {setting}, CPU time"
    return [what, f"{ours:.1f} s", f"{theirs:.1f} s ({ART})", f"{ours / theirs:.2f}"]


def _matrices() -> Iterator[list[str]]:
    matrices = {row["tool"]: row for row in bench_rows("knockoff_cells")}
    ours = matrices.pop("Feint", {})
    for tool, theirs in matrices.items():
        what = f"KnockoffNets, {ours['cells']} cells: 6 output defenses, as they are and labels only, CPU time"
        cells = [f"{row['cpu_seconds']:.1f} s" for row in (ours, theirs)]
        yield [what, cells[0], f"{cells[1]} ({tool})", f"{ours['cpu_seconds'] / theirs['cpu_seconds']:.2f}"]


def cells() -> str:
    """Return the table of the bench's own cost, and of the gain of a second worker."""
    rows = [["What", "Feint", "Instead", "Ratio"]]
    times = {(row["runner"], row["workers"]): row["seconds"] for row in bench_rows("scaling")}
    count = next((row["cells"] for row in bench_rows("scaling")), 0)
    for runner in dict.fromkeys(runner for runner, _ in times):
        what = f"{count} cells of an MLP on digits, two workers of `{runner}`, their start counted"
        rows.append(instead(what, times[runner, 2], times[runner, 1], "one worker"))
    for row in bench_rows("scheduling"):
        rows.append(instead(f"a cell that does nothing, {row['what']}", row["ms"] / 1000, None, ""))
    for row in bench_rows("reopening"):
        rows.append(instead(f"{row['cells']} finished cells, opened again", row["open_seconds"], None, ""))
        rows.append(instead(f"{row['cells']} finished cells, their tables", row["tables_seconds"], None, ""))
    return grid(rows)


def defenses_speed() -> str:
    """Return the table of the defenses beside their alternatives, each pair timed in one run."""
    rows = [["What", "Feint", "Instead", "Ratio"]]
    vectors = {row["defense"]: row["ms_10000_rows"] / 1e3 for row in bench_rows("vectors")}
    for name in (defense for defense in vectors if not defense.startswith("ART")):
        other = f"ART {VECTORS.get(name)}"
        rows.append(instead(f"{name}, 10,000 answers of 10 classes", vectors[name], vectors.get(other), other))
    for row in bench_rows("poisoning"):
        what = f"{row['what']}, {row['rows']:,} answers of {row['classes']:,} classes"
        whose = f"the published way, from {row.get('published_rows_measured')} rows"
        rows.append(instead(what, row["seconds"], row.get("published_seconds"), whose))
    timed = [row for row in bench_rows("detectors") if not row["what"].startswith("the procedure")]
    loop = next((row["seconds"] for row in bench_rows("detectors") if row not in timed), None)
    for row in timed:
        seconds = row["seconds"] if "seconds" in row else row["microseconds"] / 1e6
        rows.append(instead(row["what"], seconds, loop if "PRADA" in row["what"] else None, "the published procedure"))
    return grid(rows)


VECTORS = {  # ART's names of the same defenses
    "ReverseSigmoid": "ReverseSigmoid",
    "Rounding": "Rounded",
    "GaussianNoise": "GaussianNoise",
    "HighConfidence": "HighConfidence",
    "LabelOnly": "ClassLabels",
}


def apmsa() -> str:
    """Return the table of APMSA's evaluations, gap and time."""
    rows = [["Method", "Forward", "Backward", "Gap, mean", "Gap, largest", "Label kept", "No flip", "CPU ms a query"]]
    for row in bench_rows("apmsa"):
        short = re.sub(r"APMSA\(step=(\w+)\(.*constant_time=(\w+)\)", r"APMSA, \1, constant time \2", row["method"])
        rows.append(
            [
                short.replace(", constant time False", "").replace("time True", "time"),
                *(f"{row[key]:.1f}" for key in ("forwards", "backwards")),
                *(f"{row[key]:.2g}" for key in ("mean_gap", "largest_gap")),
                *(f"{row[key]:.0%}" for key in ("label_kept", "no_flip")),
                f"{row['cpu_ms_a_query']:.0f}",
            ]
        )
    return grid(rows)


def exported() -> str:
    """Return the table of exported graphs: defended over bare processor time, and the defense alone."""
    rows = [["Defense", "Batch 1, ratio", "by itself", "Batch 128, ratio", "by itself"]]
    measured = bench_rows("exports")
    for name in dict.fromkeys(row["defense"] for row in measured):
        shown = [name]
        for row in (row for row in measured if row["defense"] == name):
            shown += [f"{row['ratio']:.3f}", f"{1000 * row['alone_ms']:.0f} µs" if "alone_ms" in row else ""]
        rows.append(shown)
    return grid(rows)


def optimum() -> str:
    """Return the table of APGP's share of the optimum."""
    rows = [["Distance", "Keeps", "Share of the optimum", "Seconds"]]
    for row in bench_rows("apgp_optimum"):
        share = f"{row['share_of_optimum']:.1%}"
        rows.append([f"`{row['distance']}`", row["keeps"], share, f"{row['fit_seconds']:.1f}"])
    return grid(rows)


def instead(what: str, ours: float, theirs: float | None, whose: str) -> list[str]:
    """Return one line of a speed table from seconds; `theirs` is None where there is nothing to compare with."""
    if theirs is None:
        return [what, spelled(ours), "", ""]
    return [what, spelled(ours), f"{spelled(theirs)} ({whose})", f"{ours / theirs:.2g}"]


def spelled(seconds: float) -> str:
    """Return a time in seconds as text, in a suitable unit."""
    unit, scale = next(
        (unit, scale) for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)) if seconds * scale >= 1
    )
    return f"{seconds * scale:.3g} {unit}" if seconds * scale < 1000 else f"{seconds * scale:,.0f} {unit}"


TABLES = {
    "bench": bench,
    "bench_cells": cells,
    "optimum": optimum,
    "defenses_speed": defenses_speed,
    "apmsa": apmsa,
    "exported": exported,
}
