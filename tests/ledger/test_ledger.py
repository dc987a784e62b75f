"""The ledger's atomic steps, and what a service places on it."""

import asyncio
import threading

import numpy as np
import pytest
import torch

from feint.defenses.access.budget import Budget
from feint.ledger import Account, Ledger, Rows, undone_on_failure
from feint.query import Query
from feint.service import Defense, Service


def test_a_total_is_raised_to_its_floor_before_it_grows():
    account = Account("a")
    assert account.add("time", 2.0, floor=10.0)
    assert account.total("time") == 12.0
    assert not account.add("time", 3.0, floor=11.0, limit=14.0)
    assert account.total("time") == 12.0  # what was refused changed nothing
    account.add("highest", 0.0, floor=5.0)
    account.add("highest", 0.0, floor=3.0)
    assert account.total("highest") == 5.0


def test_many_totals_grow_in_one_step():
    account = Account("a")

    def grow() -> None:
        for _ in range(500):
            account.add_all({"one": 1.0, "two": 2.0})

    threads = [threading.Thread(target=grow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert account.add_all({"one": 0.0, "two": 0.0}) == {"one": 2000.0, "two": 4000.0}


def test_a_token_is_new_once_until_it_expires():
    account = Account("a")
    assert account.once("stamp", expires=100.0, now=0.0)
    assert not account.once("stamp", expires=100.0, now=99.0)
    assert account.once("stamp", expires=200.0, now=100.0)
    for i in range(5000):
        account.once(f"{i}", expires=i + 1.0, now=float(i))
    assert len(account._used) < 2000  # the expired ones are forgotten


def test_no_token_is_new_again_after_the_clock_went_past_its_expiry_and_back():
    account = Account("a")
    assert account.once("first", expires=100.0, now=0.0)
    for i in range(1500):
        assert account.once(f"{i}", expires=9e9 + 1, now=9e9)  # so many that what has expired is forgotten
    assert "first" not in account._used
    assert not account.once("first", expires=100.0, now=1.0)
    assert account.token_time(1.0) == 9e9
    assert account.once("new", expires=account.token_time(1.0) + 100, now=1.0)  # nobody is locked out


def test_what_was_forgotten_stays_so_where_a_query_fails():
    account = Account("a")
    for i in range(1000):
        assert account.once(f"{i}", expires=100.0, now=0.0)

    def fail() -> None:
        with undone_on_failure():
            account.once("later", expires=9e9 + 1, now=9e9)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not any(account.once(f"{i}", expires=100.0, now=1.0) for i in range(1000))


def test_rows_keep_their_order_and_their_bound():
    rows, sent = Rows(), torch.rand(50, 3)
    for part in sent.split(7):
        rows.append(part, most=40)
    assert torch.equal(rows.tensor, sent[:40])
    assert rows.append(sent, most=40) == 0


def test_only_the_shared_account_is_common_to_clients():
    ledger = Ledger()
    ledger["a"].shared.add("all", 1.0)
    ledger["b"].shared.add("all", 1.0)
    ledger["a"].add("own", 1.0)
    assert ledger.shared.total("all") == 2.0
    assert ledger["b"].total("own") == 0.0


def test_clients_of_a_group_share_its_account_and_no_other():
    ledger = Ledger({"a": "g", "b": "g", "d": "g/h"})
    ledger["a"].group.add("x", 1.0)
    ledger["b"].group.add("x", 1.0)
    assert ledger["a"].group.total("x") == 2.0
    assert [ledger[name].group.total("x") for name in ("d", "g", "c")] == [0.0, 0.0, 0.0]
    assert ledger["c"].group is ledger["c"]
    assert ledger["a"].group.shared is ledger.shared


def test_many_totals_are_raised_to_a_floor_and_grow():
    account = Account("a")
    account.add_each({"one": 1.0, "two": -5.0}, floor=0.0)
    account.add_each({"one": 1.0, "two": 3.0}, floor=0.0)
    assert [account.peek(name) for name in ("one", "two", "none")] == [2.0, 3.0, 0.0]


def test_a_failure_takes_back_nothing_that_others_did_meanwhile():
    account = Account("a")
    account.add("sum", 1.0)
    with pytest.raises(RuntimeError):
        fail_beside_others(account)
    assert [account.total(name) for name in ("sum", "state")] == [5.0, 2.0]
    assert len(account.rows("rows")) == 2
    assert account.rows("array").array.shape == (1, 2)


def test_an_array_is_replaced_whole_and_totals_that_were_taken_are_gone():
    account = Account("a")
    account.change(["state"], "array", grown)
    account.change(["state"], "array", grown)
    assert account.rows("array").array.tolist() == [[1.0, 1.0]]
    assert account.take(["state", "none"]).tolist() == [2.0, 0.0]
    assert account.total("state") == 0


def test_a_failure_puts_arrays_and_totals_back():
    account = Account("a")
    account.change(["state"], "array", grown)
    with pytest.raises(RuntimeError):
        fail_after_arrays(account)
    assert account.total("state") == 1
    assert account.rows("array").array.tolist() == [[1.0]]
    assert not account.rows("other")


@pytest.mark.parametrize("given_up", [KeyboardInterrupt, asyncio.CancelledError])
def test_who_gives_up_while_the_model_runs_stays_charged(given_up):
    class GivenUp(torch.nn.Module):
        def forward(self, x):
            raise given_up

    service = Service(GivenUp(), Defense(access=[Budget(9)]))
    with pytest.raises(given_up):
        service(Query(torch.zeros(2, 1, 2, 2), client="a"))
    assert service.ledger["a"].total("budget") == 2


@undone_on_failure()
def fail_after_arrays(account):
    account.change(["state"], "array", grown)
    account.change([], "other", grown)
    account.take(["state"])
    raise RuntimeError


def grown(totals, array):
    """Totals one larger, and an array one longer."""
    return totals + 1, np.append(array, np.float32(1))


@undone_on_failure()
def fail_beside_others(account):
    use(account, 2.0)
    others = threading.Thread(target=lambda: use(account, 4.0))
    others.start()
    others.join()
    raise RuntimeError


def use(account, amount):
    account.add("sum", amount)
    account.change(["state"], "array", grown)
    account.rows("rows").append(torch.ones(1, 2), most=9)
