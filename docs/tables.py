"""Fill the tables and pictures of README, README.zh and the docs from results/: `make tables`."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from benchmarks.load import tables as load_tables
from docs import claim_tables, code_tables, ownership_tables, published_tables

from feint.bench import load
from feint.errors import FeintError, MissingData
from feint.evaluation import jsonl, traits
from feint.evaluation.checks import find_flags, verdict
from feint.evaluation.results import Results
from feint.evaluation.robust import Robust, robust
from feint.gateway.app import Gateway
from feint.gateway.auth.keys import AnonymousAuth
from feint.gateway.telemetry.metrics import Metrics
from feint.i18n import Catalog
from feint.openinference.status import ERROR_STATUSES
from feint.report import figures
from feint.report.section import sections
from feint.report.summary import markdown
from feint.report.tables import headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
MARK = "<!-- table: "
PAGES = [
    "README.md",
    "README.zh.md",
    *sorted(
        f"{page.relative_to(ROOT)}"
        for page in (ROOT / "docs").rglob("*.md")
        if "_build" not in page.parts and MARK in page.read_text()
    ),
]
CLAIM = "none", "reverse sigmoid", "APMSA", "ModelGuard-W", "APGP top-1"  # of `fashion_mnist`
CHINESE = {
    "Defense": "防御",
    "Naive attacker": "轻信的攻击者",
    "Worst case": "最坏情况",
    "Accuracy for honest clients": "正常客户得到的准确率",
    "Answers moved (L1)": "回答的偏移(L1)",
}


def results_of(name: str) -> Results:
    """Return the published rows of a table."""
    return Results.load(RESULTS / f"{name}.jsonl")


def rows_of(name: str) -> list[dict[str, Any]]:
    """Return published rows that are no cells of a matrix."""
    return jsonl.read(RESULTS / f"{name}.jsonl")


def matrix(name: str) -> str:
    """Return the table of a matrix."""
    return markdown(results_of(name))


def grid(rows: list[list[str]]) -> str:
    """Return a Markdown table; the first row is its heads."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def bench_rows(name: str) -> list[dict[str, Any]]:
    """Return the rows of one benchmark; none where it was not run."""
    file = RESULTS / "bench.json"
    return json.loads(file.read_text()).get(name, {}).get("rows", []) if file.exists() else []


ART = "ART 1.20.1"


def knockoff(thefts: list[dict[str, Any]], name: str = "KnockoffNets") -> list[str]:
    """Return the line of one theft with both tools, averaged over seeds: processor time, since the schedules differ."""
    seconds = {tool: [row["cpu_seconds"] for row in thefts if row["tool"] == tool] for tool in ("Feint", ART)}
    ours, theirs = (sum(runs) / len(runs) for runs in seconds.values())
    first = thefts[0]
    setting = f"{first['network']}, {first['epochs']} epochs"
    what = f"{name}, {first['asked']:,} queries, Fashion-MNIST, {setting}, CPU time"
    return [what, f"{ours:.1f} s", f"{theirs:.1f} s ({ART})", f"{ours / theirs:.2f}"]


def bench() -> str:
    """Return the table of the benchmarks' times beside other tools."""
    rows = [["What", "Feint", "Instead", "Ratio"]]
    speed = bench_rows("apgp")
    for classes in (10, 1000):
        here = [row for row in speed if row["classes"] == classes]
        for row in here[1:]:
            for key, unit, n in (("ms_10000_rows", "ms", "10,000 answers"), ("us_one_row", "µs", "1 answer")):
                ours, theirs = row[key], here[0][key]
                what = f"{row['defense']}, {n} of {classes:,} classes"
                rows.append(
                    [what, f"{ours:.3g} {unit}", f"{theirs:.3g} {unit} (ART ReverseSigmoid)", f"{ours / theirs:.1f}"]
                )
    wall = bench_rows("wall")
    for row in wall[1:]:
        what = f"{row['path']} with no defense, ResNet-20, batch of 128"
        rows.append(
            [
                what,
                f"{row['ms_batch_128']:.1f} ms",
                f"{wall[0]['ms_batch_128']:.1f} ms (bare forward)",
                f"{row['ratio']:.3f}",
            ]
        )
    loads = {row["import"]: row["seconds"] for row in bench_rows("imports")}
    for name in ("feint", "feint, all names") if loads else ():
        ratio = f"{loads[name] / loads['torch']:.2f}"
        rows.append([f"import {name}", f"{loads[name]:.2f} s", f"{loads['torch']:.2f} s (import torch)", ratio])
    rows += [[f"load {row['data']}", f"{row['seconds']:.3f} s", "", ""] for row in bench_rows("loading")]
    rows += turns()
    solved = {row["tool"]: row for row in bench_rows("equations")}
    if solved:
        ours, theirs = solved["Feint"], solved["random inputs, torch.linalg.solve"]
        what = f"EquationSolving, d = {ours['features']:,}, {ours['asked']:,} queries (the least there can be)"
        cells = [f"{it['seconds']:.2g} s, error {it['relative_error']:.0e}" for it in (ours, theirs)]
        ratio = f"{ours['seconds'] / theirs['seconds']:.2f}"
        rows.append([what, cells[0], f"{cells[1]} (random inputs, torch.linalg.solve)", ratio])
    for thefts in (bench_rows("knockoff"), bench_rows("knockoff_resnet20")):
        rows += [knockoff(thefts)] if thefts else []
    for name, attack in (("knockoff_adaptive", "KnockoffNets adaptive"), ("copycat", "CopycatCNN")):
        rows += [knockoff(bench_rows(name), attack)] if bench_rows(name) else []
    matrices = {row["tool"]: row for row in bench_rows("knockoff_cells")}
    if matrices:
        ours = matrices.pop("Feint")
        what = f"KnockoffNets, {ours['cells']} cells: 6 output defenses, as they are and labels only, CPU time"
        for tool, theirs in matrices.items():
            cells = [f"{it['cpu_seconds']:.1f} s" for it in (ours, theirs)]
            ratio = f"{ours['cpu_seconds'] / theirs['cpu_seconds']:.2f}"
            rows.append([what, cells[0], f"{cells[1]} ({tool})", ratio])
    for row in bench_rows("memory"):
        rows.append([f"{row['attack']}, {row['asked']:,} queries, peak memory", f"{row['peak_mb']:,.0f} MiB", "", ""])
    return grid(rows)


def turns() -> list[list[str]]:
    """Return the lines of the data-free attacks' turns, and of ports of their published loops."""
    timed = {(row["attack"], row["tool"]): 1 / row["turns_a_second"] for row in bench_rows("data_free")}
    batches = {row["attack"]: row["batch"] for row in bench_rows("data_free")}
    return [
        instead(
            f"{attack}, a turn in batches of {batch}, LeNet, CPU time",
            timed[attack, "Feint"],
            timed[attack, "direct port"],
            "direct port",
        )
        for attack, batch in batches.items()
    ]


def optimum() -> str:
    """Return the table of APGP's share of the optimum."""
    rows = [["Distance", "Keeps", "Share of the optimum", "Seconds"]]
    for row in bench_rows("apgp_optimum"):
        rows.append(
            [f"`{row['distance']}`", row["keeps"], f"{row['share_of_optimum']:.1%}", f"{row['fit_seconds']:.1f}"]
        )
    return grid(rows)


def spelled(seconds: float) -> str:
    """Return a time in seconds as text, in a suitable unit."""
    unit, scale = next(
        (unit, scale) for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9)) if seconds * scale >= 1
    )
    return f"{seconds * scale:.3g} {unit}" if seconds * scale < 1000 else f"{seconds * scale:,.0f} {unit}"


def instead(what: str, ours: float, theirs: float | None, whose: str) -> list[str]:
    """Return one line of a speed table from seconds; `theirs` is None where there is nothing to compare with."""
    if theirs is None:
        return [what, spelled(ours), "", ""]
    return [what, spelled(ours), f"{spelled(theirs)} ({whose})", f"{ours / theirs:.2g}"]


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


VECTORS = {  # ART's names of the same defenses
    "ReverseSigmoid": "ReverseSigmoid",
    "Rounding": "Rounded",
    "GaussianNoise": "GaussianNoise",
    "HighConfidence": "HighConfidence",
    "LabelOnly": "ClassLabels",
}


def defenses_speed() -> str:
    """Return the table of the defenses beside their alternatives, each pair timed in one run."""
    rows = [["What", "Feint", "Instead", "Ratio"]]
    vectors = {row["defense"]: row["ms_10000_rows"] / 1e3 for row in bench_rows("vectors")}
    for name in (it for it in vectors if not it.startswith("ART")):
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


def apmsa() -> str:
    """Return the table of APMSA's evaluations, gap and time."""
    rows = [["Method", "Forward", "Backward", "Gap, mean", "Gap, largest", "Label kept", "No flip", "CPU ms a query"]]
    for row in bench_rows("apmsa"):
        short = re.sub(r"APMSA\(step=(\w+)\(.*constant_time=(\w+)\)", r"APMSA, \1, constant time \2", row["method"])
        rows.append(
            [
                short.replace(", constant time False", "").replace("time True", "time"),
                *(f"{row[it]:.1f}" for it in ("forwards", "backwards")),
                *(f"{row[it]:.2g}" for it in ("mean_gap", "largest_gap")),
                *(f"{row[it]:.0%}" for it in ("label_kept", "no_flip")),
                f"{row['cpu_ms_a_query']:.0f}",
            ]
        )
    return grid(rows)


def natural(text: str) -> list[tuple[int, float, str]]:
    """Return a key that sorts numbers within text by their value."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text.lower())
    return [(0, float(it), "") if i % 2 else (1, 0.0, it) for i, it in enumerate(parts)]


def reading(attack: str) -> str:
    """Return how an attack by KnockoffNets reads the answers, as a cell of a table."""
    return attack.removeprefix("KnockoffNets").removeprefix(", ") or "as they are"


def every_defense() -> str:
    """Return the table of utility and stealer accuracy of each defense, with one line for each strength."""
    results = results_of("defenses")
    scores = "defender_accuracy", "label_kept", "l1", "kl", "ece", "auroc", "added_ms_per_1000", "added_mb_per_1000"
    heads = "Defense|Defender accuracy|Label kept|L1|KL|ECE|AUROC|ms|MiB|Stealer, probabilities|Stealer, labels only"
    rows = [[*heads.split("|"), "Worst case"]]
    stolen = {(it.defense, reading(it.attack)): it.scores["stealer_accuracy"] for it in results.lines()}
    for name in sorted(results.names("defense"), key=lambda it: (it != "none", natural(it))):
        utility = results.utility(name)
        shares = [f"{100 * utility[it]:.2f}" for it in scores[:2]]
        numbers = [f"{utility[it]:.2f}" if it in utility else "" for it in scores[2:6]]
        costs = [_short(utility[it]) if it in utility else "" for it in scores[6:]]
        thefts = [stolen.get((name, attack)) for attack in ("as they are", "labels only")]
        shown = ["" if it is None else f"{100 * it:.1f}" for it in thefts]
        rows.append([name, *shares, *numbers, *costs, *shown, worst_case(results, name)])
    return grid(rows)


def attacks_on(name: str) -> str:
    """Return the table of attacks on an undefended victim: accuracy (fidelity) by budget, the cost of the largest."""
    results = results_of("attacks").on(name)
    thefts = {(row.attack, row.budget): row for row in results if row.attack}
    budgets = sorted({budget for _, budget in thefts})
    rows = [["Attack", *(f"{budget:,} queries" for budget in budgets), "Counted at the victim", "Seconds", "Peak MiB"]]
    for attack in results.names("attack"):
        cells = [thefts.get((attack, budget)) for budget in budgets]
        last = next(row for row in reversed(cells) if row is not None)
        shares = [
            "" if row is None else "{stealer_accuracy:.1%} ({fidelity:.1%})".format(**row.scores) for row in cells
        ]
        peak = "" if last.peak_mb is None else f"{last.peak_mb:,}"
        rows.append([attack, *shares, f"{last.asked:,}", f"{last.seconds:,.0f}", peak])
    return grid([rows[0], *sorted(rows[1:], key=lambda row: natural(row[0]))])


def worst_case(results: Results, defense: str) -> str:
    """Return the robust stealer accuracy of a defense in percent; empty where there is none."""
    worst = robust(results, defense)
    return "" if worst is None else f"{100 * worst.share:.1f}"


def lenses() -> str:
    """Return the table of stealer accuracy through every lens, with a column for each defense."""
    results = results_of("lenses")
    thefts = [row for row in results if row.attack]
    stolen = {(reading(row.attack), row.defense): row.scores["stealer_accuracy"] for row in thefts}
    bounds = {reading(row.attack) for row in thefts if traits.upper_bound(row)}
    names = sorted({name for _, name in stolen}, key=lambda it: (it != "none", it.lower()))
    shown = [["Lens", *names]]
    for lens in sorted({lens for lens, _ in stolen}, key=lambda it: (it != "as they are", it != "labels only", it)):
        cells = [f"{100 * stolen[lens, it]:.1f}" if (lens, it) in stolen else "" for it in names]
        shown.append([f"{lens}, an upper bound" if lens in bounds else lens, *cells])
    return grid([*shown, ["worst case", *(worst_case(results, it) for it in names)]])


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number < 0.05 else f"{number:.2g}"


def models() -> str:
    """Return the table of what an attacker gets of tables and texts."""
    found = rows_of("models")
    access = {row["access"]: None for row in found}
    head = ["Victim (accuracy, majority)", "Queries", *access, "probabilities, drawn rows"]
    rows = [head]
    keys = dict.fromkeys((row["victim"], row["budget"]) for row in sorted(found, key=lambda row: row["budget"]))
    for victim in dict.fromkeys(row["victim"] for row in found):
        for budget in [number for name, number in keys if name == victim]:
            here = [row for row in found if (row["victim"], row["budget"]) == (victim, budget)]
            about = f"{victim} ({here[0]['victim_accuracy']:.1%}, {here[0]['majority']:.1%})"
            cells = [_copy(row for row in here if (row["queries"], row["access"]) == ("pool", name)) for name in access]
            rows.append([about, f"{budget:,}", *cells, _copy(row for row in here if row["queries"] == "marginals")])
    return grid(rows)


def _copy(rows: Iterable[dict[str, Any]]) -> str:
    """Return accuracy and fidelity of a copy, and its surrogate."""
    row = next(iter(rows), None)
    if row is None:
        return ""
    return f"{row['stealer_accuracy']:.1%} / {row['fidelity']:.1%}, {row['surrogate'].replace('_', ' ')}"


def _of_claims(table: Callable[[Iterable[Mapping[str, Any]]], list[list[str]]]) -> str:
    """Return a table of claims."""
    return grid(table(rows_of("claims")))


def delays() -> str:
    """Return the table of queries until an attacker is accused."""
    found = [row for row in rows_of("evidence") if row["name"].startswith("delay")]
    honest = {(row["victim"], bool(row["slices"])): row for row in _honest_rows() if not row["drift"]}
    shares = sorted({row["share"] for row in found}, reverse=True)
    rows = [["Victim", "Slices", "α", *(f"{share:.0%} attack queries" for share in shares), "honest clients accused"]]
    for victim, slices, alpha in sorted({_test(row) for row in found}, key=lambda it: (_place(it[0]), it[1], -it[2])):
        at = {row["share"]: _delay(row) for row in found if _test(row) == (victim, slices, alpha)}
        clients = honest.get((victim, slices))
        shown = _clients(clients) if clients and clients["alpha"] == alpha else ""
        rows.append([victim, "yes" if slices else "no", f"{alpha:g}", *(at.get(share, "") for share in shares), shown])
    return grid(rows)


def _honest_rows() -> list[dict[str, Any]]:
    return [row for row in rows_of("evidence") if row["name"].startswith("honest")]


def _test(row: dict[str, Any]) -> tuple[str, bool, float]:
    """Return victim, slices and α of a row."""
    return row["victim"], bool(row["slices"]), row["alpha"]


def _place(victim: str) -> int:
    return ["CIFAR-10", "Fashion-MNIST", "Adult"].index(victim)


def _clients(row: dict[str, Any]) -> str:
    return f"{row['accused'] * row['streams']:.0f} of {row['streams']:,} (bound {row['bound']:.1%})"


def _delay(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    median = row["median_queries"]
    return f"{row['accused']:.0%} ever" if median is None else f"{median:.0f} ({row['accused']:.0%})"


def drift() -> str:
    """Return the table of honest clients accused under drift."""
    found = [row for row in _honest_rows() if row["drift"]]
    rows = [["Victim", "Honest clients send", "without slices", "with slices"]]
    for victim, kind in dict.fromkeys((row["victim"], row["drift"]) for row in found):
        at = {bool(row["slices"]): _drifted(row) for row in found if (row["victim"], row["drift"]) == (victim, kind)}
        rows.append([victim, f"`{kind}`", at.get(False, ""), at.get(True, "")])
    return grid([rows[0], *sorted(rows[1:], key=lambda row: _place(row[0]))])


def _drifted(row: dict[str, Any]) -> str:
    median = row["median_queries"]
    return f"{row['accused']:.0%}" + ("" if median is None else f" (median query {median:.0f})")


def ordinary() -> str:
    """Return the table of ordinary clients who are accused, without and with declared slices."""
    heads = "Victim|Honest clients|accused, no slices|highest evidence|accused, slices declared|highest evidence"
    rows = [heads.split("|")]
    here = sorted((row for row in rows_of("ordinary") if "kind" in row), key=_placed)
    for victim, kind in dict.fromkeys((_victim(row), row["kind"]) for row in here):
        at = {bool(row["slices"]): row for row in here if (_victim(row), row["kind"]) == (victim, kind)}
        cells = [
            (f"{at[declared]['accused']} of {at[declared]['clients']}", f"{at[declared]['highest']:.2f}")
            if declared in at
            else ("", "")
            for declared in (False, True)
        ]
        rows.append([victim, kind, *cells[0], *cells[1]])
    return grid(rows)


def bursts() -> str:
    """Return the table of clients who ask in bursts: lengths measured of half, and who of the others is accused."""
    heads = "Victim|Clients|Queries in a row that depend on each other|Others accused (`burst`)|Queries of the attacker"
    rows = [heads.split("|")]
    for row in sorted((row for row in rows_of("ordinary") if "bursts" in row), key=_placed):
        known = [length for length in row["lengths"] if length]
        measured = f"{min(known)} to {max(known)}" if known else "not known"
        accused = f"{row['accused']} of {row['clients']} ({row['burst']})"
        delay = " → ".join("never" if median is None else f"{median:,.0f}" for median in row["attacker"])
        rows.append([_victim(row), row["bursts"], measured, accused, delay])
    return grid(rows)


def population() -> str:
    """Return the table of a mixed population, at evidence 1 and at the threshold of the clients of a month before."""
    heads = "Victim|Slices|Accused at 1|Threshold|Accused at it|Bound of the threshold|100% attack queries|50%|25%"
    rows = [heads.split("|")]
    found = (row for row in rows_of("ordinary") if "level" in row)
    for row in sorted(found, key=lambda row: (_placed(row), bool(row["slices"]))):
        delays = [
            " → ".join("never" if queries is None else f"{queries:,.0f}" for queries in pair)
            for pair in row["attackers"].values()
        ]
        rows.append([
            _victim(row), "declared" if row["slices"] else "none", f"{row['accused_at_1'] / row['clients']:.1%}",
            f"{row['level']:.2f}", f"{row['accused'] / row['clients']:.1%}", f"{row['bound']:.1%}", *delays,
        ])  # fmt: skip
    return grid(rows)


def ladder() -> str:
    """Return the table of what an attacker gets behind a ladder: answers before refusals, and copies by policy."""
    found = {row["name"]: row for row in rows_of("evidence") if row["name"].startswith(("asked", "ladder"))}
    campaigns = dict.fromkeys(row["campaign"] for row in found.values())
    policies = "refusal", "flipped labels"
    rows = [["Attacker", "Accounts accused", "Queries", "Answers", *(f"Stealer accuracy, {it}" for it in policies)]]
    for campaign in sorted(campaigns, key=lambda it: ("own" in it, "filler" in it, len(it), it)):
        here = {row.get("policy"): row for row in found.values() if row["campaign"] == campaign}
        asked = here.get(None) or here["refusal"]
        copies = [f"{here[it]['stealer_accuracy']:.1%}" if it in here else "not run" for it in policies]
        rows.append([campaign, *(f"{asked[it]:,}" for it in ("accused", "asked", "answered")), *copies])
    return grid(rows)


def promises() -> str:
    """Return the table of what the owner of each victim may promise."""
    accounts = "1", "10", "100", "1000"
    heads = [f"{int(n):,} account{'s' if n != '1' else ''} buy{'s' if n == '1' else ''}" for n in accounts]
    rows = [["Victim", "Attacker", "Median queries", "Accounts accused", *heads]]
    names = {
        "pool": "nothing but the pool",
        "selected": "the most ordinary tenth of it",
        "stepped": "the pool after gradient steps on the model itself",
        "blended": "blends of it with 20 of the task's inputs",
        "filled": "{share:.0%} from the pool, the rest varied copies of 20 of the task's inputs",
        "mixed": "{share:.0%} from the pool, the rest the task's own",
        "task": "the task's own inputs",
    }
    for row in sorted((row for row in rows_of("evidence") if row["name"].startswith("promise")), key=_placed):
        for tried in row["attackers"]:
            name = names[tried["name"]].format(share=tried["share"])
            median = tried["median_queries"]
            bought = [tried["answers"][n] for n in accounts]
            shown = ["no end found" if answers is None else f"{answers:,.0f}" for answers in bought]
            never = f"over {tried['queries']:,}"
            rows.append(
                [row["victim"], name, never if median is None else f"{median:.0f}", f"{tried['accused']:.0%}", *shown]
            )
    return grid(rows)


def _victim(row: dict[str, Any]) -> str:
    """Return the victim of a row, which rows do not name where CIFAR-10 was the only one."""
    return row.get("victim", "CIFAR-10")


def _placed(row: dict[str, Any]) -> int:
    return _place(_victim(row))


def detection(victim: str) -> str:
    """Return the table of detectors of one victim's attackers, by attack and share."""
    found = [row for row in rows_of("detectors") if "accused" in row and _victim(row) == victim]
    rows = [["Attack", "Share", "Others", *(names := sorted({row["detector"] for row in found}, key=_detector))]]
    keys = dict.fromkeys((row["attack"], row["share"], row["others"]) for row in found)
    for key in sorted(keys, key=lambda it: (it[0], it[2], -it[1])):
        at = {row["detector"]: _delay(row) for row in found if (row["attack"], row["share"], row["others"]) == key}
        rows.append([key[0], f"{key[1]:.0%}", key[2], *(at.get(name, "") for name in names)])
    return grid(rows)


def _detector(name: str) -> tuple[bool, int, str]:
    """Return the place of a detector: e-processes first, and of these the means last."""
    return name in ("PRADA", "SEAT", "TwoSample"), name.count("+"), name


def campaign_answers() -> str:
    """Return the table of the alarms in campaigns, and whose answers change."""
    heads = (
        "Victim|Newcomers|Score|Probation|Attacker's queries until the alarm|Their answers changed|"
        "Honest ones changed|Seeds"
    )
    rows = [heads.split("|")]
    for row in campaigns("campaign"):
        level = f"{row['probation']:.2g}{_recorded(row['name'])}"
        changed = [f"{row[who]:.1%}" for who in ("attacker_changed", "honest_changed")]
        rows.append(
            [_victim(row), f"{row['honest']:,}", row.get("score", "energy"), level, _alarms(row), *changed,
             str(row["seeds"])]
        )  # fmt: skip
    return grid(rows)


def _recorded(name: str) -> str:
    """Return by whom the level of probation of a row was set."""
    if "calibrated-" not in name:
        return ""
    return ", by others with other images" if name.endswith("others") else ", by recorded newcomers"


def _alarms(row: dict[str, Any]) -> str:
    """Return after how many of the attacker's queries there is an alarm, over the seeds."""
    raised = [alarm for alarm in row["alarms"] if alarm is not None]
    return "–".join(f"{end:,}" for end in (min(raised), max(raised))) if raised else "no alarm"


def campaign_attackers() -> str:
    """Return the table of campaigns by attackers who do not ask the pool alone."""
    heads = (
        "Victim|The attacker sends|Score|Newcomers|Queries until the alarm|Their answers changed|Honest ones changed"
    )
    rows = [heads.split("|")]
    for row in sorted(
        campaigns("attacker"), key=lambda row: (_placed(row), row["score"], row["attacker"], row["honest"])
    ):
        changed = [f"{row[who]:.1%}" for who in ("attacker_changed", "honest_changed")]
        rows.append([_victim(row), row["attacker"], row["score"], f"{row['honest']:,}", _alarms(row), *changed])
    return grid(rows)


def campaign_thefts() -> str:
    """Return the table of copies that are trained on a campaign's answers."""
    heads = "Victim|Newcomers|Score|Answers changed|Labels swapped|Honest ones changed|Stealer accuracy|Fidelity"
    return _thefts(heads, [row for row in campaigns("theft") if "attacker" not in row], [])


def campaign_owners() -> str:
    """Return the table of copies by attackers who have inputs of the task."""
    heads = (
        "Victim|The attacker sends|Newcomers|Score|Answers changed|Labels swapped|Honest ones changed|"
        "Stealer accuracy|Fidelity"
    )
    return _thefts(heads, [row for row in campaigns("theft") if "attacker" in row], ["attacker"])


def _thefts(heads: str, thefts: Sequence[dict[str, Any]], named: Sequence[str]) -> str:
    """Return a table of copies that are trained on a campaign's answers; `named` fields follow the victim."""
    rows = [heads.split("|")]
    for row in sorted(thefts, key=lambda row: [_placed(row), *(row[name] for name in named)]):
        changed, honest = (
            f"{row[who]:.1%}" if row["honest"] else "none" for who in ("attacker_changed", "honest_changed")
        )
        swapped = f"{row.get('share', 1.0):.0%}" if row["honest"] else "none"
        copy = [f"{row[name]:.1%}" for name in ("stealer_accuracy", "fidelity")]
        rows.append(
            [_victim(row), *(row[name] for name in named), f"{row['honest']:,}", row["score"] or "no campaign", changed,
             swapped, honest, *copy]
        )  # fmt: skip
    return grid(rows)


def campaign_days() -> str:
    """Return the table of false alarms."""
    heads = "Victim|Score|Honest newcomers a day|Days|Alarms|Highest evidence, as a share of the threshold (logarithms)"
    rows = [heads.split("|")]
    for row in campaigns("days"):
        counts = f"{row['honest']:,}", f"{row['days']:,}", str(row["alarms"])
        rows.append([_victim(row), row.get("score", "energy"), *counts, f"{row['highest']:.2f}"])
    return grid(rows)


def campaign_named() -> str:
    """Return the table of the clients that e-BH names."""
    heads = (
        "Victim|Score|Honest newcomers|Queries each|Attacker's accounts named|Honest among the named|Honest named|Seeds"
    )
    rows = [heads.split("|")]
    for row in campaigns("named"):
        shares = f"{row['named']:.1%}", f"{row['false']:.2%}"
        about = _victim(row), row.get("score", "energy"), f"{row['honest']:,}", str(row["queries"])
        wrong = ", ".join(map(str, row.get("wrong", [])))
        rows.append([*about, *shares, wrong, str(row["seeds"])])
    return grid(rows)


def campaign_rules() -> str:
    """Return the table of whose queries are improbable, by single queries and by those of an account."""
    rows = [["Victim", "p-value of", "Level", "Attacker's queries below it", "Honest newcomers' queries"]]
    for row in campaigns("rule"):
        what = "the query" if row["single"] else "the account's queries until then"
        rows.append([_victim(row), what, f"{row['level']:g}", f"{row['attacker']:.1%}", f"{row['honest']:.1%}"])
    return grid(rows)


def unaccused() -> str:
    """Return the table of the largest shares of attack queries that no test accuses, by what the others are."""
    rows = [
        ["Victim", "Attack", "Score", "Others: honest inputs", "of the surest classes", "one or two that serve best"]
    ]
    found = [row for row in rows_of("detectors") if "unaccused_share" in row]
    for row in sorted(found, key=lambda row: (_placed(row), row["attack"], _detector(row["detector"]))):
        shares = dict(row["unaccused_share"])
        best, honest = shares.pop("best"), shares.pop("honest")
        (surest,) = shares.values()
        cells = [f"{share:.3f}" if share < 0.9995 else "all" for share in (honest, surest, best)]
        rows.append([_victim(row), row["attack"], row["detector"], *cells])
    return grid(rows)


def campaigns(kind: str) -> list[dict[str, Any]]:
    """Return the rows of a kind, in the order of these fields."""
    order = "single", "honest", "level", "probation", "queries"
    here = [row for row in rows_of("campaign") if row["kind"] == kind]
    return sorted(
        here, key=lambda row: [_placed(row), row.get("score", "energy"), *(row.get(name) or 0 for name in order)]
    )


def data_free() -> str:
    """Return the table of the data-free thefts: their queries and their scores."""
    heads = "Victim|Attack|Queries|Seeds|Stealer accuracy|of the victim's|Fidelity|Minutes|Peak MiB"
    rows = [heads.split("|")]
    for name in sorted(results_of("data_free").names("victim")):
        results = results_of("data_free").on(name)
        victim = results.utility("none")["victim_accuracy"]
        for line in results.lines():
            of = [row for row in results if (row.attack, row.budget) == (line.attack, line.budget)]
            shares = [
                line.scores["stealer_accuracy"],
                line.scores["stealer_accuracy"] / victim,
                line.scores["fidelity"],
            ]
            minutes = sum(row.seconds for row in of) / len(of) / 60
            peak = max(row.peak_mb or 0 for row in of)
            asked = f"{max(row.asked for row in of):,}"
            shown = [f"{100 * it:.1f}" for it in shares]
            rows.append([name, line.attack, asked, f"{line.seeds}", *shown, f"{minutes:.1f}", f"{peak:,.0f}"])
    return grid(rows)


def suite(name: str) -> str:
    """Return the table of a suite's defenses, at the largest budget that all attacked defenses have."""
    say, rows = Catalog(), results_of(name)
    run = [{row.budget for row in rows if row.attack and row.defense == name} for name in rows.names("defense")]
    most = max(set.intersection(*filter(None, run)), default=0) if any(run) else 0
    shown = [headline(section, say) for section in sections(Results(row for row in rows if row.budget <= most))]
    heads = ["Got by" if head == say("by") else head for head in shown[0].heads] if shown else ["Defense"]
    return grid([heads, *(list(row) for table in shown for row in table.rows)])


def verdicts() -> str:
    """Return the table of suites: how many of their thefts are to be trusted, and what flags the others."""
    lines = [["Suite", "Thefts run", "of", "Trusted", "Within noise only", "Both", "Flags of the others"]]
    for name in sorted(path.stem for path in (ROOT / "src/feint/suites").glob("*.toml")):
        if (RESULTS / f"{name}.jsonl").exists():
            results = results_of(name)
            flags = find_flags(results)
            raised = [{flag.name for flag in flags[row.fingerprint]} for row in results if row.attack]
            trusted, near = raised.count(set()), raised.count({"within-noise"})
            others = Counter(flag for names in raised if names - {"within-noise"} for flag in sorted(names))
            share = f"{(trusted + near) / len(raised):.0%}"
            planned = sum(bool(cell.attack) for cell in load(name).cells())
            cells = f"{len(raised):,}", f"{planned:,}", f"{trusted}", f"{near}", share
            lines.append([f"`{name}`", *cells, ", ".join(f"{flag} {count}" for flag, count in others.most_common())])
    return grid(lines)


def trained() -> str:
    """Return the table of suites' surrogates: how many images a second their trainings took."""
    lines = [["Surrogate", "Suite", "Thefts", "Images a second, fastest", "median"]]
    for name in sorted(path.stem for path in (ROOT / "src/feint/suites").glob("*.toml")):
        if (RESULTS / f"{name}.jsonl").exists():
            victims = load(name).victims
            speeds: dict[str, list[float]] = {}
            for row in results_of(name):
                if row.trained_per_second:
                    entry = victims[row.victim]
                    speeds.setdefault(entry.surrogate or entry.network, []).append(row.trained_per_second)
            for network, each in speeds.items():
                lines.append([network, f"`{name}`", f"{len(each)}", f"{max(each):,.0f}", f"{median(each):,.0f}"])
    return grid(lines)


def claim(results: Results) -> str:
    """Five defenses at one budget: who believes the answers, who does not, and what honest clients pay."""
    rows = [["Defense", "Naive attacker", "Worst case", "Accuracy for honest clients", "Answers moved (L1)"]]
    for name, naive, worst, utility in claims(results):
        share = f"{100 * worst.share:.1f} ({100 * worst.low:.1f}–{100 * worst.high:.1f})"
        rows.append([
            name, f"{100 * naive:.1f}", share, f"{100 * utility['defender_accuracy']:.1f}", f"{utility['l1']:.2f}",
        ])  # fmt: skip
    return grid(rows)


def claims(results: Results) -> list[tuple[str, float, Robust, dict[str, float]]]:
    """For each defense of the claim: the naive share, the worst case, and the utility that it leaves."""
    [section] = sections(results)
    shown = []
    for name in CLAIM:
        naive, worst = section.naive(name, section.largest(name)), section.robust(name)
        if naive is None or worst is None:
            raise MissingData(f"no worst case of {name}", "a row for each attack of the suite", "run the suite")
        shown.append((name, naive.scores["stealer_accuracy"], worst, section.results.utility(name)))
    return shown


def claim_figure(results: Results) -> "Figure":
    """The same five defenses as a picture: from the naive number to the worst case."""
    figure, ax = figures.new_figure(8, 2.9)
    for i, (_, naive, worst, utility) in enumerate(claims(results)):
        ax.plot([100 * naive, 100 * worst.share], [i, i], color="#9aa3b2", lw=2, zorder=1)
        ax.scatter(100 * naive, i, s=60, color="white", edgecolor="#c4621b", lw=2, zorder=2)
        ax.scatter(100 * worst.share, i, s=60, color="#3566b8", zorder=3)
        ax.plot([100 * utility["defender_accuracy"]] * 2, [i - 0.3, i + 0.3], color="#4c566a", lw=2)
    ax.scatter([], [], s=60, color="white", edgecolor="#c4621b", lw=2, label="copy, naive attacker")
    ax.scatter([], [], s=60, color="#3566b8", label="copy, worst case")
    ax.plot([], [], color="#4c566a", lw=2, label="service, honest clients")
    ax.set_yticks(range(len(CLAIM)), CLAIM)
    ax.invert_yaxis()
    ax.set_xlim(0, 100)
    ax.set_xlabel("accuracy on Fashion-MNIST, %")
    ax.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def mean_of(rows: list[dict[str, Any]], key: str) -> float:
    """Return the mean of a member over rows."""
    return sum(row[key] for row in rows) / len(rows)


def equations() -> str:
    """Return the table of equation solving on undefended victims, beside the least number of queries possible."""
    heads = "Victim|Data|Attack|Queries|The least|Seeds|Relative error|Fidelity|on random inputs"
    rows = [heads.split("|")]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows_of("equations"):
        if "defense" not in row:
            groups.setdefault((row["data"], row["victim"], row["budget"]), []).append(row)
    for (name, victim, _), found in sorted(groups.items()):
        error = "angle" if "labels" in victim else "relative_error"
        rows.append([
            victim, name, f"`{found[0]['recipe']}`", f"{mean_of(found, 'asked'):,.0f}",
            _least(found[0]), f"{len(found)}",
            f"{mean_of(found, error):.1e}" if error in found[0] else "",
            *(f"{mean_of(found, it):.2%}" for it in ("fidelity", "fidelity_random")),
        ])  # fmt: skip
    return grid(rows)


def _least(row: dict[str, Any]) -> str:
    if row["least"] is None:
        return ""
    return f"{row['least']:,} points" if "labels" in row["victim"] else f"{row['least']:,}"


def equations_defended() -> str:
    """Return the table of softmax regression behind each defense: relative error of the parameters, and fidelity."""
    found = [row for row in rows_of("equations") if "defense" in row]
    attacks = sorted({row["attack"] for row in found}, key=lambda it: ("labels" in it, it.startswith("r"), "100" in it))
    rows = [["Defense", *attacks]]
    names = dict.fromkeys(row["defense"] for row in found)
    for name in sorted(names, key=lambda it: (it != "none", natural(it))):
        cells = []
        for attack in attacks:
            here = [row for row in found if (row["defense"], row["attack"]) == (name, attack)]
            error = "angle" if "labels" in attack else "relative_error"
            done = [row for row in here if "refused" not in row]
            shown = f"{mean_of(done, error):.1e}, {mean_of(done, 'fidelity'):.1%}" if done else ""
            cells.append(shown or ("refused: labels only" if here else ""))
        rows.append([name, *cells])
    return grid(rows)


def recipes() -> str:
    """Return the table of surrogate trainings."""
    rows = [["Training of the surrogate", "Stealer accuracy"]]
    for row in json.loads((RESULTS / "cifar10_recipes.json").read_text())["rows"]:
        rows.append([f"`{row['training']}`", f"{row['stealer_accuracy']:.2%}"])
    return grid(rows)


def adaptive() -> str:
    """Return the table of KnockoffNets adaptive beside random, on pools of mostly useless classes."""
    found = rows_of("adaptive")
    rows = [["Pool", "Useful in the pool", "Policy", "Useful queries", "Stealer accuracy, each seed", "Mean", "CPU s"]]
    for pool in ("natural", "signs"):
        for attack in ("random", "adaptive"):
            here = [row for row in found if (row["pool"], row["attack"]) == (pool, attack)]
            if here:
                accuracies = [100 * row["stealer_accuracy"] for row in here]
                shares, seconds = ([row[it] for row in here] for it in ("useful_share", "cpu_seconds"))
                each = ", ".join(f"{it:.1f}" for it in accuracies)
                cells = f"{here[0]['useful_in_pool']:.0%}", attack, f"{mean(shares):.0%}", each
                rows.append([pool, *cells, f"{mean(accuracies):.1f}", f"{mean(seconds):.0f}"])
    return grid(rows)


def options() -> str:
    """Return the table of what options of a strong attacker bring."""
    names = {"digits": "MLP, digits", "fashion_mnist": "LeNet, Fashion-MNIST"}
    found = rows_of("options")
    tried = list(dict.fromkeys(row["option"] for row in sorted(found, key=lambda row: row["option"] != "none")))
    lines = [["Victim", "Pool", "Queries", "Answers", *tried]]
    for victim, answers in product(names, ("probabilities", "labels")):
        here = [row for row in found if (row["victim"], row["answers"]) == (victim, answers)]
        if here:
            each = [[f"{100 * row['stealer_accuracy']:.1f}" for row in here if row["option"] == it] for it in tried]
            pool = here[0]["pool"].removesuffix("/train")
            cells = names[victim], pool, f"{here[0]['asked']:,}", answers
            lines.append([*cells, *(" ".join(one) for one in each)])
    return grid(lines)


def springboard(name: str) -> str:
    """Return the table of downstream attacks: shares in percent, means over seeds; first with the victim itself."""
    heads = (
        "Defense|Answers|Seeds|Stealer accuracy|Random signs|FGSM|PGD|Membership AUROC|found at 1 % false alarms|Flags"
    )
    scores = "transfer_random", "transfer_fgsm", "transfer_pgd"
    results = results_of("springboard").on(name)
    flags = find_flags(results)
    victim = next(row for row in rows_of("springboard_victims") if row["name"] == name)

    def shown(of: list[dict[str, Any]]) -> list[str]:
        shares = [f"{100 * mean_of(of, it):.1f}" for it in scores]
        return [*shares, f"{mean_of(of, 'membership_auroc'):.3f}", f"{100 * mean_of(of, 'membership_tpr'):.1f}"]

    rows = [heads.split("|"), ["the victim itself", "", "", "", *shown([victim]), ""]]
    for line in results.lines():
        of = [row for row in results if (row.defense, row.attack) == (line.defense, line.attack)]
        named = verdict([flag for row in of for flag in flags[row.fingerprint]])
        stolen = f"{100 * line.scores['stealer_accuracy']:.1f}"
        rows.append(
            [line.defense, reading(line.attack), f"{line.seeds}", stolen, *shown([row.scores for row in of]), named]
        )
    return grid(rows)


def near_copies() -> str:
    """Return the table of what averaging over near copies leaves of keyed noise."""
    rows = sorted(rows_of("near_copies"), key=lambda row: (row["victim"] != "digits", row["perceptual"]))
    copies = rows[0]["l1"]
    names = {"digits": "MLP, digits", "cifar10": "ResNet-20, CIFAR-10"}
    heads = ["1 copy" if n == "1" else f"{n} copies" for n in copies]
    table = [["Victim", "`perceptual`", *heads, "Cosine of gradients by levels"]]
    for row in rows:
        distances = [f"{row['l1'][n]:.2f}" for n in copies]
        cosine = f"{row['cosine']['1']:.2f}" if row["cosine"] else ""
        table.append([names[row["victim"]], f"{row['perceptual']:g}", *distances, cosine])
    return grid(table)


def refused() -> str:
    """Return the table of the gateway's errors, as a client receives them."""
    rows = [["HTTP", "gRPC", "Error", "When"]]
    for error, status in sorted(ERROR_STATUSES.items(), key=lambda pair: pair[1].http):
        if issubclass(error, FeintError):
            rows.append(
                [f"{status.http}", f"`{status.grpc}`", f"`{error.__name__}`", str(error.__doc__).splitlines()[0]]
            )
    return grid(rows)


def exported() -> str:
    """Return the table of exported graphs: defended over bare processor time, and the defense alone."""
    rows = [["Defense", "Batch 1, ratio", "by itself", "Batch 128, ratio", "by itself"]]
    measured = bench_rows("exports")
    for name in dict.fromkeys(it["defense"] for it in measured):
        shown = [name]
        for row in (it for it in measured if it["defense"] == name):
            shown += [f"{row['ratio']:.3f}", f"{1000 * row['alone_ms']:.0f} µs" if "alone_ms" in row else ""]
        rows.append(shown)
    return grid(rows)


def metrics() -> str:
    """Return the table of /metrics, with the help texts of the metrics."""
    metrics = Metrics()
    metrics.attach(Gateway({}, AnonymousAuth(), certificate_expires=0.0))
    exposition = metrics.text().decode()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\w+)", exposition, re.MULTILINE))
    found = re.findall(r"^# HELP (feint_\S+) (.*)", exposition, re.MULTILINE)
    rows = [[f"`{name}`", kinds[name], f"{what}."] for name, what in found if not name.endswith("_created")]
    return grid([["Metric", "Kind", "What"], *rows])


TABLES = {
    **code_tables.TABLES,
    "claim": lambda: claim(results_of("fashion_mnist")),
    **load_tables.TABLES,
    "metrics": metrics,
    "near_copies": near_copies,
    "exported": exported,
    "refusals": refused,
    "suite_quick": lambda: suite("quick"),
    "suite_fashion_mnist": lambda: suite("fashion_mnist"),
    "suite_cifar10": lambda: suite("cifar10"),
    "suite_gtsrb": lambda: suite("gtsrb"),
    "suite_apgp2023_table1": lambda: suite("apgp2023_table1"),
    "suite_apmsa2023_table2": lambda: suite("apmsa2023_table2"),
    **published_tables.TABLES,
    "springboard_digits": lambda: springboard("digits"),
    "springboard_fashion_mnist": lambda: springboard("fashion_mnist"),
    "adaptive": adaptive,
    "recipes": recipes,
    "trained": trained,
    "verdicts": verdicts,
    "equations": equations,
    "models": models,
    **{name: partial(_of_claims, table) for name, table in claim_tables.TABLES.items()},
    **{name: lambda table=table: grid(table()) for name, table in ownership_tables.TABLES.items()},
    "equations_defended": equations_defended,
    "digits": lambda: matrix("demo_digits"),
    "cifar10": lambda: matrix("demo_cifar10"),
    "bench": bench,
    "bench_cells": cells,
    "optimum": optimum,
    "defenses_speed": defenses_speed,
    "apmsa": apmsa,
    "every_defense": every_defense,
    "attacks_digits": lambda: attacks_on("digits"),
    "attacks_fashion_mnist": lambda: attacks_on("fashion_mnist"),
    "attacks_cifar10": lambda: attacks_on("cifar10"),
    "lenses": lenses,
    "delays": delays,
    "drift": drift,
    "options": options,
    "ordinary": ordinary,
    "bursts": bursts,
    "population": population,
    "ladder": ladder,
    "promises": promises,
    "detection_cifar10": lambda: detection("CIFAR-10"),
    "detection_fashion_mnist": lambda: detection("Fashion-MNIST"),
    "detection_adult": lambda: detection("Adult"),
    "campaign_answers": campaign_answers,
    "campaign_attackers": campaign_attackers,
    "campaign_days": campaign_days,
    "campaign_named": campaign_named,
    "campaign_rules": campaign_rules,
    "unaccused": unaccused,
    "campaign_thefts": campaign_thefts,
    "campaign_owners": campaign_owners,
    "data_free": data_free,
}


def filled(page: str) -> str:
    """Return the text of `page` with every table made anew."""

    def table(match: re.Match[str]) -> str:
        text = TABLES[match[1]]()
        if page.endswith(".zh.md"):
            head, rest = text.split("\n", 1)
            text = "| " + " | ".join(CHINESE[it.strip()] for it in head.strip("|").split("|")) + " |\n" + rest
        return f"<!-- table: {match[1]} -->\n\n{text}\n\n<!-- /table -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- /table -->", table, (ROOT / page).read_text(), flags=re.DOTALL)


def main() -> None:
    """Fill the tables of all pages, and draw the curves."""
    for page in PAGES:
        (ROOT / page).write_text(filled(page))
    (ROOT / "docs" / "images").mkdir(exist_ok=True)
    for name in ("digits", "cifar10"):
        curve = figures.budget_curve(results_of(f"demo_{name}"))
        (ROOT / "docs" / "images" / f"{name}.svg").write_text(figures.svg(curve))
    picture = claim_figure(results_of("fashion_mnist"))
    (ROOT / "docs" / "images" / "claim.svg").write_text(figures.svg(picture))
    (ROOT / "docs" / "images" / "ownership.svg").write_text(figures.svg(ownership_tables.picture()))


if __name__ == "__main__":
    main()
