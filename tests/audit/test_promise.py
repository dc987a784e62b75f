"""What an audit says an owner may promise."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from feint.audit import promise as promises
from feint.audit import promise_text
from feint.audit.candidates import Candidate
from feint.audit.promise import EvasionResult, NoPromise, Promise, promise
from feint.audit.samples import Samples
from feint.audit.text import AuditText
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.defenses.access import Refuse, SequentialTest
from feint.defenses.access.sequential_test import SliceRisk
from feint.defenses.access.slices import UNCHANGED
from feint.defenses.feature_scores import Mahalanobis
from feint.defenses.scores import Energy, MaxProbability, scores
from feint.evaluation.detection import Accusations
from feint.i18n import LANGUAGES
from feint.progress import NO_PROGRESS
from feint.service import Service
from feint.signature import Pixels
from feint.victims import FromAnswers


@pytest.fixture(scope="module")
def samples(digits) -> Samples:
    """Digits, and a pool of noise."""
    drawn = Pixels((1, 8, 8)).sample(300, 0)
    noise = Split.of(
        digits.test.domain.encode(drawn), np.zeros(300, np.int64), domain=digits.test.domain, name="noise", part="pool"
    )
    fit, judge = (digits.test.share(i, 2) for i in range(2))
    return Samples(fit, judge, noise, (), ())


@pytest.fixture(scope="module", autouse=True)
def _few_clients():
    with pytest.MonkeyPatch.context() as patch:
        for name, number in {"ATTACKERS": 20, "CLIENTS": 60, "LENGTH": 400}.items():
            patch.setattr(promises, name, number)
        yield


@pytest.fixture(scope="module")
def known(victim, samples) -> Promise:
    result = promise(victim, samples, {}, NO_PROGRESS)
    assert isinstance(result, Promise)
    return result


def test_an_attacker_out_of_place_buys_little_and_more_accounts_buy_more(known):
    answers = [*known.naive.answers.values()]
    assert None not in answers
    assert answers[0] < 200
    assert answers == sorted(answers)


def test_who_hides_among_inputs_of_the_task_buys_at_least_as_much(known):
    assert known.strongest.name != "task"
    naive, strongest = known.naive.answers[1], known.strongest.answers[1]
    assert strongest is None or strongest >= naive


def test_evasions_of_few_inputs_of_the_task_are_tried_where_the_model_may_be_asked(known, victim, samples):
    names = [tried.name for tried in known.attackers]
    assert (names.count("blended"), names.count("filled")) == (1, len(promises.SHARES))
    oracle = Service(victim).oracle(client="audit", budget=10_000)
    asked = FromAnswers(oracle.try_ask, name="remote", domain=samples.pool.domain, classes=10)
    remote = promise(asked, samples, {}, NO_PROGRESS)
    assert isinstance(remote, Promise)
    assert not {"blended", "filled"} & {tried.name for tried in remote.attackers}
    assert remote.unaccused is None


@pytest.mark.parametrize("score", [Energy(), Mahalanobis(), MaxProbability()])
def test_gradient_steps_lead_to_scores_that_the_test_finds_ordinary(victim, samples, score):
    test = SequentialTest(score).fit(victim, samples.fit)
    moved = promises._stepped(victim, samples.pool, samples, test)
    assert moved is not None
    before, after = (scores(test.ranked_score, victim, split, NO_PROGRESS) for split in (samples.pool, moved))
    assert (after > before).double().mean() > 0.95


def test_gradient_steps_are_tried_on_a_model_that_has_a_slope(known, victim, samples):
    assert "stepped" in [tried.name for tried in known.attackers]

    class Flat(nn.Module):
        def forward(self, x):
            return victim(x.detach()).detach()

    flat = promise(Flat(), samples, {}, NO_PROGRESS)
    assert isinstance(flat, Promise)
    assert "stepped" not in [tried.name for tried in flat.attackers]


def test_share_that_is_never_accused(known):
    assert known.unaccused is not None
    filled = {tried.outcome.share: tried.outcome.accused for tried in known.attackers if tried.name == "filled"}
    assert known.unaccused < 0.5
    assert all(accused for share, accused in filled.items() if share > 2 * known.unaccused)


def test_who_has_inputs_of_the_task_is_not_accused(known):
    assert known.attackers[-1].outcome.accused == 0
    assert known.attackers[-1].answers[1] is None


def test_honest_clients_come_with_their_bound(known):
    assert known.honest.rate < known.honest.bound < 0.05


def test_the_test_of_a_candidate_is_the_one_that_is_replayed(victim, samples):
    test = SequentialTest(alpha=0.01).fit(victim, samples.fit)
    ladder = Candidate("mine", "ladder.toml", Ladder([test], [Defense(), Defense(access=[Refuse()])]))
    result = promise(victim, samples, {"mine": ladder}, NO_PROGRESS)
    assert isinstance(result, Promise)
    assert (result.name, result.alpha, result.calibrated) == ("mine", 0.01, None)


def test_too_few_samples_are_a_reason_and_no_promise(victim, samples):
    few = replace(samples, fit=samples.fit.take(slice(0, 50), part="few"))
    result = promise(victim, few, {}, NO_PROGRESS)
    assert isinstance(result, NoPromise)
    assert "50 benign inputs" in result.reason
    assert promise_text.to_json(result) == {"known": False, "reason": result.reason}
    assert promise_text.summary(result, AuditText("en")).endswith("; give it more.")
    assert promise_text.summary(result, AuditText("zh")).endswith("。")


def test_the_json_has_null_where_no_end_was_found(known):
    table = promise_text.to_json(known)
    assert table["attackers"][-1]["answers"]["1"] is None
    assert table["honest"]["clients"] == len(known.honest.first)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_number_stands_beside_its_attacker(known, lang):
    text = AuditText(lang)
    heads, rows = promise_text.table(known, text)
    assert {len(row) for row in rows} == {len(heads)}
    assert len({row[0] for row in rows}) == len(known.attackers)


@pytest.mark.parametrize(("lang", "words"), [("en", "class “spam”"), ("zh", "类别“spam”")])
def test_slices_are_named_in_the_owners_words(known, lang, words):
    risks = SliceRisk(UNCHANGED, False, 40.0, 2.0), SliceRisk("class 1", False, 40.0, 2.0, label=1)
    findings: Any = SimpleNamespace(worst_cases=[])
    accused = replace(known, risks=risks)
    said = " ".join(promise_text.sentences(accused, findings, AuditText(lang), ("ham", "spam")))
    assert words in said
    assert "as they are (" not in said.replace("the samples as they are", "")
    assert "class 1" not in said


def test_a_price_is_named_where_there_is_one(known):
    case = SimpleNamespace(price=1.5, budget=500)
    findings: Any = SimpleNamespace(worst_cases=[case])
    said = " ".join(promise_text.sentences(known, findings, AuditText("en", currency="USD")))
    assert "500 queries cost 1.50 USD" in said
    without: Any = SimpleNamespace(worst_cases=[])
    assert "USD" not in " ".join(promise_text.sentences(known, without, AuditText("en", currency="USD")))


def test_the_strongest_evasion_is_the_one_that_buys_most_where_no_end_is_found(known):
    never = Accusations(np.full(20, np.inf), length=400)
    naive, hidden = EvasionResult("pool", never), EvasionResult("mixed", replace(never, share=0.1))
    tried = replace(known, attackers=(naive, hidden, known.attackers[-1]))
    assert (naive.answers[10], hidden.answers[10]) == (None, None)
    assert tried.strongest is naive
    assert replace(tried, attackers=(hidden, naive, known.attackers[-1])).strongest is naive
