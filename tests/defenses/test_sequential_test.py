"""Sequential test: its error rates by simulation, and the account's sums against the whole stream."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from feint.data import Split
from feint.defenses.access import Combined, SequentialTest, client_state
from feint.defenses.access._bets import DRAWS, falling, prices
from feint.defenses.access.client_state import ClientState
from feint.defenses.access.e_bh import e_bh
from feint.defenses.access.martingale import places
from feint.defenses.access.near_copies import REMEMBERED
from feint.defenses.access.recorded import for_clients
from feint.defenses.access.sequential_test import _log_wins
from feint.defenses.access.slices import CHANGES, Change, rounded, slices
from feint.defenses.feature_scores import LearnedScore
from feint.defenses.scores import Energy, MaxProbability
from feint.errors import BadInput, BadRecipe, MissingData, NotFitted, UnknownName
from feint.fitting import FitContext
from feint.ledger import Ledger
from feint.query import Query
from feint.recipes import registry
from feint.recipes.store import Weights
from feint.signature import Column, Columns, Text

GENERATOR = torch.Generator()


@pytest.fixture(autouse=True)
def _seed():
    GENERATOR.manual_seed(0)


class First:
    """A score: the first logit."""

    of_probabilities = False

    def __call__(self, x, z):
        return z[:, 0].contiguous()


def calibrated(n: int = 300, outliers: float | None = None, **fields) -> SequentialTest:
    """A test whose benign scores are normal, and whose outliers are `outliers` deviations below them."""
    scores = {"inputs": torch.randn(n, generator=GENERATOR).sort().values, "classes": torch.tensor(2)}
    if outliers is not None:
        scores["outliers"] = (torch.randn(n, generator=GENERATOR) - outliers).sort().values
    return SequentialTest(score=First(), benign=Weights.of(scores), **fields)


def stream(scores: torch.Tensor) -> tuple[Query, torch.Tensor]:
    """Queries that all differ, and logits with these scores."""
    return Query(torch.rand(len(scores), 9), "c", time=0.0), torch.stack([scores, torch.zeros_like(scores)], -1)


@pytest.mark.slow
@pytest.mark.parametrize("outliers", [None, 1.0])
def test_honest_clients_are_accused_at_most_as_often_as_promised(outliers):
    accused = []
    for _ in range(6):  # calibration sets: the promise is for the one that an owner has, not on average
        test = calibrated(300, outliers, alpha=0.05)
        accused.append((test.replay(torch.randn(300, 500, generator=GENERATOR)) >= 1).any(1).double().mean().item())
    assert max(accused) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.slow
@pytest.mark.parametrize("burst", [3, 10])
def test_bursts_in_which_all_queries_are_alike_break_no_promise_where_they_are_declared(burst):
    """One score for a whole burst is the strongest dependence, and each client begins anywhere in one."""
    plain = calibrated(300, alpha=0.05)
    scenes = torch.randn(300, 500 // burst + 1, generator=GENERATOR).repeat_interleave(burst, 1)
    shares = [
        (test.replay(scenes[:, start : start + 480]) >= 1).any(1).double().mean().item()
        for test in (plain, replace(plain, burst=burst))
        for start in (0, burst // 2)
    ]
    assert min(shares[:2]) > 0.15
    assert max(shares[2:]) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_with_bursts_every_bet_wins_a_part_and_the_level_is_lower():
    plain, scores = calibrated(), torch.randn(8, generator=GENERATOR)
    test = replace(plain, burst=4)
    assert torch.allclose(test.wins(scores)[0], plain.wins(scores)[0] / 4)
    query, z = stream(scores - 3)
    most = test.replay(scores[None] - 3).max().item()
    assert test.observe(query, z, Ledger()["c"]) == pytest.approx(most, rel=1e-6)
    assert test.martingale().alpha == pytest.approx(plain.alpha / 4)


def test_a_test_with_bursts_is_no_member_of_a_mean_and_of_no_recorded_clients():
    with pytest.raises(BadRecipe, match="burst"):
        Combined([calibrated(burst=2)])
    with pytest.raises(BadInput, match="burst"):
        for_clients(calibrated(burst=2), nn.Identity(), None, 0.01)  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadRecipe, match="burst"):
        SequentialTest(burst=0)


@pytest.mark.slow
def test_without_a_price_for_the_calibration_set_they_are_accused_more_often(monkeypatch):
    from feint.defenses.access import sequential_test

    monkeypatch.setattr(sequential_test, "prices", lambda paid, *_: paid.mean(0))  # right on average over sets
    accused = []
    for _ in range(4):
        _log_wins.cache_clear()
        test = calibrated(40, alpha=0.05)
        accused.append((test.replay(torch.randn(200, 1000, generator=GENERATOR)) >= 1).any(1).double().mean().item())
    _log_wins.cache_clear()
    assert max(accused) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("outliers", [None, 1.0])
def test_out_of_place_queries_are_accused_soon_and_those_who_mix_them_in_later(outliers):
    test = calibrated(400, outliers)
    delays = []
    for share in (1.0, 0.3):
        odd = torch.rand(50, 2000, generator=GENERATOR) < share
        scores = torch.randn(50, 2000, generator=GENERATOR) - 2 * odd
        over = test.replay(scores) >= 1
        assert over.any(1).all()
        delays.append(over.double().argmax(1).median().item())
    assert delays[0] < 20 < delays[1] < 200


@pytest.mark.parametrize("sizes", [[1] * 700, [700], [3, 200, 497]])
def test_the_accounts_sums_equal_the_evidence_of_the_stream_however_it_is_divided(sizes):
    test, scores = calibrated(outliers=1.0), torch.randn(700, generator=GENERATOR) - 0.8
    query, z = stream(scores)
    account, start, last = Ledger()["c"], 0, 0.0
    for size in sizes:
        part = Query(query.x[start : start + size], "c", time=0.0)
        last = test.observe(part, z[start : start + size], account)
        start += size
    assert last == pytest.approx(max(0.0, test.replay(scores[None]).max().item()), rel=1e-6)


def test_a_replay_is_the_definition_written_out():
    test, scores = calibrated(), torch.randn(8, generator=GENERATOR)
    wins, weights = test.wins(scores)
    for t in range(8):
        terms = [
            weights[b].item() / ((j + 1) * (j + 2)) * math.exp(wins[j : t + 1, b].sum().item())
            for j in range(t + 1)
            for b in range(len(weights))
        ]
        assert test.replay(scores[None])[0, t].item() == pytest.approx(math.log(sum(terms)) / -math.log(test.alpha))


@pytest.mark.slow
@pytest.mark.parametrize("honest", [250, 3000])
def test_a_client_that_turns_bad_late_is_accused_soon_whenever_that_is(honest):
    test = calibrated(400)
    scores = torch.cat([torch.randn(20, honest, generator=GENERATOR), torch.randn(20, 60, generator=GENERATOR) - 2], 1)
    evidence = test.replay(scores)
    assert (evidence[:, :honest] < 1).all()
    assert ((evidence[:, honest:] >= 1).double().argmax(1) + 1).median() < 40


def test_near_copies_count_once():
    test, account = calibrated(), Ledger()["c"]
    scene = torch.rand(1, 3, 32, 32, generator=GENERATOR)
    z = torch.tensor([[-2.5, 0.0]])
    first = test.observe(Query(scene, "c", time=0.0), z, account)
    assert first > 0
    takes = (scene + 0.01 * torch.randn(50, 3, 32, 32, generator=GENERATOR)).clamp(0, 1)
    assert test.observe(Query(takes, "c", time=10.0), z.repeat(50, 1), account) == first
    others = torch.rand(3, 3, 32, 32, generator=GENERATOR)
    assert test.observe(Query(others, "c", time=4000.0), z.repeat(3, 1), account) > first
    assert test.observe(Query(scene, "c", time=1e6), z, account) == account.total("test/most")


def test_the_memory_of_near_copies_is_bounded_and_forgets_the_oldest():
    test, account = calibrated(), Ledger()["c"]
    x = torch.rand(3 * REMEMBERED, 9, generator=GENERATOR)

    def bet_on(part: torch.Tensor) -> float:
        before = account.total("drift/queries")
        test.observe(Query(part, "c"), torch.zeros(len(part), 2), account)
        return account.total("drift/queries") - before

    assert sum(bet_on(part) for part in x.split(37)) == len(x)
    size = account.rows(client_state.NAME).array.shape[1]
    assert bet_on(x[-REMEMBERED:]) == 0
    assert bet_on(x[:1]) == 1
    assert account.rows(client_state.NAME).array.shape == (1, size)


def test_the_state_of_a_ledger_before_one_array_goes_on():
    test, account, present = calibrated(), Ledger()["c"], Ledger()["c"]
    x, z = torch.rand(80, 9, generator=GENERATOR), torch.randn(80, 2, generator=GENERATOR)
    test.observe(Query(x[:50], "c"), z[:50], present)
    state = ClientState.unpacked(present.rows(client_state.NAME).array[0], test.process.size)
    names = ["test/queries", *(f"test/{i}" for i in range(test.process.size - 1)), "test/most", "near/codes"]
    account.add_all(dict(zip(names, [*state.numbers.tolist(), present.total("test/most"), 50.0], strict=True)))
    account.rows("near/0").append(state.recent[:, None].view(np.float32), most=100)
    evidence = [test.observe(Query(x[40:], "c"), z[40:], each) for each in (account, present)]
    assert evidence[0] == evidence[1]
    assert (account.rows(client_state.NAME).array == present.rows(client_state.NAME).array).all()
    assert not any(account.total(name) for name in names if name != "test/most")
    assert not account.rows("near/0")


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_the_least_ordinary(score):
    test = calibrated()
    assert places(test.learned["inputs"].numpy(), np.array([score]))[0] == 0


def test_a_query_that_comes_alone_has_the_rank_that_it_has_among_others():
    """Also where scores differ from a calibration score by the last bits that count as equal."""
    random = np.random.default_rng(0)
    inputs = np.sort(random.normal(0, 30, 500).astype(np.float32))
    near = inputs[:, None] * (1 + np.float32(1e-5) * np.arange(-2, 3, dtype=np.float32) / 2)
    scores = np.concatenate([near.ravel(), [np.nan, np.inf, -np.inf], random.normal(0, 60, 500)]).astype(np.float32)
    together = places(inputs, scores)
    assert [places(inputs, scores[i : i + 1]).item() for i in range(len(scores))] == together.tolist()


def test_two_replicas_with_one_ledger_see_all_that_one_would():
    test, scores = calibrated(), torch.randn(60, generator=GENERATOR) - 0.5
    query, z = stream(scores)
    together, alone = Ledger(), Ledger()
    for i in range(60):  # the two take turns and share the account
        one = Query(query.x[i : i + 1], "c", time=0.0)
        shared = test.observe(one, z[i : i + 1], together["c"])
    assert shared == pytest.approx(test.observe(query, z, alone["c"]), abs=1e-6)


@pytest.mark.slow
def test_a_tolerance_covers_drift_and_costs_power():
    drifted = torch.randn(100, 1000, generator=GENERATOR) - 0.5  # in the lower 0.1 % nearly five times as often
    test = calibrated(1000)
    shares = [(replace(test, tolerance=t).replay(drifted) >= 1).any(1).double().mean().item() for t in (1.0, 8.0)]
    assert shares[0] > 0.5
    assert shares[1] <= 0.01


def test_prices_are_upper_quantiles_of_what_bets_pay():
    n = 100
    p = torch.arange(1, n + 2, dtype=torch.float64) / (n + 1)
    paid = torch.stack([0.5 * p**-0.5, 2 * (p < 0.5).double(), torch.ones_like(p)], -1)
    gaps = torch.distributions.Dirichlet(torch.ones(n + 1, dtype=torch.float64)).sample((DRAWS,))
    above = (gaps @ paid > prices(paid, 0.05) + 1e-9).any(-1).double().mean()
    assert 0.02 < above < 0.05
    assert (prices(paid, 0.05, 1.5) > prices(paid, 0.05) - 1e-9).all()


def test_a_learned_bet_falls_and_integrates_to_one():
    p = torch.arange(1, 2002, dtype=torch.float64) / 2001
    density = falling(p, (torch.rand(500, generator=GENERATOR).double().square() * 2000).long())
    assert (density.diff() <= 1e-12).all()
    assert density.mean() <= 1.02
    assert density[0] > 3 > 1 > density[-1]


def test_without_calibration_there_is_no_evidence():
    query, z = stream(torch.zeros(3))
    with pytest.raises(NotFitted, match="feint fit"):
        SequentialTest().observe(query, z, Ledger()["c"])
    with pytest.raises(BadRecipe, match="tolerance"):
        SequentialTest(tolerance=0.5)


def test_fitting_stores_scores_of_benign_inputs(victim, digits):
    test = SequentialTest(score=MaxProbability()).fit(victim, digits.test, outliers=digits.train)
    assert len(test.benign.tensors["inputs"]) == len(digits.test)
    with pytest.raises(BadInput, match="100 or more"):
        SequentialTest().fit(victim, digits.test.share(0, 50))


def slice_priced(names, rows=2000, drift=0.0):
    """A test of a victim whose score is the first feature, with slices; the classes differ by the second feature."""

    class Scores(torch.nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0], x[:, 0] * 0 + 3 * x[:, 1]], -1).float()

    class Sum:
        of_probabilities = False

        def __call__(self, x, z):
            return x[:, 0].double()

    x = np.random.default_rng(0).normal(size=(rows, 2))
    x[:, 0] -= drift * (x[:, 1] > 0)
    domain = Columns((Column("a"), Column("b")))
    split = Split.of(x, (x[:, 1] > 0).astype(int), domain=domain)
    return SequentialTest(score=Sum(), slices=names).fit(Scores(), split), Scores(), split


@pytest.mark.slow
def test_a_slice_that_is_priced_is_never_accused_and_one_that_is_not_is():
    shares = {}
    for names in (None, ("missing:0", "rounded:1")):
        test, victim, split = slice_priced(names)
        risks = {risk.name: risk for risk in test.risks(victim, split)}
        shares[names] = risks.get("rounded:1")
        assert risks["as they are"].queries == math.inf
    assert shares[("missing:0", "rounded:1")].priced
    assert shares[("missing:0", "rounded:1")].queries == math.inf


@pytest.mark.slow
def test_a_client_of_one_class_of_a_slice_is_told_apart_before_anybody_is_accused(monkeypatch):
    """A camera that takes one class badly is covered by its slice among all classes, and not that class alone."""
    dimmed = Change(lambda x, _: x - np.array([1.5, 0.0]) * (x[:, 1:] > 0))
    monkeypatch.setitem(CHANGES[Columns], "dimmed", dimmed)
    test, victim, split = slice_priced(("classes", "dimmed"))
    risks = {risk.name: risk for risk in test.risks(victim, split)}
    assert risks["dimmed"].queries == math.inf
    assert [name for name, risk in risks.items() if risk.of] == ["dimmed, class 1 alone"]
    assert risks["dimmed, class 1 alone"].queries < 1000
    called = {risk.name: risk for risk in test.risks(victim, split, classes=("cat", "dog"))}
    assert {"class cat", "class dog", "dimmed, class dog alone"} <= called.keys()
    assert not {name for name in called if name.startswith("class ")} & risks.keys()
    bare = {risk.name: risk for risk in slice_priced(None)[0].risks(victim, split)}
    assert not [risk for risk in bare.values() if risk.of]
    assert bare["dimmed"].undeclared == math.inf
    assert bare["dimmed"].queries < risks["dimmed"].undeclared < 2 * bare["dimmed"].queries  # of half the calibration


@pytest.mark.parametrize("label", [1, 3])
def test_a_class_of_another_data_set_has_its_own_number_and_no_name_of_the_task(label):
    plain, victim, split = slice_priced(None)
    x, labels = split.inputs().numpy().copy(), np.arange(len(split)) % 4
    x[labels == label, 0] -= 3
    others = {"others": Split.of(x, labels, domain=split.domain)}
    test = SequentialTest(score=plain.score, slices=("others",)).fit_from(FitContext(victim, split, slices=others))
    risks = test.risks(victim, split, read=others, classes=("cat", "dog"))
    assert [risk.name for risk in risks if risk.of] == [f"others, class {label} alone"]


def test_columns_at_one_value_are_tried_where_that_is_asked_for():
    """Two columns have nearly the same value in each row, the third any."""

    class Apart(torch.nn.Module):
        of_probabilities = False

        def forward(self, x, z=None):
            apart = -(x[:, 0] - x[:, 1]).abs().double()
            return torch.stack([apart, apart * 0], -1).float() if z is None else apart

    x = np.random.default_rng(0).normal(size=(400, 3))
    x[:, 1] = x[:, 0] + 0.01 * x[:, 1]
    split = Split.of(x, np.zeros(400, int), domain=Columns((Column("a"), Column("b"), Column("c"))))
    test = SequentialTest(score=Apart()).fit(Apart(), split)
    asked = {risk.name: risk.queries for risk in test.risks(Apart(), split, columns=True)}
    assert {name for name in asked if name.startswith("constant")} == {"constant:a", "constant:b"}
    assert asked["constant:a"] < 100
    assert not [risk for risk in test.risks(Apart(), split) if risk.name.startswith("constant")]


def evidence_of_one_class(names) -> torch.Tensor:
    """Evidence of 60 clients after each of 400 queries, who ask about the less ordinary of two classes alone."""
    test, victim, _ = slice_priced(names, drift=2.0)
    x = np.random.default_rng(1).normal(size=(60, 400, 2))
    x[..., 1] = np.abs(x[..., 1])
    x[..., 0] -= 2.0
    rows = torch.from_numpy(x).flatten(0, 1)
    return test.replay(test.ranked_score(rows, victim(rows)).unflatten(0, (60, 400)))


@pytest.mark.slow
def test_within_classes_a_client_who_asks_about_one_class_alone_is_ordinary():
    accused = {names: (evidence_of_one_class(names) >= 1).any(1).double().mean() for names in (None, ("classes",))}
    assert accused[None] > 0.9
    assert accused[("classes",)] <= 0.02


@pytest.mark.slow
def test_honest_clients_of_one_class_are_named_unless_classes_are_declared():
    """The queries of one client depend on each other, so that without the slice no e-value is one."""
    named = {}
    for names in (None, ("classes",)):
        e_values = (evidence_of_one_class(names)[:, -1] * -math.log(SequentialTest().alpha)).exp()
        named[names] = e_bh(e_values.numpy(), 0.05).sum()
    assert named[None] > 50
    assert named[("classes",)] == 0


@pytest.mark.slow
def test_prices_of_slices_hold_for_clients_who_mix_them():
    rows = np.random.default_rng(3).normal(size=(60, 500, 1))
    test, _, _ = slice_priced(("rounded:1",), rows=1000)
    mixed = np.where(np.random.default_rng(4).random(rows.shape) < 0.5, rounded(rows, 1), rows)[..., 0]
    assert (test.replay(torch.from_numpy(mixed)) >= 1).any(1).double().mean() <= 0.05


@pytest.mark.slow
def test_prices_are_those_of_the_fit_until_the_test_has_others(monkeypatch):
    from feint.defenses.access import sequential_test

    test, _, _ = slice_priced(("rounded:1",), rows=1000)
    simulated = Weights.of({name: t for name, t in test.learned.items() if not name.startswith("price")})
    scores = torch.linspace(-3, 3, 40, dtype=torch.float64)
    assert torch.equal(test.wins(scores)[0], replace(test, benign=simulated).wins(scores)[0])
    tolerant = replace(test, tolerance=2.0)
    assert torch.equal(tolerant.wins(scores)[0], replace(tolerant, benign=simulated).wins(scores)[0])
    _log_wins.cache_clear()
    monkeypatch.setattr(sequential_test, "prices", None)  # a process that serves the test simulates nothing
    test.wins(scores)


@pytest.mark.parametrize("score", [Energy(), LearnedScore()])
@pytest.mark.parametrize("few", [0, 1])
def test_outliers_are_two_or_more(score, few, victim, digits):
    with pytest.raises(BadInput, match=f"{few} outliers"):
        SequentialTest(score).fit(victim, digits.test, outliers=digits.test.take(slice(0, few), part="few"))


def test_an_unknown_slice_is_an_error(victim, digits):
    with pytest.raises(UnknownName, match="jpg"):
        SequentialTest(slices=("jpg",)).fit(victim, digits.test)
    with pytest.raises(BadInput, match="jpeg:NUMBER"):
        SequentialTest(slices=("jpeg:high",)).fit(victim, digits.test)


@pytest.mark.parametrize(
    "name",
    ["jpeg:0", "jpeg:1000", "jpeg:90.5", "scale:0", "noise:nan", "noise:-1", "brightness:inf", "shift:0.5"],
)
def test_a_slice_with_a_number_out_of_range_is_an_error(name, digits):
    """One of images that show nothing would have priced the bets so that nobody is accused."""
    with pytest.raises(BadInput, match=f"the slice '{name}'"):
        list(slices(name, digits.test))


@pytest.mark.parametrize("name", ["missing:0.1", "classes:3", "class 3", "jpeg 90", ""])
def test_an_unknown_slice_is_told_beside_the_changes_that_there_are(name, digits):
    with pytest.raises(UnknownName, match=r"slice of images .* classes, .* jpeg, .* shift"):
        list(slices(name, digits.test))


def test_a_column_at_one_value_is_a_slice_of_its_own():
    """A form that fills a field in sends rows whose values do not occur together elsewhere."""
    domain = Columns((Column("age"), Column("job", ("a", "b", "c"))))
    split = Split.of(np.array([[20.0, 1.0], [30.0, 1.0], [30.0, 2.0]]), np.zeros(3, int), domain=domain)
    parts = {title: part.inputs().tolist() for title, part in slices("constant", split)}
    assert parts == {
        "constant:age": [[30.0, 1.0], [30.0, 1.0], [30.0, 2.0]],
        "constant:job": [[20.0, 1.0], [30.0, 1.0], [30.0, 1.0]],
    }
    assert [title for title, _ in slices("constant:job+rounded:1", split)] == ["constant:job+rounded:1"]
    with pytest.raises(UnknownName, match=r"column 'jobs'.* age, job.* 'job'"):
        list(slices("constant:jobs", split))


def test_changes_are_made_one_after_another(digits):
    """A client whose camera is small and whose app recompresses is in neither of the two slices."""
    names = [title for title, _ in slices("scale:0.5+jpeg", digits.test)]
    assert names == ["scale:0.5+jpeg:95", "scale:0.5+jpeg:90"]
    ((_, small),) = slices("scale:0.5", digits.test)
    ((_, expected),) = slices("jpeg:90", small)
    both = dict(slices("scale:0.5+jpeg", digits.test))["scale:0.5+jpeg:90"]
    np.testing.assert_array_equal(both.inputs(), expected.inputs())
    for unknown in "blur", "classes":
        with pytest.raises(UnknownName, match=f"change of images '{unknown}'.* one of brightness, grey"):
            list(slices(f"scale:0.5+{unknown}", digits.test))


def test_a_slice_may_be_a_file_of_a_clients_inputs(tmp_path):
    """What another camera took, or texts in another language, is no change of the owner's inputs."""
    texts = Text(16)
    own = Split.of(texts.encode(texts.from_strings(["two words"])), np.zeros(1, int), domain=texts)
    lines = [f"{i} Worte" for i in range(100)]
    (tmp_path / "german.txt").write_text("\n".join([*lines, *lines]) + "\n")
    ((title, part),) = slices(str(tmp_path / "german.txt"), own)
    assert title.endswith("german.txt")
    assert texts.to_strings(part.inputs().numpy()) == lines
    with pytest.raises(MissingData, match="not there"):
        list(slices(str(tmp_path / "french.txt"), own))


@pytest.mark.parametrize("x", [np.arange(99.0), np.zeros(400), np.zeros(0)])
def test_a_slice_of_few_different_inputs_is_refused_before_a_model_is_asked(x, tmp_path):
    """No price is known of one input, however often it is sent."""

    class Asked(torch.nn.Module):
        def forward(self, x):
            raise AssertionError("asked")

    domain = Columns((Column("a"), Column("b")))
    split = Split.of(np.random.default_rng(0).normal(size=(400, 2)), np.zeros(400, int), domain=domain)
    np.savez(tmp_path / "few.npz", x=np.stack([x, x], 1))
    with pytest.raises(
        BadInput, match=r"of \d+ different rows; expected 100 or more|with no inputs; expected one or more"
    ):
        SequentialTest(slices=(str(tmp_path / "few.npz"),)).fit(Asked(), split)
    with pytest.raises(BadInput, match="from 1 to 15"):
        SequentialTest(slices=("missing+rounded:99",)).fit(Asked(), split)


def test_values_that_may_not_be_missing_stay_in_the_slice_of_missing_ones():
    """They were replaced by the mean of their column, or by its first category, which no client sends."""
    domain = Columns((Column("a", optional=True), Column("b"), Column("c", ("x", "y", "z"))))
    split = Split.of(np.array([[1.0, 2.0, 2.0]] * 50), np.zeros(50, int), domain=domain)
    ((_, part),) = slices("missing:0.5", split)
    x = part.inputs().numpy()
    assert 0 < np.isnan(x[:, 0]).mean() < 1
    assert (x[:, 1:] == 2).all()


def test_recipes_with_blocks_of_earlier_versions_are_read():
    assert registry.parse("SequentialTest(alpha=0.01, block=500)") == SequentialTest(alpha=0.01)


def recorded(clients: int, queries: int, drift: float) -> Split:
    """Queries of clients in turns, whose first feature is normal about -`drift`; the label is the client."""
    x = np.random.default_rng(clients).normal(size=(queries * clients, 2))
    x[:, 0] -= drift
    return Split.of(x, np.arange(len(x)) % clients, domain=Columns((Column("a"), Column("b"))))


def test_the_level_of_recorded_clients_is_one_that_fewer_than_the_share_of_them_reach():
    test, victim, _ = slice_priced(None)
    fitted, calibrated = for_clients(test, victim, recorded(120, 60, drift=0.6), 0.01)
    assert (calibrated.clients, calibrated.average) == (120, 1 / 121)
    assert fitted.alpha == pytest.approx(test.alpha**calibrated.level)
    assert for_clients(fitted, victim, recorded(120, 60, drift=0.6), 0.01)[1].level == pytest.approx(1)
    assert for_clients(fitted, victim, recorded(130, 60, drift=0.6), 0.05)[1].level < 1  # of clients like them
    with pytest.raises(BadInput, match="60 clients"):
        for_clients(test, victim, recorded(60, 5, drift=0.0), 0.01)


def test_an_account_shows_how_its_queries_differ_from_the_calibration():
    test, totals = calibrated(2000), {}
    for name, drift in {"same": 0.0, "odd": 2.0}.items():
        account = Ledger()[name]
        test.observe(*stream(torch.randn(2000, generator=GENERATOR) - drift), account)
        sums = [account.total(total) for total in ("drift/surprise", "drift/p01", "drift/p05")]
        totals[name] = np.array(sums) / account.total("drift/queries")
    assert totals["same"] == pytest.approx([1, 0.01, 0.05], abs=0.05)
    assert (totals["odd"] > [2, 0.2, 0.4]).all()
