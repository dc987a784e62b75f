"""A claim needs evidence, a commitment, and controls."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.suspects import repeating

from feint.errors import BadInput, Unreachable
from feint.ownership.claim import Policy, claim
from feint.ownership.commitment import Commitment
from feint.ownership.comparison import compare
from feint.ownership.mark import Mark
from feint.ownership.plan import BATCH
from feint.ownership.plan import ORDINARY as ORDINARY_ASKED
from feint.ownership.text import ClaimText, shown
from feint.signature import Pixels

N, K = 200, 10
RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, K, N)
MARK = Mark.of("triggers", Pixels((1, 2, 2)), K, torch.rand(N, 1, 2, 2), torch.from_numpy(LABELS))
BEFORE = Commitment("digest", 100.0, "entry")
POLICY = Policy(most_false=0.05)


def answers(share, seed, labels=LABELS):
    """Return labels that agree with a share of `labels`, at places of their own."""
    random = np.random.default_rng(seed)
    return np.where(random.random(len(labels)) < share, labels, (labels + 1 + random.integers(0, 8, len(labels))) % K)


TRUTH = RANDOM.integers(0, K, N)
ORDINARY = Mark.of(
    "ordinary inputs", Pixels((1, 2, 2)), K, torch.rand(N, 1, 2, 2), torch.from_numpy(answers(0.9, 50, TRUTH)),
    torch.from_numpy(TRUTH),
)  # fmt: skip


def innocents(count=60, right=0.9):
    """Return controls that are right on this share of ordinary inputs."""
    return {f"innocent {i}": [answers(0.3, 100 + i), answers(right, 200 + i, TRUTH)] for i in range(count)}


CONTROLS = innocents()


def suspect(labels, *, stops=10_000, task=TRUTH):
    """Return a suspect with these labels for the mark, and others for ordinary inputs."""
    return repeating([MARK, ORDINARY], [labels, task], stops)


def made(labels, controls=CONTROLS, task=TRUTH, **options):
    options = {"commitment": BEFORE, "appeared": 200.0, "policy": POLICY, **options}
    return claim(suspect(labels, task=task), [MARK, ORDINARY], controls, **options)


def test_a_copy_is_claimed():
    result = made(answers(0.8, 1))
    assert result.is_copy
    assert result.e_value > 1000
    assert result.p_value < 1e-3
    assert result.false_claims == 0
    assert result.bound < 0.05


def test_a_claim_stops_asking_when_the_evidence_is_enough():
    assert made(LABELS).queries < N


def test_an_innocent_is_not_claimed():
    result = made(answers(0.3, 2))
    assert result.reasons == ("little evidence",)
    assert result.queries == N + ORDINARY_ASKED


def test_a_control_counts_that_would_be_claimed_before_all_questions_are_asked():
    wrong = (LABELS + 1) % K
    late = np.where(np.arange(N) < BATCH, wrong, LABELS)
    controls = {f"late {i}": [late, TRUTH] for i in range(60)} | {
        "early": [np.where(late == wrong, LABELS, wrong), TRUTH]
    }
    result = made(answers(0.3, 2), controls)
    assert result.queries == N + ORDINARY_ASKED
    assert result.claimed_controls == ["early"]


def test_a_mark_of_which_nothing_was_asked_counts_in_the_mean():
    more = Mark.of("same mistakes", Pixels((1, 2, 2)), K, torch.rand(N, 1, 2, 2), torch.from_numpy(LABELS))
    controls = {name: [labels, labels] for name, (labels, _) in CONTROLS.items()}
    oracle = repeating([MARK, more], [LABELS, LABELS])
    oracle.budget = BATCH
    alone = compare(MARK, LABELS[:BATCH], {name: labels for name, (labels, _) in controls.items()})
    assert claim(oracle, [MARK, more], controls, policy=POLICY).e_value == pytest.approx((np.exp(alone.log_e) + 1) / 2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"commitment": None}, "no commitment"),
        ({"appeared": None}, "not dated"),
        ({"appeared": 50.0}, "late commitment"),
        ({"policy": Policy(most_false=0.01)}, "few controls"),
    ],
)
def test_each_condition_alone_prevents_a_claim(options, reason):
    result = made(answers(0.9, 3), **options)
    assert result.reasons == (reason,)
    assert not result.is_copy


def test_controls_that_are_all_weaker_than_the_model_are_not_enough():
    result = made(LABELS, innocents(right=0.7))
    assert (result.as_good, result.reasons) == (0, ("weak controls",))
    assert not result.is_evident


def test_a_tenth_of_the_controls_must_be_as_good_as_the_model():
    strong = innocents(6, right=0.97)
    assert made(LABELS, innocents(60, right=0.7) | strong).reasons == ()
    strong.popitem()
    assert made(LABELS, innocents(60, right=0.7) | strong).reasons == ("weak controls",)


def test_without_ordinary_inputs_it_is_not_known_whether_controls_are_weak():
    controls = {name: labels[:1] for name, labels in CONTROLS.items()}
    result = claim(suspect(LABELS), [MARK], controls, commitment=BEFORE, appeared=200.0, policy=POLICY)
    assert result.reasons == ("controls not compared",)
    assert result.is_evident


def test_a_suspect_of_another_task_is_asked_nothing_but_a_few_ordinary_inputs():
    result = made(LABELS, task=K - 1 - TRUTH)
    assert result.task.right < result.task.weakest / 2
    assert result.queries == ORDINARY_ASKED
    assert result.reasons == ("other task",)


def test_the_text_tells_questions_of_the_mark_from_those_about_ordinary_inputs():
    result, text = made(answers(0.8, 1)), ClaimText()
    asked, ordinary = text.notes(result)[:2]
    assert asked.endswith(f"the suspect answered {result.queries}.")
    assert ordinary.startswith(f"Of these {ORDINARY_ASKED} were about ordinary inputs: it is right on 100% of them, ")
    controls = {name: labels[:1] for name, labels in CONTROLS.items()}
    assert "ordinary inputs:" not in " ".join(text.notes(claim(suspect(LABELS), [MARK], controls, policy=POLICY)))


@pytest.mark.parametrize(
    ("value", "text"), [(14125.4, "14,125"), (9.876, "9.88"), (2.5e7, "2.5e+07"), (7.1e-5, "7.1e-05"), (1e3, "1,000")]
)
def test_an_e_value_is_written_without_an_exponent_where_it_can_be(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(("budget", "stops"), [(10, 1000), (ORDINARY_ASKED, 1000), (1000, ORDINARY_ASKED)])
def test_without_a_question_of_the_mark_there_is_no_claim(budget, stops):
    oracle = suspect(LABELS, stops=stops)
    oracle.budget = budget
    result = claim(oracle, [MARK, ORDINARY], CONTROLS, commitment=BEFORE, appeared=200.0, policy=POLICY)
    assert result.queries == min(budget, stops)
    assert result.reasons == ("nothing asked",)
    assert not result.is_copy


def test_the_budget_of_the_owner_is_no_refusal_of_the_suspect():
    oracle = suspect(answers(0.3, 2))
    oracle.budget = 60
    result = claim(oracle, [MARK, ORDINARY], CONTROLS, policy=POLICY)
    assert (result.queries, result.refusal) == (60, "")


def test_a_control_that_is_a_copy_is_named():
    result = made(LABELS, CONTROLS | {"the model itself": [LABELS, TRUTH]})
    assert {"controls agree", "little evidence"} <= set(result.reasons)
    assert result.claimed_controls == ["the model itself"]
    assert result.evidence[0].highest_control == "the model itself"


def test_the_suspect_is_compared_with_the_control_that_is_nearest():
    evidence = compare(MARK, answers(0.7, 1), {"far": answers(0.1, 5), "near": answers(0.6, 6)})
    assert evidence.control == "near"
    assert evidence.wins + evidence.losses <= N


def test_of_mistakes_those_count_that_suspect_and_control_both_make():
    truth = (LABELS + 1) % K
    mark = Mark.of("same mistakes", Pixels((1, 2, 2)), K, MARK.x, MARK.tensors["labels"], torch.from_numpy(truth))
    right = np.arange(N) < 50
    evidence = compare(mark, np.where(right, truth, LABELS), {"control": (LABELS + 2) % K})
    assert (evidence.compared, evidence.agreed, evidence.wins, evidence.losses) == (150, 150, 150, 0)
    worse = compare(mark, np.where(right, truth, LABELS), {"control": np.where(right, LABELS, truth)})
    assert worse.compared == 0
    assert worse.log_e == pytest.approx(0)


def test_a_suspect_that_goes_away_is_judged_by_what_it_answered():
    result = claim(
        suspect(LABELS, stops=100), [MARK, ORDINARY], CONTROLS, commitment=BEFORE, appeared=200.0, policy=Policy(1e-30)
    )
    assert result.queries == ORDINARY_ASKED + 50  # a batch is answered whole or not at all
    assert "suspect" in result.refusal
    assert result.reasons == ("little evidence",)


def test_a_suspect_that_answers_nothing_is_an_error():
    with pytest.raises(Unreachable):
        claim(suspect(LABELS, stops=0), [MARK, ORDINARY], CONTROLS)


def test_a_suspect_of_other_classes_is_an_error():
    mark = replace(MARK, classes=K + 1)
    with pytest.raises(BadInput, match="a suspect with 10 classes"):
        claim(suspect(LABELS), [mark, ORDINARY], CONTROLS)


def test_a_claim_without_controls_or_marks_is_an_error():
    with pytest.raises(BadInput, match="0 controls"):
        claim(suspect(LABELS), [MARK], {})
    with pytest.raises(BadInput, match="0 marks"):
        claim(suspect(LABELS), [], CONTROLS)
