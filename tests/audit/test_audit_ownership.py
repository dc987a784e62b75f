"""What an audit says of the evidence that a claim of ownership would have."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from feint import victims
from feint.attacks import KnockoffNets
from feint.audit import ownership_text
from feint.audit.candidates import NONE
from feint.audit.ownership import COPIES, CopyEvidence, NoOutlook, OwnershipOutlook, outlook
from feint.audit.text import AuditText
from feint.bench.cells import through
from feint.bench.matrix import Matrix
from feint.defense import Defense
from feint.evaluation.results import Results
from feint.i18n import LANGUAGES
from feint.models.networks import Network
from feint.models.training import Training, train
from feint.ownership.comparison import Evidence
from feint.progress import NO_PROGRESS

QUICK = Training(epochs=3, least_steps=100, batch_size=32, learning_rate=0.05)


def copy(log_e: float, *, budget: int = 500, asked: int = 40) -> CopyEvidence:
    evidence = Evidence("same mistakes", asked, 30, 25, "innocent 0", 6, 20, 1, log_e, 0.2)
    return CopyEvidence(budget, COPIES[0], 0.9, evidence)


def known(*copies: CopyEvidence) -> OwnershipOutlook:
    return OwnershipOutlook(40, 1000, 3, copies)


def test_a_claim_needs_so_many_controls_that_none_of_them_bounds_false_claims():
    assert known(copy(9.0)).controls_needed == 59


def test_evidence_that_doubles_takes_half_the_mistakes():
    assert copy(3.5, asked=40).mistakes_needed(1e-3) == 79
    assert copy(7.0, asked=40).mistakes_needed(1e-3) == 40
    assert copy(0.0).mistakes_needed(1e-3) is None


def test_the_copy_with_most_evidence_decides():
    outcome = known(copy(2.0, budget=100), copy(8.0, budget=500))
    assert outcome.strongest.budget == 500
    assert outcome.is_enough(outcome.strongest)
    assert not outcome.is_enough(outcome.copies[0])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("log_e", [0.0, 2.0, 9.0])
def test_sentences_and_table_are_whole_in_each_language(language, log_e):
    text, outcome = AuditText(language), known(copy(log_e))
    sentences = ownership_text.sentences(outcome, text)
    heads, (row,) = ownership_text.table(outcome, text)
    assert len(heads) == len(row)
    assert "4.95%" in " ".join(sentences)
    assert not [line for line in (*sentences, *heads, *row) if "{" in line]


def test_evidence_that_is_enough_is_named_so():
    text = AuditText("en")
    assert ", enough at 0.001" in ownership_text.summary(known(copy(9.0)), text)
    assert ", too little at 0.001" in ownership_text.summary(known(copy(2.0)), text)


def test_nothing_is_evidenced_where_nothing_is_known():
    text, nothing = AuditText("en"), NoOutlook("claim no copy")
    assert ownership_text.evidence(nothing, text) == ""
    assert ownership_text.to_json(nothing, text) == {"known": False, "reason": "no copy was trained"}
    assert ownership_text.table(nothing, text)[1] == []
    assert "no copy was trained" in ownership_text.sentences(nothing, text)[0]


@pytest.mark.parametrize("phrase", ["claim no copy", "claim interrupted", "claim two classes"])
def test_why_nothing_is_known_is_said_in_the_owners_language(phrase):
    (sentence,) = ownership_text.sentences(NoOutlook(phrase), AuditText("zh"))
    assert not re.search("[a-z]{3}", sentence)
    (sentence,) = ownership_text.sentences(NoOutlook(phrase), AuditText("en"))
    assert re.search(r"is not known: [a-z].*[a-z]\.$", sentence)


@pytest.fixture(scope="module")
def stolen(digits) -> Any:
    """A weak model with many mistakes, its thefts, and the samples and plan of an audit of it."""
    network = Network("mlp", digits.domain, 10)
    model = train(network, digits.train.take(slice(0, 100), part="few"), training=Training(epochs=3))
    samples = SimpleNamespace(fit=digits.train, judge=digits.test)
    attacks = through({"KnockoffNets": KnockoffNets(digits.pool, network, QUICK)}, {"labels only": ()})
    matrix = Matrix(model, digits.test, attacks=attacks, defenses={NONE: Defense()}, budgets=[50, 300], seeds=[0])
    plan = SimpleNamespace(surrogate=network, training=QUICK)
    return SimpleNamespace(model=model, samples=samples, matrix=matrix, plan=plan, results=matrix.run())


def test_copies_of_a_model_with_many_mistakes_repeat_them(stolen):
    outcome = outlook(stolen.model, stolen.samples, stolen.plan, stolen.matrix, stolen.results, NO_PROGRESS)
    assert isinstance(outcome, OwnershipOutlook)
    wrong = victims.answers(stolen.model, stolen.samples.judge).argmax(-1) != stolen.samples.judge.labels
    assert outcome.mistakes == int(wrong.sum())
    assert [(each.budget, each.attack) for each in outcome.copies] == [(b, a) for b in (50, 300) for a in COPIES]
    best = outcome.strongest.evidence
    assert best.agreed / best.compared > 2 * best.control_agreed / best.compared
    assert ownership_text.to_json(outcome, AuditText("en"))["copies"][0]["queries"] == 50


def test_a_copy_that_failed_is_left_out(stolen):
    rows = Results(row for row in stolen.results if row.budget != 300)
    outcome = outlook(stolen.model, stolen.samples, stolen.plan, stolen.matrix, rows, NO_PROGRESS)
    assert isinstance(outcome, OwnershipOutlook)
    assert {each.budget for each in outcome.copies} == {50}
    nothing = outlook(stolen.model, stolen.samples, stolen.plan, stolen.matrix, Results([]), NO_PROGRESS)
    assert nothing == NoOutlook("claim no copy")


def test_a_model_without_mistakes_has_no_outlook(stolen, digits):
    answered = victims.answers(stolen.model, digits.test).argmax(-1).numpy()
    right = digits.test.of(digits.test.values, answered, domain=digits.domain)
    samples: Any = SimpleNamespace(fit=digits.train, judge=right)
    outcome = outlook(stolen.model, samples, stolen.plan, stolen.matrix, stolen.results, NO_PROGRESS)
    assert isinstance(outcome, NoOutlook)
    assert "0 of" in outcome.reason
