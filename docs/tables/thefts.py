"""Tables of single attacks: on tables and texts, on parametric models, and options of the attacker."""

import json
from collections.abc import Iterable
from itertools import product
from statistics import mean

from benchmarks.record import RESULTS
from docs.tables.rows import Row, grid, mean_of, natural, rows_of


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


def _copy(rows: Iterable[Row]) -> str:
    """Return accuracy and fidelity of a copy, and its surrogate."""
    row = next(iter(rows), None)
    if row is None:
        return ""
    return f"{row['stealer_accuracy']:.1%} / {row['fidelity']:.1%}, {row['surrogate'].replace('_', ' ')}"


def text_surrogates() -> str:
    """Return the table of how often each linear surrogate of texts agrees with its victim."""
    found = rows_of("text_surrogates")
    kinds = dict.fromkeys((row["surrogate"], row["access"]) for row in found)
    rows = [["Victim", "Queries", "Most frequent label", *(f"`{name}`, {access}" for name, access in kinds)]]
    for victim, budget in dict.fromkeys((row["victim"], row["budget"]) for row in found):
        here = [row for row in found if (row["victim"], row["budget"]) == (victim, budget)]
        of_kind = {(row["surrogate"], row["access"]): f"{row['fidelity']:.1%}" for row in here}
        rows.append([victim, f"{budget:,}", f"{here[0]['same_label']:.1%}", *(of_kind[kind] for kind in kinds)])
    return grid(rows)


def large_images() -> str:
    """Return the table of what each surrogate of large images learns, and in which time."""
    rows = [["Surrogate", "Steps of a batch", "Optimizer", "Accuracy", "Fidelity", "Processor seconds"]]
    for row in sorted(rows_of("large_images"), key=lambda row: row["processor_seconds"]):
        rows.append([
            f"`{row['surrogate']}`", f"{row['steps']:,} of {row['batch']}", row["optimizer"],
            f"{row['stealer_accuracy']:.1%}", f"{row['fidelity']:.1%}", f"{row['processor_seconds']:,}",
        ])  # fmt: skip
    return grid(rows)


def equations() -> str:
    """Return the table of equation solving on undefended victims, beside the least number of queries possible."""
    heads = "Victim|Data|Attack|Queries|The least|Seeds|Relative error|Fidelity|on random inputs"
    rows = [heads.split("|")]
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows_of("equations"):
        if "defense" not in row:
            groups.setdefault((row["data"], row["victim"], row["budget"]), []).append(row)
    for (name, victim, _), found in sorted(groups.items()):
        error = "angle" if "labels" in victim else "relative_error"
        rows.append([
            victim, name, f"`{found[0]['recipe']}`", f"{mean_of(found, 'asked'):,.0f}",
            _least(found[0]), f"{len(found)}",
            f"{mean_of(found, error):.1e}" if error in found[0] else "",
            *(f"{mean_of(found, key):.2%}" for key in ("fidelity", "fidelity_random")),
        ])  # fmt: skip
    return grid(rows)


def _least(row: Row) -> str:
    if row["least"] is None:
        return ""
    return f"{row['least']:,} points" if "labels" in row["victim"] else f"{row['least']:,}"


def equations_defended() -> str:
    """Return the table of softmax regression behind each defense: relative error of the parameters, and fidelity."""
    found = [row for row in rows_of("equations") if "defense" in row]
    names = {row["attack"] for row in found}
    attacks = sorted(names, key=lambda name: ("labels" in name, name.startswith("r"), "100" in name))
    rows = [["Defense", *attacks]]
    defended = dict.fromkeys(row["defense"] for row in found)
    for name in sorted(defended, key=lambda defense: (defense != "none", natural(defense))):
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
                shares, seconds = ([row[key] for row in here] for key in ("useful_share", "cpu_seconds"))
                each = ", ".join(f"{accuracy:.1f}" for accuracy in accuracies)
                cells = f"{here[0]['useful_in_pool']:.0%}", attack, f"{mean(shares):.0%}", each
                rows.append([pool, *cells, f"{mean(accuracies):.1f}", f"{mean(seconds):.0f}"])
    return grid(rows)


def decays() -> str:
    """Return the table of where KnockoffNets adaptive asks, by how its steps shrink and where it begins."""
    found = [row for row in rows_of("adaptive") if row["attack"] == "choice"]
    beginnings = {"natural": ("natural", True), "signs, uniform at first": ("signs", False)}
    beginnings["signs, proportional at first"] = "signs", True
    rows = [["decay", *beginnings]]
    for decay in sorted({row["decay"] for row in found}):
        rows.append([f"{decay:g}"])
        for beginning in beginnings.values():
            here = [row for row in found if (row["decay"], row["pool"], row["proportional"]) == (decay, *beginning)]
            shares = f"{mean_of(here, 'useful_share'):.0%}, {mean_of(here, 'useful_groups'):.1f}" if here else ""
            rows[-1].append(shares)
    return grid(rows)


def options() -> str:
    """Return the table of what options of a strong attacker bring."""
    names = {"digits": "MLP, digits", "fashion_mnist": "LeNet, Fashion-MNIST", "cifar10": "ResNet-20, CIFAR-10"}
    found = rows_of("options")
    tried = list(dict.fromkeys(row["option"] for row in sorted(found, key=lambda row: row["option"] != "none")))
    lines = [["Victim", "Pool", "Queries", "Answers", *tried]]
    for victim, answers in product(names, ("probabilities", "labels")):
        here = [row for row in found if (row["victim"], row["answers"]) == (victim, answers)]
        if here:
            shares = [(row["option"], f"{100 * row['stealer_accuracy']:.1f}") for row in here]
            each = [[share for option, share in shares if option == name] for name in tried]
            pool = here[0]["pool"].removesuffix("/train")
            cells = names[victim], pool, f"{here[0]['asked']:,}", answers
            lines.append([*cells, *(" ".join(one) for one in each)])
    return grid(lines)


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


TABLES = {
    "adaptive": adaptive,
    "decays": decays,
    "options": options,
    "recipes": recipes,
    "models": models,
    "text_surrogates": text_surrogates,
    "large_images": large_images,
    "equations": equations,
    "equations_defended": equations_defended,
    "near_copies": near_copies,
}
