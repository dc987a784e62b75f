"""The test of queries that an audit chooses: it sees what the model's answers do not show, and its commands work."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.one_margin import Margin, real
from torch import nn

from feint.audit import promise_text, recommendation
from feint.audit.candidates import Candidate
from feint.audit.commands import LADDER, TEST, next_commands, offered_test
from feint.audit.promise import Promise, promise
from feint.audit.query_test import LEARNED, choose_test
from feint.audit.run import AuditRequest, run
from feint.audit.samples import Outliers, Samples, load_samples
from feint.audit.text import AuditText
from feint.data import Dataset, Split
from feint.data.duplicates import marks
from feint.data.made_up import made_up
from feint.defense import Defense, Ladder
from feint.defenses.access import Budget, Refuse, SequentialTest
from feint.defenses.access.dilution import unaccused_share
from feint.defenses.feature_scores import LearnedScore, Mahalanobis
from feint.defenses.outputs import LabelOnly
from feint.defenses.parsing import parse_defense
from feint.defenses.scores import scores
from feint.errors import BadInput
from feint.evaluation.detection import accusations
from feint.i18n import LANGUAGES
from feint.progress import NO_PROGRESS
from feint.recipes import store
from feint.service import Service
from feint.signature import Pixels
from feint.victims import FromAnswers

ROWS = 'LearnedScore("inputs")'
POLICY = """kind = "Ladder"
detectors = [{{ kind = "Loaded", folder = "{folder}" }}]
[[rungs]]
kind = "Defense"
[[rungs]]
kind = "Defense"
access = [{{ kind = "Refuse" }}]
"""


class Silent:
    """Announces nothing."""

    def samples(self, samples: object) -> None: ...
    def accuracy(self, accuracy: object) -> None: ...
    def plan(self, setup: object) -> None: ...


def noise(of: Split, n: int, seed: int = 0) -> Split:
    """Images of noise."""
    x = of.domain.encode(Pixels((1, 8, 8)).sample(n, seed))
    return Split.of(x, torch.zeros(n, dtype=torch.int64).numpy(), domain=of.domain, name="noise", part="pool")


def noisy(digits: Dataset, seed: int) -> Split:
    """Images of the task, noise in them."""
    domain, rows = digits.train.domain, np.random.default_rng(seed).integers(len(digits.train), size=600)
    x = 0.7 * digits.train.inputs().numpy()[rows] + 0.3 * noise(digits.train, 600, seed).inputs().numpy()
    return Split.of(domain.encode(x), np.zeros(600, np.int64), domain=domain, name="noisy")


@pytest.fixture(scope="module")
def rows() -> Samples:
    """Rows of a table, whose pool are rows of the task."""
    fit, judge, pool = (real(n, seed) for n, seed in ((1500, 1), (900, 2), (900, 3)))
    return Samples(fit, judge, pool, (), (), made_up(fit, "marginals"))


@pytest.fixture(scope="module")
def known(rows) -> Promise:
    result = promise(Margin(), rows, {}, NO_PROGRESS)
    assert isinstance(result, Promise)
    return result


def test_a_table_gets_the_score_that_reads_what_its_model_does_not_show(known):
    assert known.chosen is not None
    assert isinstance(known.chosen.test.score, LearnedScore)
    assert (known.chosen.recipe, known.chosen.outliers) == (f"SequentialTest({ROWS})", "marginals")
    assert known.chosen.tried["Energy()"] == 1 > 0.2 > known.chosen.overlooked
    assert (known.naive.outcome.rate, known.honest.accused) == (1.0, 0)


def test_the_attackers_of_a_promise_draw_rows_where_the_pool_is_the_tasks_own(known, rows):
    assert known.drawn
    own = promise(Margin(), replace(rows, drawn=None), {}, NO_PROGRESS)
    assert isinstance(own, Promise)
    assert not own.drawn
    assert own.naive.outcome.accused == 0
    assert own.chosen is not None
    assert not own.chosen.sees


def test_the_promise_of_the_chosen_test_holds_for_clients_that_neither_fit_nor_choice_has_seen(rows):
    """3,000 clients at a level of 5 %: the share accused is at most that, as it would not be of a score's own rows."""
    attack = made_up(rows.fit, "marginals", 7)
    chosen = choose_test(Margin(), rows.fit, attack, remote=False, progress=NO_PROGRESS)
    test = replace(chosen.test, alpha=0.05)
    fresh = test.ranked_score(real(20_000, 11).inputs(), torch.zeros(20_000, 2)).numpy()
    assert accusations(test, fresh, fresh, 0.0, clients=3000, length=300).rate <= 0.05


def test_a_model_of_labels_alone_is_tested_by_its_rows(rows):
    class Labels(Margin):
        def forward(self, x):
            return 20.0 * nn.functional.one_hot(super().forward(x).argmax(-1), 2).float()

    result = promise(Labels(), rows, {}, NO_PROGRESS)
    assert isinstance(result, Promise)
    assert result.chosen is not None
    assert [*result.chosen.tried] == [ROWS]


def test_images_are_tested_by_answers_or_features_whichever_see_more(victim, digits):
    chosen = choose_test(victim, digits.test, noise(digits.test, 300), remote=False, progress=NO_PROGRESS)
    assert set(chosen.tried) == {"Energy()", "Mahalanobis()"}
    assert isinstance(chosen.test.score, Mahalanobis) == (chosen.tried["Mahalanobis()"] < chosen.tried["Energy()"])
    assert chosen.outliers is None


def test_a_score_learns_from_outliers_that_the_owner_has_and_is_taken_where_it_sees_more(victim, digits):
    attack, others = noisy(digits, 0), Outliers("noisy.npz", noisy(digits, 1))
    chosen = choose_test(victim, digits.test, attack, others, remote=False, progress=NO_PROGRESS)
    assert set(chosen.tried) == {"Energy()", "Mahalanobis()", LEARNED}
    assert chosen.score == LEARNED
    assert chosen.tried[LEARNED] < min(chosen.tried["Energy()"], chosen.tried["Mahalanobis()"])
    assert (chosen.recipe, chosen.outliers) == (f"SequentialTest({LEARNED})", "noisy.npz")
    blind = Outliers("digits.npz", digits.train.take(slice(0, 600), part="first"))  # they teach nothing
    taken = choose_test(victim, digits.test, attack, blind, remote=False, progress=NO_PROGRESS)
    assert taken.score != LEARNED
    assert taken.outliers is None


def test_a_test_learns_nothing_of_the_attackers_pool(digits, tmp_path):
    pool, others = (noise(digits.test, 300, seed) for seed in (0, 1))
    np.savez(tmp_path / "pool.npz", x=pool.values)
    np.savez(tmp_path / "outliers.npz", x=np.concatenate([pool.values[:200], others.values]))
    places = str(tmp_path / "pool.npz"), digits.test.domain
    samples = load_samples("digits", *places, outliers=str(tmp_path / "outliers.npz"))
    assert samples.outliers is not None
    assert (samples.outliers.place, len(samples.outliers.inputs)) == (str(tmp_path / "outliers.npz"), 300)
    assert not set(marks(samples.outliers.inputs)) & set(marks(samples.pool))
    with pytest.raises(BadInput, match="0 outliers that are not in the attacker's pool"):
        load_samples("digits", *places, outliers=str(tmp_path / "pool.npz"))


def test_outliers_are_refused_where_no_test_would_learn_from_them(rows, victim, digits, tmp_path):
    oracle = Service(Margin()).oracle(client="audit", budget=10)
    elsewhere = FromAnswers(oracle.try_ask, name="remote", domain=rows.fit.domain, classes=2)
    request = AuditRequest("rows.csv", outliers="marginals")
    with pytest.raises(BadInput, match="for a model elsewhere"):
        run(elsewhere, request, tmp_path, announce=Silent(), progress=NO_PROGRESS)
    test = SequentialTest().fit(victim, digits.test)
    store.save(tmp_path / "test", test)
    (tmp_path / "ladder.toml").write_text(POLICY.format(folder=tmp_path / "test"))
    np.savez(tmp_path / "outliers.npz", x=noise(digits.test, 300, 1).values)
    request = AuditRequest("digits", defenses=(str(tmp_path / "ladder.toml"),), outliers=str(tmp_path / "outliers.npz"))
    with pytest.raises(BadInput, match="beside a ladder with a test of its own"):
        run(victim, request, tmp_path / "out", announce=Silent(), progress=NO_PROGRESS)


def test_the_score_is_chosen_that_is_hardest_to_hide_from_for_who_knows_the_test(victim, digits):
    """Whatever an account asks beside the pool: inputs that calibrate the test are not what serves an attacker best."""
    domain, x = digits.test.domain, (digits.test.inputs(slice(0, 300)) + noise(digits.test, 300).inputs()) / 2
    pool = Split.of(domain.encode(x.numpy()), np.zeros(300, np.int64), domain=domain, name="blends")
    chosen = choose_test(victim, digits.test, pool, remote=False, progress=NO_PROGRESS)
    odd, own = scores(chosen.test.ranked_score, victim, pool, NO_PROGRESS), chosen.test.learned["inputs"]
    ranks = own[torch.linspace(0, len(own) - 1, 20).long()]
    fillers = [own, own[len(own) // 2 :], *ranks[:, None]]
    shares = [unaccused_share(chosen.test, odd, filler) for filler in fillers]
    assert chosen.overlooked >= max(shares) - 1e-3
    assert chosen.overlooked > shares[0]
    assert chosen.overlooked == min(chosen.tried.values())


def test_a_remote_model_is_asked_about_nothing_but_samples_and_pool(rows):
    oracle = Service(Margin()).oracle(client="audit", budget=10_000)
    asked = FromAnswers(oracle.try_ask, name="remote", domain=rows.fit.domain, classes=2)
    result = promise(asked, rows, {}, NO_PROGRESS)
    assert isinstance(result, Promise)
    assert result.chosen is not None
    assert ([*result.chosen.tried], result.drawn) == (["Energy()"], False)
    assert asked.asked <= len(rows.fit) + len(rows.judge) + len(rows.pool)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_page_says_what_the_test_reads_and_beside_which_others(known, lang):
    text, findings = AuditText(lang), SimpleNamespace(worst_cases=[])
    said = promise_text.sentences(known, findings, text)[0]  # pyright: ignore[reportArgumentType]
    assert text("promise reads inputs") in said
    assert "100.0%" in said
    assert text("drawn rows") in promise_text.table(known, text)[1][0][0]
    blind = replace(known, chosen=replace(known.chosen, tried={"Energy()": 1.0}, score="Energy()"))
    assert promise_text.sentences(blind, findings, text)[0] != said  # pyright: ignore[reportArgumentType]
    assert promise_text.to_json(known)["test"]["recipe"] == f"SequentialTest({ROWS})"


def audited(promised: Promise, defense: Defense | None = None, data: str = "rows.csv") -> tuple[Any, Any]:
    """An audit of a table, and findings that recommend a defense, or none."""
    recommended = None if defense is None else SimpleNamespace(candidate=Candidate("mine", "mine", defense))
    findings = SimpleNamespace(known=True, recommended=recommended, query_limit=None)
    return SimpleNamespace(victim=Margin(), request=AuditRequest(data, label="y"), promise=promised), findings


def test_the_command_that_fits_the_test_comes_first_also_where_no_defense_is_recommended(known, tmp_path):
    fit, *rest = next_commands(*audited(known), tmp_path / "defense.toml", "model.skops")
    assert fit == (
        f"feint fit 'SequentialTest({ROWS})' --victim model.skops --data rows.csv --label y --outliers marginals "
        f"--out {tmp_path / TEST}"
    )
    assert any(command.startswith("feint serve") for command in rest)
    named = next_commands(*audited(known, data="adult"), tmp_path / "defense.toml", "model.skops")[0]
    assert "--data adult/test " in named  # the model was trained on the other part


def test_no_test_is_offered_that_sees_nobody_or_beside_a_ladder_of_the_owners(known):
    blind = replace(known, chosen=replace(known.chosen, tried={"Energy()": 1.0}))
    assert offered_test(*audited(blind)) is None
    assert next_commands(*audited(blind), Path("defense.toml"), "model.skops") == []
    ladder: Any = Ladder([known.chosen.test], [Defense(), Defense(access=[Refuse()])])
    assert offered_test(*audited(known, ladder)) is None


def test_the_ladder_has_the_recommended_defense_and_refuses_whom_the_test_accuses(known, tmp_path):
    store.save(tmp_path / TEST, known.chosen.test, victim="0" * 16)
    defense = Defense(access=[Budget(500)], outputs=[LabelOnly()])
    table = recommendation.table(defense, str)
    recommendation.write_ladder(tmp_path / LADDER, table, tmp_path / TEST)
    written = parse_defense([str(tmp_path / LADDER)])
    assert isinstance(written, Ladder)
    assert written == recommendation.with_test(defense, known.chosen.test)
    assert isinstance(written.detectors[0], SequentialTest)
    recommendation.write_ladder(tmp_path / LADDER, {}, tmp_path / TEST)
    assert parse_defense([str(tmp_path / LADDER)]) == recommendation.with_test(Defense(), known.chosen.test)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    for name in (LADDER, TEST):
        (tmp_path / name).rename(elsewhere / name)
    assert parse_defense([str(elsewhere / LADDER)]) == recommendation.with_test(Defense(), known.chosen.test)
