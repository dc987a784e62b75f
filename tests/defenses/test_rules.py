"""Access rules against slow and obvious implementations."""

import math
import pickle
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from feint.defenses.access import Budget, GlobalBudget, RateLimit
from feint.errors import BadInput, OverBudget, RateLimited, Refused
from feint.ledger import Account, Ledger
from feint.query import Query
from feint.recipes.recipe import to_table


def query(n: int, time: float = 0.0, client: str = "a") -> Query:
    return Query(torch.zeros(n, 2), client, time=time)


def admitted(rule, query: Query, account: Account) -> bool:
    try:
        rule.admit(query, account)
    except Refused:
        return False
    return True


NOW = 1.8e9  # where a double tells apart a quarter of a microsecond


@given(
    rate=st.sampled_from([0.1, 1 / 3, 3.0, 1000.0]),
    burst=st.integers(1, 40),
    requests=st.lists(st.tuples(st.floats(0.0, 2.0), st.integers(1, 9)), max_size=60),
)
def test_the_rate_limit_is_a_bucket_of_tokens(rate, burst, requests):
    rule, account, tokens, now = RateLimit(rate, burst), Account("a"), float(burst), NOW
    for pause, n in requests:
        now, before = now + pause, now
        tokens = min(burst, tokens + (now - before) * rate)
        if abs(tokens - n) < 0.01:  # too close to call in doubles
            continue
        assert admitted(rule, query(n, now), account) == (n < tokens)
        tokens -= n * (n < tokens)


@pytest.mark.parametrize("rate", [1 / 3, 0.7, 10.0, 3333.0])
def test_a_burst_is_answered_to_the_last_query(rate):
    account = Account("a")
    assert [admitted(RateLimit(rate, 30), query(1, NOW), account) for _ in range(31)] == [True] * 30 + [False]


def test_after_the_seconds_named_the_same_query_passes():
    rule, account = RateLimit(0.5, burst=4), Account("a")
    rule.admit(query(3, NOW), account)
    with pytest.raises(RateLimited, match="wait 4 seconds") as caught:
        rule.admit(query(3, NOW), account)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.retry_after == caught.value.retry_after == pytest.approx(4.0, abs=1e-5)
    assert again.args == caught.value.args
    assert not admitted(rule, query(3, NOW + 3.99), account)
    assert admitted(rule, query(3, NOW + again.retry_after), account)


def test_an_error_with_context_carries_all_that_it_carried():
    error = RateLimited("2 queries", "at most 1 in a second", "wait", retry_after=4.0)
    named = error.with_context("client 'a'")
    assert str(named) == "got client 'a': 2 queries; expected at most 1 in a second; wait"
    assert type(named) is RateLimited
    assert named.retry_after == 4.0
    assert str(error).startswith("got 2 queries")


def test_more_than_a_burst_is_never_answered():
    with pytest.raises(RateLimited, match="smaller requests") as caught:
        RateLimit(10, burst=4).admit(query(5, NOW), Account("a"))
    assert caught.value.retry_after == float("inf")


def test_many_threads_never_exceed_the_rate():
    rule, account, passed = RateLimit(1.0, burst=100), Account("a"), []

    def ask() -> None:
        passed.extend(admitted(rule, query(1, NOW + i / 100), account) for i in range(200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 100 <= sum(passed) <= 102


def test_a_global_budget_is_one_for_all():
    ledger, rule = Ledger(), GlobalBudget(10)
    rule.admit(query(6, client="a"), ledger["a"])
    with pytest.raises(OverBudget, match="4 more of 10"):
        rule.admit(query(5, client="b"), ledger["b"])
    rule.admit(query(4, client="b"), ledger["b"])
    Budget(6).admit(query(6, client="c"), ledger["c"])  # its own account is another


@given(
    per=st.sampled_from(["hour", "day"]),
    queries=st.integers(0, 12),
    requests=st.lists(st.tuples(st.floats(0.0, 40_000.0), st.integers(1, 9)), max_size=60),
)
def test_a_budget_per_period_is_a_count_that_begins_anew(per, queries, requests):
    rule, account, now, counts = Budget(queries, per), Account("a"), NOW, {}
    for pause, n in requests:
        now += pause
        period = now // {"hour": 3600, "day": 86_400}[per]
        fits = counts.get(period, 0) + n <= queries
        assert admitted(rule, query(n, now), account) == fits
        counts[period] = counts.get(period, 0) + n * fits


def test_a_budget_names_its_period_and_one_for_life_stays_as_it_was():
    account = Account("a")
    Budget(5, per="day").admit(query(3, NOW), account)
    with pytest.raises(OverBudget, match="at most 2 more of 5 a day"):
        Budget(5, per="day").admit(query(3, NOW), account)
    Budget(100, per="day").admit(query(97, NOW), account)  # the owner changed the rule: the count goes on
    assert not admitted(Budget(50, per="day"), query(1, NOW), account)
    assert admitted(Budget(50, per="day"), query(50, NOW + 86_400), account)
    assert to_table(Budget(5)) == {"kind": "Budget", "queries": 5}
    assert (repr(Budget(5)), repr(Budget(5, "day"))) == ("Budget(queries=5)", "Budget(queries=5, per='day')")
    assert (Budget(5).query_limit, Budget(5, "day").query_limit) == (5, None)
    with pytest.raises(BadInput, match="one of day, hour"):
        Budget(5, per="fortnight")
    Budget(10**12)
    with pytest.raises(BadInput, match="0 or more"):
        Budget(10**12, per="day")


@pytest.mark.parametrize(("rule", "queries", "wait"), [
    (Budget(5, per="day"), 6, math.inf), (Budget(5, per="day"), 5, 86_400 - NOW % 86_400), (Budget(5), 5, math.inf),
], ids=repr)  # fmt: skip
def test_who_is_over_a_budget_learns_how_long_to_wait_for_the_next(rule, queries, wait):
    account = Account("ann")
    rule.admit(query(1, NOW), account)
    with pytest.raises(OverBudget) as refused:
        rule.admit(query(queries, NOW), account)
    assert refused.value.retry_after == wait


@pytest.mark.parametrize("rule", [RateLimit(10, burst=2), Budget(2, per="hour"), Budget(2, per="day")])
def test_clock_that_was_put_back_locks_nobody_out(rule):
    account = Account("a")
    assert admitted(rule, query(2, NOW + 48 * 3600), account)
    assert admitted(rule, query(2, NOW), account)
    assert not admitted(rule, query(1, NOW), account)


@pytest.mark.parametrize(("rule", "at"), [(RateLimit(10, burst=2), NOW), (Budget(2, per="hour"), 3600 * 500_000.0)])
def test_replica_whose_clock_is_half_a_second_behind_grants_nothing_more(rule, at):
    account = Account("a")
    assert admitted(rule, query(2, at), account)
    assert not admitted(rule, query(1, at - 0.5), account)
    assert not admitted(rule, query(1, at), account)
