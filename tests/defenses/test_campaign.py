"""Evidence over many accounts: false alarms, probation, naming, and an honest share among the named."""

import asyncio
import math

import numpy as np
import pytest
import torch

from feint.data import Split
from feint.defenses.access import Campaign, SequentialTest
from feint.defenses.access.cohort import LEVELS, STEP, UNTIL, Cohort, fisher, rejected
from feint.defenses.access.e_bh import e_bh
from feint.defenses.access.e_process import NOW
from feint.defenses.access.martingale import Martingale
from feint.defenses.access.recorded import for_newcomers
from feint.errors import BadRecipe
from feint.gateway.array_query import ArrayQuery
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores.memory import MemoryStore
from feint.ledger import Account, Ledger
from feint.query import Query
from feint.signature import Column, Columns

N = 199
P = np.arange(1, N + 2) / (N + 1)
UNLIKE = np.random.default_rng(1)
SCORES = np.arange(N, dtype=float)
POWERS = np.stack([power * P ** (power - 1) for power in (0.2, 0.5, 0.8)], 1)
MARTINGALE = Martingale(SCORES, np.log(POWERS / POWERS.mean(0)), np.full(3, 1 / 3), 1e-3)


def cohort(**settings) -> Cohort:
    default = {
        "newcomers": 5, "run_length": 100.0, "hours": 1.0, "probation": 0.1, "fdr": 0.05, "rung": 1,
    }  # fmt: skip
    return Cohort.of(default | settings, MARTINGALE)


def ask(tested: Cohort, account: Account, scores, time: float = 0.0, rung: int = 0, x=None) -> list[int]:
    """Rungs of inputs with these scores, which are unlike each other unless they are `x`."""
    scores = np.asarray(scores, float)
    x = UNLIKE.random((len(scores), 9)) if x is None else x
    rows = tested.assign(scores, ArrayQuery(x, account.client, time=time), account, rung)
    account.add("queries", len(scores))
    return rows.tolist()


def attack(tested: Cohort, ledger: Ledger, accounts: int = 40, time: float = 0.0) -> None:
    for i in range(accounts):
        ask(tested, ledger[f"sybil {i} at {time}"], [-1.0] * tested.newcomers, time)


def false_alarms(rng: np.random.Generator, won: np.ndarray, n: int, run_length: float) -> int:
    """Return how often the CUSUMs of honest newcomers reach `run_length`, begun anew each time."""
    sums, alarms = np.zeros(won.shape[1]), 0
    for rank in rng.integers(N + 1, size=n):
        sums = sums.clip(0) + won[rank]
        if np.exp(sums).mean() >= run_length:
            sums, alarms = np.zeros_like(sums), alarms + 1
    return alarms


def test_alarms_of_honest_newcomers_are_as_rare_as_promised():
    rng, n, run_length = np.random.default_rng(0), 20_000, 50.0
    alarms = false_alarms(rng, MARTINGALE.won, n, run_length)
    assert 0 < alarms <= n / run_length


def test_alarms_are_those_of_the_e_detector():
    tested, ledger = cohort(newcomers=1, run_length=50.0, hours=1e-9), Ledger()
    for i, rank in enumerate(np.random.default_rng(0).integers(N + 1, size=2000)):
        ask(tested, ledger[f"{i}"], [rank - 1.0])
    expected = false_alarms(np.random.default_rng(0), MARTINGALE.won, 2000, 50.0)
    assert ledger.shared.total("campaign/alarms") == expected > 0


def test_a_newcomer_is_bet_on_at_each_turn_by_the_mean_payment_to_their_queries():
    tested, account = cohort(newcomers=7), Account("a", Account(""))
    assert tested.turns == [1, 2, 4]
    scores = np.random.default_rng(0).integers(N, size=10)
    for score in scores:
        ask(tested, account, [score])
    for turn in tested.turns:
        expected = np.log(np.exp(MARTINGALE.won[scores[:turn] + 1]).mean(0))
        sums = [account.shared.total(f"campaign/{turn}/{i}") for i in range(3)]
        np.testing.assert_allclose(sums, expected)
    assert account.shared.total("campaign/8/0") == 0


def test_clients_known_longer_are_no_newcomers():
    tested, ledger = cohort(), Ledger()
    ledger["old"].add("queries", 5)
    ask(tested, ledger["old"], [-1.0] * 5)
    assert ledger.shared.total("campaign/1/0") == 0


def test_during_an_alarm_improbable_queries_of_newcomers_are_on_the_rung():
    tested, ledger = cohort(), Ledger()
    ordinary, odd = N - 1.0, -1.0
    assert ask(tested, ledger["before"], [ordinary, odd, odd]) == [0, 0, 0]
    attack(tested, ledger)
    assert ask(tested, ledger["new"], [ordinary, odd, odd]) == [0, 1, 1]
    assert ask(tested, ledger["harsh"], [ordinary, odd], rung=2) == [2, 2]
    ledger["old"].add("queries", 5)
    assert ask(tested, ledger["old"], [odd, odd]) == [0, 0]


def test_an_alarm_of_a_clock_that_was_put_back_ends_and_hides_no_new_one():
    tested, ledger = cohort(hours=1.0), Ledger()
    attack(tested, ledger, time=90_000.0)
    assert ask(tested, ledger["new"], [-1.0], time=1000.0) == [0]
    attack(tested, ledger, time=1000.0)
    assert ask(tested, ledger["newer"], [-1.0], time=1000.0) == [1]


def test_answers_change_where_the_p_value_until_then_is_below_the_level():
    tested, ledger = cohort(newcomers=7, probation=0.3), Ledger()
    attack(tested, ledger)
    scores, codes = np.random.default_rng(0).integers(-1, N, size=7).astype(float), UNLIKE.random((7, 9))
    codes[4] = codes[2]
    ranks, counts = tested.record(scores, ArrayQuery(codes, "a", time=0.0).near, Account("a"))
    p = (np.delete(scores, 4) + 2) / (N + 1)
    expected = [fisher(-np.log(p[:n]).sum(), n) for n in (1, 2, 3, 4, 4, 5, 6)]
    np.testing.assert_allclose(tested.levels(ranks, counts), expected)
    assert ask(tested, ledger["b"], scores, x=codes) == [int(level < 0.3) for level in expected]


def recorded(clients: int, seed: int) -> Split:
    """Twelve queries each of newcomers, every fifth of whom has low scores; the label is the newcomer."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, clients, 2)) - 1.2 * (rng.random((clients, 1)) < 0.2)
    return Split.of(x.reshape(-1, 2), np.arange(12 * clients) % clients, domain=Columns((Column("a"), Column("b"))))


class FirstFeature:
    """A score: the first feature."""

    of_probabilities = False

    def __call__(self, x, z):
        return x[:, 0].double()


def test_at_the_calibrated_probation_the_share_of_recorded_newcomers_answers_changes():
    victim = torch.nn.Linear(2, 2).double()
    fitted = Campaign(SequentialTest(FirstFeature())).fit(victim, recorded(50, 0))
    newcomers = recorded(200, 1)
    tested, calibrated = for_newcomers(fitted, victim, newcomers, 0.05)
    ledger, changed = Ledger(), []
    ledger.shared.add(UNTIL, 3600.0)
    for client in range(200):
        x = newcomers.inputs()[newcomers.labels == client]
        query, account = Query(x, f"{client}", time=0.0), ledger[f"{client}"]
        changed.append(tested.assign(query, victim(x), account, 0)[: tested.newcomers].mean())
    assert (sum(changed) + 1) / 201 == pytest.approx(calibrated.average)
    assert 0.04 < calibrated.average <= 0.05


def test_only_the_first_queries_of_a_batch_are_a_newcomers():
    tested, ledger = cohort(newcomers=3), Ledger()
    attack(tested, ledger)
    assert ask(tested, ledger["new"], [-1.0] * 5) == [1, 1, 1, 0, 0]


def test_a_batch_is_answered_as_its_queries_one_by_one():
    tested, ledger = cohort(), Ledger()
    attack(tested, ledger)
    scores = np.random.default_rng(0).integers(-1, 30, size=(20, 7)).astype(float)
    for i, row in enumerate(scores):
        whole = ask(tested, ledger[f"whole {i}"], row)
        assert whole == [ask(tested, ledger[f"single {i}"], [score])[0] for score in row]


def test_near_copies_of_one_input_are_one_of_a_newcomers_queries():
    tested, ledger = cohort(run_length=20.0), Ledger()
    for i in range(30):
        for _ in range(tested.newcomers):
            ask(tested, ledger[f"camera {i}"], [-1.0], x=np.full((1, 9), 0.5))
        assert len(ledger[f"camera {i}"].rows("campaign/first")) == 1


def test_near_copy_of_a_suspected_input_is_suspected():
    tested, ledger = cohort(), Ledger()
    attack(tested, ledger)
    x = np.full((2, 9), 0.5)
    assert ask(tested, ledger["new"], [-1.0, -1.0], x=x) == [1, 1]
    assert ask(tested, ledger["new"], [-1.0], x=x[:1]) == [1]


def test_an_alarm_ends_when_it_is_not_renewed():
    tested, ledger = cohort(hours=2.0), Ledger()
    attack(tested, ledger, time=1000.0)
    assert ledger.shared.total(UNTIL) == 1000 + 7200
    assert tested.alarm(ledger.shared, 8199.0)
    assert not tested.alarm(ledger.shared, 8201.0)
    assert ask(tested, ledger["new"], [-1.0], time=8201.0) == [0]
    attack(tested, ledger, time=9000.0)
    assert ledger.shared.total(UNTIL) == 9000 + 7200


def test_probation_by_fishers_combination_is_within_a_point_of_the_best_rule_for_its_score():
    """The likelihood ratio with the attacker's density known, at one threshold for all counts, is the most powerful."""
    random, epsilon, share = np.random.default_rng(0), 0.35, 0.01
    honest, attacker = (-np.log(random.random((20_000, 10))).cumsum(1) / rate for rate in (1.0, epsilon))
    counts = np.arange(1, 11)
    p = [
        np.array([[fisher(s, n) for s, n in zip(row, counts, strict=True)] for row in part])
        for part in (honest, attacker)
    ]
    ratios = [counts * np.log(epsilon) + (1 - epsilon) * part for part in (honest, attacker)]
    by_p = (p[1] < np.quantile(p[0], share)).mean()
    best = (ratios[1] > np.quantile(ratios[0], 1 - share)).mean()
    assert 0.58 < by_p <= best + 0.005
    assert by_p > best - 0.01


def test_fishers_combination_is_the_probability_of_less_ordinary_queries():
    p = np.random.default_rng(0).random((200_000, 4))
    assert fisher(-math.log(0.03), 1) == pytest.approx(0.03)
    for at in (2.0, 5.0, 9.0):
        assert fisher(at, 4) == pytest.approx((-np.log(p).sum(1) >= at).mean(), abs=0.005)


@pytest.mark.parametrize("correlated", [False, True])
def test_the_share_of_honest_among_those_that_e_bh_rejects_is_at_most_the_level(correlated):
    rng, level, shares = np.random.default_rng(0), 0.2, []
    for _ in range(2000):
        z = rng.normal(size=200)
        if correlated:
            z[:150] = 0.9 * rng.normal() + math.sqrt(1 - 0.81) * z[:150]
        z[150:] += 3.0
        e = np.exp(2.0 * z - 2.0)  # the likelihood ratio of a mean of 2: 1 in expectation for honest ones
        rejects = e_bh(e, level)
        shares.append(rejects[:150].sum() / max(1, rejects.sum()))
    assert 0 < np.mean(shares) <= level


def test_e_bh_rejects_by_its_definition():
    e = np.array([50.0, 1.0, 45.0, 100.0, 0.0])
    # 5 / (.1 k): 50, 25, 16.7, …; the three largest are 100, 50 and 45
    assert e_bh(e, 0.1).tolist() == [True, False, True, True, False]
    assert not e_bh(np.array([9.9, 0.0]), 0.1).any()
    assert e_bh(np.empty(0), 0.1).tolist() == []


def test_clients_are_named_as_e_bh_rejects_their_rounded_e_values():
    rng, tested, ledger = np.random.default_rng(0), cohort(), Ledger()
    logs = np.concatenate([rng.normal(0, 2, 300), rng.uniform(3, 9, 30)])
    for i, log_e in enumerate(logs):
        ledger[f"{i}"].add("queries", 5)
        ledger[f"{i}"].add(NOW, log_e)
        ask(tested, ledger[f"{i}"], [0.0])
    excess = logs - math.log(1 / tested.fdr)
    rounded = np.where(excess < 0, 0.0, np.exp(STEP * (excess // STEP)) / tested.fdr)
    named = [ask(tested, ledger[f"{i}"], [0.0]) == [1] for i in range(len(logs))]
    assert named == e_bh(rounded, tested.fdr).tolist()
    assert 0 < sum(named) < 30


def test_a_client_whose_e_value_falls_is_named_no_longer():
    tested, ledger = cohort(), Ledger()
    account = ledger["a"]
    account.add("queries", 5)
    for log_e, expected in ((0.0, 0), (9.0, 1), (1.0, 0), (40.0, 1)):
        account.add(NOW, log_e - account.total(NOW))
        assert ask(tested, account, [0.0]) == [expected]
    assert sum(ledger.shared.total(f"campaign/e/{level}") for level in range(1, LEVELS + 1)) == 1
    assert ledger.shared.total("campaign/accounts") == 1
    assert rejected(ledger.shared) <= LEVELS


@pytest.mark.parametrize(
    "settings", [{"newcomers": 0}, {"run_length": 1.0}, {"hours": 0.0}, {"probation": 1.5}, {"fdr": 0.0}, {"rung": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BadRecipe):
        Campaign(**settings)


def test_replicas_agree_and_conflict_only_where_one_has_not_looked_for_long():
    """Requests of two replicas overlap: each begins before the other's is committed."""
    tested, store = cohort(), MemoryStore()
    replicas, conflicts = (LedgerSession(store), LedgerSession(store)), []

    async def run() -> None:
        for i in range(40):
            begun = [session.begin(f"{i} at {at}") for at, session in enumerate(replicas)]
            for transaction in begun:
                ask(tested, transaction, [-1.0] * tested.newcomers)
            for session, transaction in zip(replicas, begun, strict=True):
                while not await session.commit(transaction):
                    conflicts.append(i)
                    transaction = session.begin(transaction.client)
                    ask(tested, transaction, [-1.0] * tested.newcomers)

    asyncio.run(run())
    assert set(conflicts) <= {0}
    one = Ledger()
    for i in range(80):
        ask(tested, one[f"{i}"], [-1.0] * tested.newcomers)
    for session in replicas:
        shared = session.begin("new").shared
        assert tested.alarm(shared, 3599.0)
        assert shared.total("campaign/accounts") in (79, 80)  # the other's last commit may not be known here
        assert shared.total("campaign/alarms") >= one.shared.total("campaign/alarms") / 2
