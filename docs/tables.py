"""Fill the tables and pictures of README, README.zh and the docs from results/: `make tables`."""

import json
import re
from pathlib import Path
from typing import Any

from feint.evaluation import figures
from feint.evaluation.results import Results
from feint.evaluation.summary import markdown

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
PAGES = "README.md", "README.zh.md", "docs/results.md"
CHINESE = {
    "Defense": "防御",
    "Attack": "攻击",
    "Queries": "查询次数",
    "Seeds": "种子数",
    "Stealer accuracy": "窃取准确率",
    "Fidelity": "保真度",
    "Defender accuracy": "防御后准确率",
    "KL": "KL",
    "L1": "L1",
    "Added ms": "附加毫秒",
    "What": "内容",
    "Feint": "Feint",
    "Instead": "替代品",
    "Ratio": "比值",
}


def matrix(name: str) -> str:
    return markdown(Results.load(RESULTS / name))


def grid(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def bench_rows(name: str) -> list[dict[str, Any]]:
    file = RESULTS / "bench.json"
    return json.loads(file.read_text()).get(name, {}).get("rows", []) if file.exists() else []


def knockoff(thefts: list[dict[str, Any]]) -> list[str]:
    """One theft with both tools, averaged over seeds: processor time and accuracy of the surrogate."""
    tools = {row["tool"] for row in thefts}
    runs = {tool: [row for row in thefts if row["tool"] == tool] for tool in tools}
    keys = "cpu_seconds", "stealer_accuracy"
    mean = {tool: {key: sum(it[key] for it in of) / len(of) for key in keys} for tool, of in runs.items()}
    ours, theirs = mean["Feint"], mean["ART 1.20.1"]
    first = thefts[0]
    setting = f"{first['network']}, {first['epochs']} epochs"
    what = f"KnockoffNets, {first['asked']:,} queries, Fashion-MNIST, {setting}, CPU time"
    shown = [f"{it['cpu_seconds']:.1f} s, {it['stealer_accuracy']:.1%}" for it in (ours, theirs)]
    return [what, shown[0], f"{shown[1]} (ART 1.20.1)", f"{ours['cpu_seconds'] / theirs['cpu_seconds']:.2f}"]


def bench() -> str:
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
    for thefts in (bench_rows("knockoff"), bench_rows("knockoff_resnet20")):
        rows += [knockoff(thefts)] if thefts else []
    return grid(rows)


def optimum() -> str:
    rows = [["Distance", "Keeps", "Share of the optimum", "Seconds"]]
    for row in bench_rows("apgp_optimum"):
        rows.append(
            [f"`{row['distance']}`", row["keeps"], f"{row['share_of_optimum']:.1%}", f"{row['fit_seconds']:.1f}"]
        )
    return grid(rows)


def recipes() -> str:
    rows = [["Training of the thief", "Stealer accuracy"]]
    for row in json.loads((RESULTS / "cifar10_recipes.json").read_text())["rows"]:
        rows.append([f"`{row['training']}`", f"{row['stealer_accuracy']:.2%}"])
    return grid(rows)


TABLES = {
    "recipes": recipes,
    "digits": lambda: matrix("digits"),
    "cifar10": lambda: matrix("cifar10"),
    "bench": bench,
    "optimum": optimum,
}


def filled(page: str) -> str:
    """The text of `page` with every table made anew."""

    def table(match: re.Match[str]) -> str:
        text = TABLES[match[1]]()
        if page.endswith(".zh.md"):
            head, rest = text.split("\n", 1)
            text = "| " + " | ".join(CHINESE[it.strip()] for it in head.strip("|").split("|")) + " |\n" + rest
        return f"<!-- table: {match[1]} -->\n\n{text}\n\n<!-- /table -->"

    return re.sub(r"<!-- table: (\w+) -->.*?<!-- /table -->", table, (ROOT / page).read_text(), flags=re.DOTALL)


def main() -> None:
    for page in PAGES:
        (ROOT / page).write_text(filled(page))
    (ROOT / "docs" / "images").mkdir(exist_ok=True)
    for name in ("digits", "cifar10"):
        curve = figures.budget_curve(Results.load(RESULTS / name))
        (ROOT / "docs" / "images" / f"{name}.svg").write_text(figures.svg(curve))


if __name__ == "__main__":
    main()
