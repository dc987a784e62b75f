"""Tables of campaigns of many accounts."""

from collections.abc import Sequence

from docs.tables.evidence import placed, victim_of
from docs.tables.rows import Row, grid, rows_of


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
            [victim_of(row), f"{row['honest']:,}", row.get("score", "energy"), level, _alarms(row), *changed,
             str(row["seeds"])]
        )  # fmt: skip
    return grid(rows)


def _recorded(name: str) -> str:
    """Return by whom the level of probation of a row was set."""
    if "calibrated-" not in name:
        return ""
    return ", by others with other images" if name.endswith("others") else ", by recorded newcomers"


def _alarms(row: Row) -> str:
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
        campaigns("attacker"), key=lambda row: (placed(row), row["score"], row["attacker"], row["honest"])
    ):
        changed = [f"{row[who]:.1%}" for who in ("attacker_changed", "honest_changed")]
        rows.append([victim_of(row), row["attacker"], row["score"], f"{row['honest']:,}", _alarms(row), *changed])
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


def _thefts(heads: str, thefts: Sequence[Row], named: Sequence[str]) -> str:
    """Return a table of copies that are trained on a campaign's answers; `named` fields follow the victim."""
    rows = [heads.split("|")]
    for row in sorted(thefts, key=lambda row: [placed(row), *(row[name] for name in named)]):
        changed, honest = (
            f"{row[who]:.1%}" if row["honest"] else "none" for who in ("attacker_changed", "honest_changed")
        )
        swapped = f"{row.get('share', 1.0):.0%}" if row["honest"] else "none"
        copy = [f"{row[name]:.1%}" for name in ("stealer_accuracy", "fidelity")]
        about = victim_of(row), *(row[name] for name in named), f"{row['honest']:,}", row["score"] or "no campaign"
        rows.append([*about, changed, swapped, honest, *copy])
    return grid(rows)


def campaign_days() -> str:
    """Return the table of false alarms."""
    heads = "Victim|Score|Honest newcomers a day|Days|Alarms|Highest evidence, as a share of the threshold (logarithms)"
    rows = [heads.split("|")]
    for row in campaigns("days"):
        counts = f"{row['honest']:,}", f"{row['days']:,}", str(row["alarms"])
        rows.append([victim_of(row), row.get("score", "energy"), *counts, f"{row['highest']:.2f}"])
    return grid(rows)


def campaign_named() -> str:
    """Return the table of the clients that e-BH names."""
    heads = (
        "Victim|Score|Honest newcomers|Queries each|Attacker's accounts named|Honest among the named|Honest named|Seeds"
    )
    rows = [heads.split("|")]
    for row in campaigns("named"):
        shares = f"{row['named']:.1%}", f"{row['false']:.2%}"
        about = victim_of(row), row.get("score", "energy"), f"{row['honest']:,}", str(row["queries"])
        wrong = ", ".join(map(str, row.get("wrong", [])))
        rows.append([*about, *shares, wrong, str(row["seeds"])])
    return grid(rows)


def campaign_rules() -> str:
    """Return the table of whose queries are improbable, by single queries and by those of an account."""
    rows = [["Victim", "p-value of", "Level", "Attacker's queries below it", "Honest newcomers' queries"]]
    for row in campaigns("rule"):
        what = "the query" if row["single"] else "the account's queries until then"
        rows.append([victim_of(row), what, f"{row['level']:g}", f"{row['attacker']:.1%}", f"{row['honest']:.1%}"])
    return grid(rows)


def campaigns(kind: str) -> list[Row]:
    """Return the rows of a kind, in the order of these fields."""
    order = "single", "honest", "level", "probation", "queries"
    here = [row for row in rows_of("campaign") if row["kind"] == kind]
    return sorted(
        here, key=lambda row: [placed(row), row.get("score", "energy"), *(row.get(name) or 0 for name in order)]
    )


TABLES = {
    "campaign_answers": campaign_answers,
    "campaign_attackers": campaign_attackers,
    "campaign_days": campaign_days,
    "campaign_named": campaign_named,
    "campaign_rules": campaign_rules,
    "campaign_thefts": campaign_thefts,
    "campaign_owners": campaign_owners,
}
