"""Tables of the suite `ownership`."""

import json

from docs.tables import ownership as ownership_tables

from feint.bench import load

HEADS = ownership_tables.HEADS


def _row(fingerprint, attack, seed, *, claimed, removal=False, budget=700, **scores):
    scores = {"stealer_accuracy": 0.9, "fidelity": 0.8, "claimed_triggers": claimed, "claim_log_e": -0.04} | scores
    return {
        "fingerprint": fingerprint, "defense": "none", "attack": attack, "budget": budget, "seed": seed,
        "scores": scores | {"claimed": claimed, "claim_asked": 811, "claim_bound": 0.048703},
        "asked": budget, "seconds": 1.0, "provenance": {}, "victim": "digits",
        "recipe": {"attack": {"kind": "Removed" if removal else "KnockoffNets"}, "defense": {"kind": "Defense"}},
    }  # fmt: skip


def _written(tmp_path, monkeypatch, rows):
    """Let the tables be those of these rows."""
    (tmp_path / "ownership.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipes.json").write_text("{}")
    monkeypatch.setattr(ownership_tables, "RESULTS", tmp_path)


def _table(tmp_path, monkeypatch, rows):
    """The table of digits of these rows, a dictionary for each line by theft and reading."""
    _written(tmp_path, monkeypatch, rows)
    heads, *lines = ownership_tables.survival("digits")
    assert heads == HEADS
    return {tuple(line[:3]): dict(zip(heads, line, strict=True)) for line in lines}


def test_a_cell_that_was_not_run_says_so(tmp_path, monkeypatch):
    lines = _table(tmp_path, monkeypatch, [_row("a", "KnockoffNets", 0, claimed=1.0)])
    planned = {(cell.defense, cell.attack) for cell in load("ownership").cells() if cell.victim == "digits"}
    assert len(lines) == len({key for key in planned if key[1]})
    assert lines["none", "WRK", "labels"]["Claimed"] == "not run"
    assert lines["none", "KnockoffNets", "probabilities"]["Claimed"] == "1 of 1, 2 not run"


def test_a_removal_stands_beside_its_theft_and_a_mark_that_a_claim_lacks_is_a_dash(tmp_path, monkeypatch):
    rows = [
        _row("a", "KnockoffNets, labels only", 0, claimed=1.0, stealer_accuracy=0.955),
        _row("b", "WRK, labels only", 0, claimed=0.0, removal=True, stealer_accuracy=0.8),
        _row("c", "WRK, labels only", 1, claimed=1.0, removal=True, stealer_accuracy=0.9),
    ]
    lines = _table(tmp_path, monkeypatch, rows)
    assert list(lines)[:2] == [("none", "KnockoffNets", "probabilities"), ("none", "KnockoffNets", "labels")]
    line = lines["none", "WRK", "labels"]
    assert line["Accuracy, %"].split() == ["95.5", "→", "85.0"]
    assert (line["Claimed"], line["95 %"]) == ("1 of 2, 1 not run", "1–99")
    assert (line["By mistakes · triggers · mark served"], line["log10 e"]) == ("- · 1 · -", "0.0")
    assert lines["none", "KnockoffNets", "labels"]["Accuracy, %"] == "95.5"


def test_claims_with_students_stand_beside_those_without(tmp_path, monkeypatch):
    rows = [
        _row("a", "KnockoffNets", 0, claimed=1.0),
        _row("b", "KnockoffNets", 0, claimed=0.0, claim_log_e=1.5) | {"victim": "digits with students"},
        _row("c", "WRK, labels only", 0, claimed=1.0, removal=True) | {"victim": "digits with students"},
    ]
    _written(tmp_path, monkeypatch, rows)
    heads, *lines = ownership_tables.students()
    theft, removal = (dict(zip(heads, line, strict=True)) for line in lines)
    assert (theft["Claimed"], theft["Claimed with students"]) == ("1 of 1, 2 not run", "0 of 1, 2 not run")
    assert (theft["log10 e"], theft["log10 e with students"]) == ("0.0", "1.5")
    assert (removal["Copy by"], removal["Claimed"]) == ("labels", "not run")
    assert ownership_tables.honest()[1:] == []
