"""Tables of detectors and ladders: who is accused, and after how many queries."""

from functools import partial

from docs.tables.rows import Row, grid, rows_of

VICTIMS = "CIFAR-10", "Fashion-MNIST", "Adult"


def delays() -> str:
    """Return the table of queries until an attacker is accused."""
    found = [row for row in rows_of("evidence") if row["name"].startswith("delay")]
    honest = {(row["victim"], bool(row["slices"])): row for row in _honest_rows() if not row["drift"]}
    shares = sorted({row["share"] for row in found}, reverse=True)
    rows = [["Victim", "Slices", "α", *(f"{share:.0%} attack queries" for share in shares), "honest clients accused"]]
    tests = sorted({_test(row) for row in found}, key=lambda test: (_place(test[0]), test[1], -test[2]))
    for victim, slices, alpha in tests:
        at = {row["share"]: _delay(row) for row in found if _test(row) == (victim, slices, alpha)}
        clients = honest.get((victim, slices))
        shown = _clients(clients) if clients and clients["alpha"] == alpha else ""
        rows.append([victim, "yes" if slices else "no", f"{alpha:g}", *(at.get(share, "") for share in shares), shown])
    return grid(rows)


def _honest_rows() -> list[Row]:
    return [row for row in rows_of("evidence") if row["name"].startswith("honest")]


def _test(row: Row) -> tuple[str, bool, float]:
    """Return victim, slices and α of a row."""
    return row["victim"], bool(row["slices"]), row["alpha"]


def _clients(row: Row) -> str:
    return f"{row['accused'] * row['streams']:.0f} of {row['streams']:,} (bound {row['bound']:.1%})"


def _delay(row: Row | None) -> str:
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


def _drifted(row: Row) -> str:
    median = row["median_queries"]
    return f"{row['accused']:.0%}" + ("" if median is None else f" (median query {median:.0f})")


def ordinary() -> str:
    """Return the table of ordinary clients who are accused, without and with declared slices."""
    heads = "Victim|Honest clients|accused, no slices|highest evidence|accused, slices declared|highest evidence"
    rows = [heads.split("|")]
    here = sorted((row for row in rows_of("ordinary") if "kind" in row), key=placed)
    for victim, kind in dict.fromkeys((victim_of(row), row["kind"]) for row in here):
        at = {bool(row["slices"]): row for row in here if (victim_of(row), row["kind"]) == (victim, kind)}
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
    for row in sorted((row for row in rows_of("ordinary") if "bursts" in row), key=placed):
        known = [length for length in row["lengths"] if length]
        measured = f"{min(known)} to {max(known)}" if known else "not known"
        accused = f"{row['accused']} of {row['clients']} ({row['burst']})"
        delay = " → ".join("never" if median is None else f"{median:,.0f}" for median in row["attacker"])
        rows.append([victim_of(row), row["bursts"], measured, accused, delay])
    return grid(rows)


def population() -> str:
    """Return the table of a mixed population, at evidence 1 and at the threshold of the clients of a month before."""
    heads = "Victim|Slices|Accused at 1|Threshold|Accused at it|Bound of the threshold|100% attack queries|50%|25%"
    rows = [heads.split("|")]
    found = (row for row in rows_of("ordinary") if "level" in row)
    for row in sorted(found, key=lambda row: (placed(row), bool(row["slices"]))):
        delays = [
            " → ".join("never" if queries is None else f"{queries:,.0f}" for queries in pair)
            for pair in row["attackers"].values()
        ]
        rows.append([
            victim_of(row), "declared" if row["slices"] else "none", f"{row['accused_at_1'] / row['clients']:.1%}",
            f"{row['level']:.2f}", f"{row['accused'] / row['clients']:.1%}", f"{row['bound']:.1%}", *delays,
        ])  # fmt: skip
    return grid(rows)


def ladder() -> str:
    """Return the table of what an attacker gets behind a ladder: answers before refusals, and copies by policy."""
    found = {row["name"]: row for row in rows_of("evidence") if row["name"].startswith(("asked", "ladder"))}
    campaigns = dict.fromkeys(row["campaign"] for row in found.values())
    policies = "refusal", "flipped labels"
    copied = [f"Stealer accuracy, {policy}" for policy in policies]
    rows = [["Attacker", "Accounts accused", "Queries", "Answers", *copied]]
    for campaign in sorted(campaigns, key=lambda name: ("own" in name, "filler" in name, len(name), name)):
        here = {row.get("policy"): row for row in found.values() if row["campaign"] == campaign}
        asked = here.get(None) or here["refusal"]
        copies = [f"{here[policy]['stealer_accuracy']:.1%}" if policy in here else "not run" for policy in policies]
        rows.append([campaign, *(f"{asked[count]:,}" for count in ("accused", "asked", "answered")), *copies])
    return grid(rows)


def promises() -> str:
    """Return the table of what the owner of each victim may promise."""
    accounts = "1", "10", "100", "1000"
    heads = [f"{int(n):,} account{'s' if n != '1' else ''} buy{'s' if n == '1' else ''}" for n in accounts]
    rows = [["Victim", "Attacker", "Median queries", "Accounts accused", *heads]]
    names = {
        "pool": "nothing but the pool",
        "selected": "the most ordinary tenth of it",
        "stepped": "the pool after gradient steps to scores that the test finds ordinary",
        "blended": "blends of it with 20 of the task's inputs",
        "filled": "{share:.0%} from the pool, the rest varied copies of 20 of the task's inputs",
        "mixed": "{share:.0%} from the pool, the rest the task's own",
        "task": "the task's own inputs",
    }
    for row in sorted((row for row in rows_of("evidence") if row["name"].startswith("promise")), key=placed):
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


def detection(victim: str) -> str:
    """Return the table of detectors of one victim's attackers, by attack and share."""
    found = [row for row in rows_of("detectors") if "accused" in row and victim_of(row) == victim]
    rows = [["Attack", "Share", "Others", *(names := sorted({row["detector"] for row in found}, key=_detector))]]
    keys = dict.fromkeys((row["attack"], row["share"], row["others"]) for row in found)
    for key in sorted(keys, key=lambda row: (row[0], row[2], -row[1])):
        at = {row["detector"]: _delay(row) for row in found if (row["attack"], row["share"], row["others"]) == key}
        rows.append([key[0], f"{key[1]:.0%}", key[2], *(at.get(name, "") for name in names)])
    return grid(rows)


def _detector(name: str) -> tuple[bool, int, str]:
    """Return the place of a detector: e-processes first, and of these the means last."""
    return name in ("PRADA", "SEAT", "TwoSample"), name.count("+"), name


def unaccused() -> str:
    """Return the table of the largest shares of attack queries that no test accuses, by what the others are."""
    rows = [
        ["Victim", "Attack", "Score", "Others: honest inputs", "of the surest classes", "one or two that serve best"]
    ]
    found = [row for row in rows_of("detectors") if "unaccused_share" in row]
    for row in sorted(found, key=lambda row: (placed(row), row["attack"], _detector(row["detector"]))):
        shares = dict(row["unaccused_share"])
        best, honest = shares.pop("best"), shares.pop("honest")
        (surest,) = shares.values()
        cells = [f"{share:.3f}" if share < 0.9995 else "all" for share in (honest, surest, best)]
        rows.append([victim_of(row), row["attack"], row["detector"], *cells])
    return grid(rows)


def hardest() -> str:
    """Return the table of the shares that an audit chooses a test by: of queries that only chance accuses, by score."""
    rows = [["Victim", "Score", "Share that only chance accuses, for who knows the test", "among copies of 20 inputs"]]
    for row in sorted((row for row in rows_of("evidence") if row["name"].startswith("promise")), key=placed):
        shares = row["test"]["unaccused_share_by_score"]
        for score, share in shares.items():
            taken = share == min(shares.values())
            copies = f"{row['unaccused_share']:.3f}" if taken else ""
            shown = f"{share:.3f}" if share < 1 else "all"
            rows.append([row["victim"], f"`{score}`{', taken' if taken else ''}", shown, copies])
    return grid(rows)


def outliers() -> str:
    """Return the table of tests whose score learned from inputs of another task, beside the one that an audit takes."""
    heads = "Score of CIFAR-10|Learns from|Share for who knows|among copies|The pool|25% of it|10% of it|Blends|Honest"
    found = {row["name"]: row for row in rows_of("evidence")}
    rows = [heads.split("|")]
    base = found["promise-CIFAR-10"]
    shares = base["test"]["unaccused_share_by_score"]
    rows.append(["`Mahalanobis()`", "nothing", f"{shares['Mahalanobis()']:.3f}", *_learned(base)])
    for name in sorted(name for name in found if name.startswith("outliers")):
        row = found[name]
        rows.append(["`LearnedScore()`", f"`{row['outliers']}`", f"{row['share_for_who_knows']:.3f}", *_learned(row)])
    return grid(rows)


def _learned(row: Row) -> list[str]:
    """Return the share among copies, when attackers are accused, and how many honest clients are."""
    tried = {(attack["name"], attack["share"]): attack for attack in row["attackers"]}
    asked = ("pool", 1.0), ("mixed", 0.25), ("mixed", 0.1), ("blended", 1.0)
    honest = row["honest"]
    return [
        f"{row['unaccused_share']:.3f}", *(_delay(tried[key]) for key in asked),
        f"{honest['accused']} of {honest['clients']}",
    ]  # fmt: skip


def coded() -> str:
    """Return the table of copies from answers to images that were given one perceptual code."""
    rows = [["Accounts", "Images of the pool", "Answers", "Stealer accuracy, three seeds", "Fidelity"]]
    for row in sorted((row for row in rows_of("evidence") if "coded" in row), key=lambda row: row["name"]):
        kind = "given one code, that of another image for each account" if row["coded"] else "as they are"
        scores = (", ".join(f"{score:.1%}" for score in row[name]) for name in ("stealer_accuracy", "fidelity"))
        rows.append([f"{row['accounts']}", kind, f"{row['answers']:,}", *scores])
    return grid(rows)


def evasions() -> str:
    """Return the table of accounts that evade by the order or the form of their queries."""
    rows = [
        [
            "Victim",
            "An account asks about",
            "Answers from the pool until accused",
            "Accounts accused",
            "Of so many answers",
        ]
    ]
    for row in sorted((row for row in rows_of("evidence") if row["name"].startswith("evasion")), key=placed):
        median = row["median_answers"]
        shown = f"{row['answers_of_the_others']:.0f} in 2,000 queries" if median is None else f"{median:,.0f}"
        accused = f"{row['accused'] * row['accounts']:.0f} of {row['accounts']}"
        rows.append([row["victim"], row["attacker"], shown, accused, f"{row['most_answers']:,}"])
    return grid(rows)


def _place(victim: str) -> int:
    return VICTIMS.index(victim)


def victim_of(row: Row) -> str:
    """Return the victim of a row, which rows do not name where CIFAR-10 was the only one."""
    return row.get("victim", "CIFAR-10")


def placed(row: Row) -> int:
    return _place(victim_of(row))


TABLES = {
    "detection_cifar10": partial(detection, "CIFAR-10"),
    "detection_fashion_mnist": partial(detection, "Fashion-MNIST"),
    "detection_adult": partial(detection, "Adult"),
    "delays": delays,
    "drift": drift,
    "ordinary": ordinary,
    "bursts": bursts,
    "population": population,
    "ladder": ladder,
    "promises": promises,
    "unaccused": unaccused,
    "hardest": hardest,
    "outliers": outliers,
    "evasions": evasions,
    "coded": coded,
}
