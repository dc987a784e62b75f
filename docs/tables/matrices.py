"""Tables of attacks × defenses: suites and single matrices."""

from collections import Counter
from functools import partial
from itertools import product
from statistics import fmean, median, variance

from benchmarks.record import RESULTS
from docs.tables.rows import Row, grid, mean_of, natural, results_of, rows_of

from feint.bench import load
from feint.bench.load import shipped
from feint.evaluation import traits
from feint.evaluation.checks import find_flags, verdict
from feint.evaluation.results import Results
from feint.evaluation.robust import robust, thefts
from feint.i18n import Catalog
from feint.report.section import sections
from feint.report.summary import markdown
from feint.report.tables import headline


def matrix(name: str) -> str:
    """Return the table of a matrix."""
    return markdown(results_of(name))


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
    for name in shipped():
        results = results_of(name) if (RESULTS / f"{name}.jsonl").exists() else Results()
        flags = find_flags(results)
        raised = [{flag.name for flag in flags[row.fingerprint]} for row in results if row.attack]
        if raised:
            trusted, near = raised.count(set()), raised.count({"within-noise"})
            others = Counter(flag for names in raised if names - {"within-noise"} for flag in sorted(names))
            share = f"{(trusted + near) / len(raised):.0%}"
            planned = sum(bool(cell.attack) for cell in load(name).cells())
            cells = f"{len(raised):,}", f"{planned:,}", f"{trusted}", f"{near}", share
            lines.append([f"`{name}`", *cells, ", ".join(f"{flag} {count}" for flag, count in others.most_common())])
    return grid(lines)


def seeds() -> str:
    """Return the table of how much seeds differ: s² b / p(1 − p) over the different cells with three seeds."""
    ratios: dict[str, list[float]] = {"no defense, or labels only": [], "a defense's answers, in any other way": []}
    bare, read = ratios.values()
    for name in ("quick", "fashion_mnist", "cifar10"):
        [section] = sections(results_of(name))
        places = product(section.defenses, section.budgets)
        cells = [rows for place in places for rows in thefts(section.results, *place).values()]
        several = {tuple(row.scores["stealer_accuracy"] for row in rows): rows for rows in cells}
        for shares, rows in several.items():  # the attackers who read the same labels made the same copies
            if len(shares) >= 3:
                tests = traits.undefended, traits.labels_only, traits.returns_labels_only
                group = bare if any(test(rows[0]) for test in tests) else read
                group.append(variance(shares) * rows[0].budget / (fmean(shares) * (1 - fmean(shares))))
    lines = [["Attacker", "Cells", "Mean", "Median", "Largest"]]
    for group, of in {**ratios, "all": bare + read}.items():
        lines.append([group, f"{len(of)}", *(f"{figure:.2f}" for figure in (fmean(of), median(of), max(of)))])
    return grid(lines)


def trained() -> str:
    """Return the table of suites' surrogates: how many images a second their trainings took."""
    lines = [["Surrogate", "Suite", "Thefts", "Images a second, fastest", "median"]]
    for name in shipped():
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


def every_defense() -> str:
    """Return the table of what each defense leaves to honest clients, with one line for each strength."""
    results = results_of("defenses")
    scores = "defender_accuracy", "label_kept", "l1", "kl", "ece", "auroc", "added_ms_per_1000", "added_mb_per_1000"
    heads = "Defense|Defender accuracy|Label kept|L1|KL|ECE|AUROC|ms|MiB"
    rows = [heads.split("|")]
    for name in sorted(results.names("defense"), key=lambda defense: (defense != "none", natural(defense))):
        utility = results.utility(name)
        shares = [f"{100 * utility[score]:.2f}" for score in scores[:2]]
        numbers = [f"{utility[score]:.2f}" if score in utility else "" for score in scores[2:6]]
        costs = [_short(utility[score]) if score in utility else "" for score in scores[6:]]
        rows.append([name, *shares, *numbers, *costs])
    return grid(rows)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 or number < 0.05 else f"{number:.2g}"


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


def lenses() -> str:
    """Return the table of stealer accuracy through every lens, with a column for each defense."""
    results = results_of("lenses")
    thefts = [row for row in results if row.attack]
    stolen = {(reading(row.attack), row.defense): row.scores["stealer_accuracy"] for row in thefts}
    bounds = {reading(row.attack) for row in thefts if traits.upper_bound(row)}
    names = sorted({name for _, name in stolen}, key=lambda defense: (defense != "none", defense.lower()))
    shown = [["Lens", *names]]
    first = "as they are", "labels only"
    for lens in sorted({lens for lens, _ in stolen}, key=lambda name: (*(name != known for known in first), name)):
        cells = [f"{100 * stolen[lens, defense]:.1f}" if (lens, defense) in stolen else "" for defense in names]
        shown.append([f"{lens}, an upper bound" if lens in bounds else lens, *cells])
    return grid([*shown, ["worst case", *(worst_case(results, defense) for defense in names)]])


def steps() -> str:
    """Return the table of what longer trainings explain, and bring, behind each defense of digits: means over seeds."""
    thefts = [row for row in results_of("digits") if row.attack.endswith(" steps")]
    lengths = sorted({row.attack for row in thefts}, key=lambda attack: int("".join(filter(str.isdigit, attack))))
    rows = [["Defense", *(attack.removeprefix("KnockoffNets, ") for attack in lengths)]]
    for defense in dict.fromkeys(row.defense for row in thefts):
        rows.append([defense])
        for length in lengths:
            scores = [row.scores for row in thefts if (row.defense, row.attack) == (defense, length)]
            explained, accuracy = (mean_of(scores, name) for name in ("explained", "stealer_accuracy"))
            rows[-1].append(f"{explained:.2f}, {100 * accuracy:.1f}")
    return grid(rows)


def restored() -> str:
    """Return the table of lenses against MAD on digits, in percent, each seed."""
    thefts = [row for row in results_of("digits") if row.attack.startswith("KnockoffNets, 440 steps")]
    rows = [["Defense", "Lens", "Stealer accuracy, each seed"]]
    for defense in ("none", "MAD"):
        here = [row for row in thefts if row.defense == defense]
        for attack in dict.fromkeys(row.attack for row in here):
            each = sorted((row.seed, row.scores["stealer_accuracy"]) for row in here if row.attack == attack)
            lens = attack.removeprefix("KnockoffNets, 440 steps").removeprefix(", ") or "answers as they are"
            rows.append([defense, lens, ", ".join(f"{100 * accuracy:.1f}" for _, accuracy in each)])
    return grid(rows)


def reading(attack: str) -> str:
    """Return how an attack by KnockoffNets reads the answers, as a cell of a table."""
    return attack.removeprefix("KnockoffNets").removeprefix(", ") or "as they are"


def worst_case(results: Results, defense: str) -> str:
    """Return the robust stealer accuracy of a defense in percent; empty where there is none."""
    worst = robust(results, defense)
    return "" if worst is None else f"{100 * worst.share:.1f}"


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
            shown = [f"{100 * share:.1f}" for share in shares]
            rows.append([name, line.attack, asked, f"{line.seeds}", *shown, f"{minutes:.1f}", f"{peak:,.0f}"])
    return grid(rows)


def springboard(name: str) -> str:
    """Return the table of downstream attacks: shares in percent, means over seeds; first with the victim itself."""
    heads = (
        "Defense|Answers|Seeds|Stealer accuracy|Random signs|FGSM|PGD|Membership AUROC|found at 1 % false alarms|Flags"
    )
    scores = "transfer_random", "transfer_fgsm", "transfer_pgd"
    results = results_of("springboard").on(name)
    flags = find_flags(results)
    victim = next(row for row in rows_of("springboard_victims") if row["name"] == name)

    def shown(of: list[Row]) -> list[str]:
        shares = [f"{100 * mean_of(of, score):.1f}" for score in scores]
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


SUITES = "quick", "fashion_mnist", "cifar10", "gtsrb", "apgp2023_table1", "apmsa2023_table2"
TABLES = {
    **{f"suite_{name}": partial(suite, name) for name in SUITES},
    **{f"attacks_{name}": partial(attacks_on, name) for name in ("digits", "fashion_mnist", "cifar10")},
    **{f"springboard_{name}": partial(springboard, name) for name in ("digits", "fashion_mnist")},
    "digits": partial(matrix, "demo_digits"),
    "every_defense": every_defense,
    "lenses": lenses,
    "restored": restored,
    "seeds": seeds,
    "steps": steps,
    "data_free": data_free,
    "verdicts": verdicts,
    "trained": trained,
}
