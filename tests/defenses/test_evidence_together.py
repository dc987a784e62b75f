"""Evidence of several clients at once is that of each by itself."""

import functools

import numpy as np
import pytest

from feint.defenses.access import client_state
from feint.defenses.access.e_process import MOST, NOW, Observation
from feint.defenses.access.martingale import Martingale
from feint.defenses.access.mixture import Mixture
from feint.defenses.access.near_copies import REMEMBERED
from feint.gateway.array_query import ArrayQuery
from feint.gateway.changes import AccountName, Snapshot
from feint.gateway.transaction import Transaction

BENIGN = np.sort(np.random.default_rng(0).normal(size=200))
LENGTHS = 1, 5, REMEMBERED, REMEMBERED + 20  # queries of the clients so far


@functools.cache
def martingale(bets=12):
    p = np.arange(1, len(BENIGN) + 2) / (len(BENIGN) + 1)
    powers = np.linspace(0.1, 0.9, bets)
    return Martingale(BENIGN, np.log(powers * p[:, None] ** (powers - 1)), np.full(bets, 1 / bets), 1e-3)


PROCESSES = {
    "one": martingale(),
    "mean": Mixture((martingale(), martingale(5)), (1, 1), np.array([0.5, 0.5]), 1e-3),
}


def image(seed):
    return np.random.default_rng(seed).random((1, 3, 32, 32), np.float32)


def opened(snapshot):
    return Transaction(AccountName("client", "ann"), snapshot)


def reading(process, seed):
    columns = () if isinstance(process, Martingale) else (2,)
    return process.read(np.random.default_rng(seed).normal(-1, 1, (1, *columns)))


@functools.cache
def client(name, queries, seed=0):
    """Return the account of a client after some queries."""
    account, process = opened(Snapshot()), PROCESSES[name]
    for i in range(queries):
        process.observe_readings(reading(process, i), ArrayQuery(image(1000 * seed + i), "ann"), account)
    return account.committed("")


def at_once(name, snapshots, inputs):
    process = PROCESSES[name]
    accounts = [opened(snapshot) for snapshot in snapshots]
    queries = [ArrayQuery(x, "ann") for x in inputs]
    observations = [
        Observation(reading(process, i), query, account)
        for i, (query, account) in enumerate(zip(queries, accounts, strict=True))
    ]
    return accounts, process.observe_each(observations)


@pytest.mark.parametrize("name", PROCESSES)
def test_evidence_at_once_is_that_of_each_client_alone(name):
    process, snapshots = PROCESSES[name], [client(name, n, seed) for seed, n in enumerate(LENGTHS)]
    inputs = [image(-seed - 1 + 10**6) for seed in range(len(LENGTHS))]
    accounts, evidence = at_once(name, snapshots, inputs)
    for i, (account, one) in enumerate(zip(accounts, evidence, strict=True)):
        alone = opened(snapshots[i])
        expected = process.observe_readings(reading(process, i), ArrayQuery(inputs[i], "ann"), alone)
        assert one.store() == pytest.approx(expected)
        assert account._totals == pytest.approx(alone._totals)
        np.testing.assert_allclose(*(each.rows(client_state.NAME).array for each in (account, alone)), rtol=1e-6)


@pytest.mark.parametrize("name", PROCESSES)
def test_a_near_copy_changes_nothing_beside_others_either(name):
    snapshots = [client(name, 5), client(name, REMEMBERED + 20, 3)]
    accounts, evidence = at_once(name, snapshots, [image(4), image(10**6)])
    assert evidence[0].store() == snapshots[0].totals[MOST]
    assert accounts[0]._totals == snapshots[0].totals
    evidence[1].store()
    assert accounts[1]._totals[NOW] != snapshots[1].totals[NOW]


def test_nothing_is_stored_before_it_is_asked_for():
    (account,), (one,) = at_once("one", [client("one", 5)], [image(10**6)])
    assert account._totals == client("one", 5).totals
    assert one.totals != {name: client("one", 5).totals[name] for name in one.totals}


def test_a_first_query_and_one_of_several_inputs_are_left_to_themselves():
    snapshots = [Snapshot(), client("one", 5)]
    _, evidence = at_once("one", snapshots, [image(1), np.concatenate([image(1), image(2)])])
    assert evidence == [None, None]
