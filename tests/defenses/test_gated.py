"""Gate: which queries get the gentle answer and which the harsh one."""

import pytest
import torch
from tests.support.problems import Linear, edge_case_rows
from tests.support.variance import assert_close

from feint.defenses.outputs import APGPClosedForm, Gated, LabelOnly, ReverseSigmoid, Rounding, TopK
from feint.defenses.scores import Energy, MaxProbability
from feint.errors import BadRecipe, NotFitted
from feint.query import Query
from feint.service import Defense, Service
from feint.victims import answers, logits

P, X = edge_case_rows(10), torch.rand(15, 4, generator=torch.Generator().manual_seed(0))


def test_a_switch_gives_each_row_one_of_the_two_answers():
    q = Gated(LabelOnly(), Rounding(3), MaxProbability(), threshold=0.4)(P)
    suspicious = P.amax(-1) < 0.4
    assert 0 < suspicious.sum() < len(P)
    assert torch.equal(q[suspicious], LabelOnly()(P[suspicious]))
    assert_close(q[~suspicious], Rounding(3)(P[~suspicious]))


def test_with_a_width_the_share_of_the_harsh_answer_rises_as_the_score_falls():
    gate = Gated(LabelOnly(), APGPClosedForm(), MaxProbability(), width=0.1, threshold=0.5)
    share = torch.sigmoid((0.5 - P.amax(-1)) / 0.1)[:, None]
    torch.testing.assert_close(gate(P), (1 - share) * APGPClosedForm()(P) + share * LabelOnly()(P))


@pytest.mark.parametrize(
    ("gentle", "harsh", "preserved"),
    [
        (Rounding(6), APGPClosedForm(top=1), "label"),
        (APGPClosedForm(top=3), APGPClosedForm(), "top-3"),
        (TopK(2), ReverseSigmoid(), ""),
    ],
)
def test_a_gate_preserves_what_both_answers_preserve(gentle, harsh, preserved):
    assert Gated(harsh, gentle).preserves == preserved


def test_an_energy_gate_takes_the_models_own_logits_on_the_line():
    model = Linear()
    energy = logits(model, X).logsumexp(-1)
    cut = energy.median().item()
    gate = Gated(LabelOnly(), threshold=cut)
    calls = []
    service = Service(model, Defense(outputs=[gate]))
    service.model.register_forward_hook(lambda *_: calls.append(1))
    p = service(Query(X)).p
    assert len(calls) == 1  # the gate sees what the line has computed
    assert torch.equal((p.amax(-1) == 1), energy < cut)
    with pytest.raises(NotFitted, match="Service"):
        gate(P)


def test_the_threshold_is_the_quantile_of_ordinary_scores(victim, digits):
    gate = Gated(LabelOnly(), score=MaxProbability(), share=0.1).fit(victim, digits.test)
    touched = (answers(victim, digits.test).amax(-1) < gate.threshold).double().mean()
    assert 0.08 < touched <= 0.1


def test_a_width_is_in_deviations_of_ordinary_scores(victim, digits):
    gate = Gated(LabelOnly(), APGPClosedForm(), MaxProbability(), width=0.5).fit(victim, digits.test)
    deviation = answers(victim, digits.test).amax(-1).double().std().item()
    share = torch.sigmoid((gate.threshold - P.amax(-1)) / (0.5 * deviation))[:, None]
    torch.testing.assert_close(gate(P), (1 - share) * APGPClosedForm()(P) + share * LabelOnly()(P))


def test_without_a_threshold_or_with_an_impossible_share_there_is_no_answer():
    with pytest.raises(NotFitted, match="threshold"):
        Gated(LabelOnly(), score=MaxProbability())(P)
    with pytest.raises(BadRecipe, match="share"):
        Gated(LabelOnly(), score=Energy(), share=1.5)
