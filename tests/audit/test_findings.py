"""Advice of an audit: what is advised, and when nothing is known."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.audit_rows import theft, thefts, utility

from feint.audit import advice, terminal
from feint.audit.advice import Constant, Doubt
from feint.audit.candidates import Candidate
from feint.audit.findings import collect, query_limit, worst_cases
from feint.audit.gate import GateLimit, NotRun, violations
from feint.audit.text import AuditText
from feint.defense import Defense
from feint.defenses.outputs import LabelOnly
from feint.evaluation.results import Cell, Results
from feint.i18n import LANGUAGES

COIN = Constant(0.5, 0.5)
TEN = Constant(0.1, 0.1)


def audited(results, budgets, *, constant=TEN, candidates=(), missing=(), hurried=False) -> Any:
    """An audit with these rows, as far as its findings need it."""
    defenses = {name: Candidate(name, name, Defense(outputs=[LabelOnly()])) for name in candidates}
    size, surrogate = SimpleNamespace(budgets=budgets, seeds=3), SimpleNamespace(classes=10, name="mlp")
    plan = SimpleNamespace(
        size=size, surrogate=surrogate, seconds=60.0, minutes_for=lambda seeds: 12.0,
        hurried=hurried, notes=(),
    )  # fmt: skip
    samples = SimpleNamespace(judge=range(1000))
    setup = SimpleNamespace(plan=plan, samples=samples, candidates=defenses, constant=constant, cells=range(20))
    return SimpleNamespace(results=results, setup=setup, missing=list(missing))


def found(results, budgets, **about):
    audit = audited(results.merge([utility("none", 0.92)]), budgets, **about)
    findings = collect(audit, price=None)
    return findings, " ".join(AuditText("en").advice(findings, audit))


def test_a_copy_that_is_a_coin_toss_is_no_safety():
    findings, said = found(thefts("none", {100: 0.49, 300: 0.49}), (100, 300), constant=COIN)
    assert [case.doubt for case in findings.worst_cases] == [Doubt.CONSTANT] * 2
    assert not findings.known
    assert (findings.recommended, findings.query_limit) == (None, None)
    assert "The attacker could not be trained: nothing is known." in said
    assert "as good as a constant answer" in said
    assert "Give each account" not in said


def test_a_copy_that_did_not_learn_its_own_answers_is_no_safety():
    findings, said = found(thefts("none", {100: 0.4, 500: 0.45}, explained=0.5), (100, 500))
    assert [case.doubt for case in findings.worst_cases] == [Doubt.NOT_CONVERGED] * 2
    assert "nothing is known" in said


def test_a_small_surrogate_that_agrees_with_the_model_has_learned():
    findings, _ = found(thefts("none", {100: 0.5, 500: 0.6}, explained=0.8), (100, 500))
    assert [case.doubt for case in findings.worst_cases] == [Doubt.NOT_CONVERGED, None]


def test_failed_cells_of_labels_only_void_the_limit():
    rows = Results(
        theft("none", attack, 0.2, seed=seed, error="NaN" if "labels" in attack else "")
        for attack in ("a", "a, labels only") for seed in range(3)
    )  # fmt: skip
    findings, said = found(rows, (100,), missing=[Cell("none", "a, labels only", 100)])
    assert findings.query_limit is None
    assert not findings.known
    assert "PARTIAL" in said


def test_a_limit_comes_from_budgets_where_the_attackers_learned():
    findings, said = found(thefts("none", {100: 0.1, 500: 0.6, 2000: 0.88}), (100, 500, 2000))
    assert findings.worst_cases[0].doubt is Doubt.CONSTANT
    assert findings.query_limit == 500
    assert "Give each account at most 500 queries for its lifetime" in said
    assert "Ten accounts of one attacker ask 5,000: 2,000 queries already buy 88.0%" in said
    assert "in 30 days it lets one account ask 15,000" in said
    only_below, _ = found(thefts("none", {100: 0.1, 500: 0.88}), (100, 500))
    assert only_below.query_limit is None


def test_a_partial_run_advises_nothing_that_more_minutes_could_withdraw():
    low, said = found(thefts("none", {100: 0.3}), (100, 500), missing=[Cell("none", "a", 500)])
    assert (low.recommended, low.query_limit, low.known) == (None, None, False)
    assert "nothing is advised yet" in said
    assert "certain" not in said
    near, said = found(thefts("none", {100: 0.9}), (100, 500), missing=[Cell("none", "a", 500)])
    assert near.bought is not None
    assert "This much is certain: 100 queries buy a copy that is right on 90.0%" in said


def test_a_defense_is_deployed_from_three_seeds_alone_and_the_table_has_one_budget():
    bare, defended = thefts("none", {100: 0.5, 500: 0.8}), thefts("label only", {100: 0.3, 500: 0.4})
    cost = [utility("label only", 0.92)]
    findings, said = found(bare.merge(defended).merge(cost), (100, 500), candidates=["label only"])
    assert findings.recommended is not None
    assert "Deploy label only: after 500 queries the attacker's copy falls from 80.0% to 40.0%" in said
    assert findings.query_limit == 500
    one, said = found(
        thefts("none", {500: 0.8}, seeds=1).merge(thefts("label only", {500: 0.4}, seeds=1)).merge(cost), (500,),
        candidates=["label only"],
    )  # fmt: skip
    assert one.recommended is None
    assert "fewer than 3 seeds per theft; 3 seeds take about 12 minutes" in said
    mixed, _ = found(
        bare.merge(thefts("label only", {100: 0.3})).merge(cost), (100, 500), candidates=["label only", "other"]
    )  # fmt: skip
    _, rows = AuditText("en").effect_table(mixed)
    assert AuditText("en").effects_title(mixed).startswith("Effect of each defense at 500 queries")
    assert [row[0] for row in rows] == ["no defense", "label only", "other"]
    assert [row[3] for row in rows[1:]] == ["not measured"] * 2


def test_a_dear_defense_and_one_within_noise_are_not_recommended():
    bare = thefts("none", {500: 0.8})
    for share, lost, deployed in ((0.79, 0.0, False), (0.4, 0.05, False), (0.4, 0.005, True)):
        rows = bare.merge(thefts("label only", {500: share})).merge([utility("label only", 0.92, lost=lost)])
        findings, _ = found(rows, (500,), candidates=["label only"])
        assert (findings.recommended is not None) == deployed


def test_the_margin_knows_the_most_frequent_class():
    assert advice.margin(0.92, TEN) == pytest.approx(0.10)
    assert advice.margin(0.87, Constant(0.76, 0.8)) == pytest.approx(0.055)
    assert advice.margin(0.7, Constant(0.9, 0.9)) == 0.0


def test_a_limit_ends_where_a_copy_comes_near():
    rows = thefts("none", {10: 0.3, 20: 0.7, 30: 0.5})
    cases = worst_cases(rows, "none", (10, 20, 30), 2.0, constant=TEN)
    assert [case.price for case in cases] == [0.02, 0.04, 0.06]
    assert query_limit(cases, 0.85) == 30
    assert query_limit(cases, 0.69) == 10
    assert query_limit(cases, 0.25) is None


def test_a_gate_is_open_only_where_every_attacker_was_run_and_learned():
    def checked(limit, results, missing=()):
        return violations([limit], audited(results, (100,), missing=missing), ())

    whole = Results([theft("none", "a", 0.5), theft("none", "a, labels only", 0.6)])
    assert checked(GateLimit("fidelity", 100, 0.7), whole) == []
    assert "a, labels only" in checked(GateLimit("fidelity", 100, 0.55), whole)[0]
    broken = Results([theft("none", "a", 0.5), theft("none", "a, labels only", 0, error="OSError: no")])
    with pytest.raises(NotRun, match="a theft failed"):
        checked(GateLimit("fidelity", 100, 0.7), broken)
    assert checked(GateLimit("fidelity", 100, 0.4), broken)
    with pytest.raises(NotRun, match="not all attackers were run"):
        checked(GateLimit("fidelity", 100, 0.7), whole, [Cell("none", "b", 100)])
    assert checked(GateLimit("fidelity", 100, 0.7), whole, [Cell("none", "a", 500)]) == []
    with pytest.raises(NotRun, match="the copy learned too little"):
        checked(GateLimit("fidelity", 100, 0.7), thefts("none", {100: 0.5}, explained=0.4))
    with pytest.raises(NotRun, match="constant answer"):
        checked(GateLimit("fidelity", 100, 0.7), thefts("none", {100: 0.1}))


def test_the_numbers_of_flags_are_filled_in():
    rows = thefts("none", {500: 0.5}, seeds=1, explained=0.623)
    findings, _ = found(rows, (500,))
    for language in LANGUAGES:
        text = AuditText(language)
        shown = " ".join(text.flag(flag) for flag in findings.flags)
        assert "62.3%" in shown
        assert ("few-seeds (1)" in shown) == (language == "en")
        assert ("种子过少（1）" in shown) == (language == "zh")
        assert "so many" not in shown


def test_a_weaker_attacker_for_lack_of_time_gives_no_advice():
    findings, said = found(thefts("none", {100: 0.2, 500: 0.3}), (100, 500), hurried=True)
    assert (findings.known, findings.recommended, findings.query_limit) == (False, None, None)
    assert "the strongest attacker that was tried did not fit into the minutes" in said
    assert "Give each account" not in said
    near, said = found(thefts("none", {100: 0.9}), (100,), hurried=True)
    assert near.bought is not None
    assert "This much is certain" in said


def test_no_cell_of_a_table_is_cut():
    screen = terminal._Screen()
    heads = "queries", "price (EUR)", "copy's accuracy", "fidelity", "worst attacker", "basis for advice"
    cells = (
        "225",
        "0.34",
        "74.8 (71–80)",
        "76.1 (72–81)",
        "KnockoffNets, labels only",
        "no: as good as a constant answer",
    )
    screen.table(heads, [cells], [4, 5])
    assert max(map(len, screen.text.splitlines())) <= terminal.WIDTH
    assert all(cell in screen.text for cell in (*heads, *cells[:4]))
    assert {*" ".join(cells).split()} <= {*screen.text.split()}
