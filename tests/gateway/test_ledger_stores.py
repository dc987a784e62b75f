"""A ledger in SQLite and in Redis: exact, and shared by real processes, as one in memory says."""

import asyncio
import json
import math
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.askers import BUDGET, totals
from tests.support.redis_servers import redis_server

from feint.gateway.stores import open_store
from feint.gateway.stores.memory import MemoryStore
from feint.gateway.transaction import TOKENS, ChangeSet, Conflict, Increment, LedgerSession, Transaction

NAMES = st.sampled_from(["a", "b", "evidence"])
NUMBERS = st.floats(-1e12, 1e12) | st.sampled_from([0.1, 1 / 3, 5e-324, 1e300, 2.0**60])
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), NAMES, NUMBERS, NUMBERS | st.just(-math.inf), NUMBERS | st.just(math.inf)),
    st.tuples(st.just("add_all"), st.dictionaries(NAMES, NUMBERS)),
    st.tuples(st.just("total"), NAMES),
    st.tuples(st.just("once"), st.sampled_from("xyz"), st.integers(0, 9)),
    st.tuples(st.just("append"), NAMES, st.integers(0, 3), st.integers(0, 5)),
    st.tuples(st.just("length"), NAMES),
    st.tuples(st.just("drop"), st.sampled_from(["", "a", "b"])),
)
REQUESTS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from("cd"), st.lists(st.tuples(st.booleans(), OPERATIONS), max_size=5)),
    max_size=8,
)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def url(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        yield f"sqlite:{folder}/ledger.db"
    else:
        with redis_server(folder) as running:
            yield running.url


def fresh() -> str:
    """The name of a model of which no store has heard."""
    return tempfile.mktemp(prefix="", dir="")


def perform(transaction: Transaction, shared: bool, operation: tuple, now: float) -> object:
    """What an operation on a transaction's own or shared account returns at a time."""
    account, (kind, *given) = transaction.shared if shared else transaction, operation
    if kind == "add":
        return account.add(given[0], given[1], floor=given[2], limit=given[3])
    if kind == "once":
        return account.once(given[0], expires=float(given[1]), now=now)
    if kind == "append":
        return account.rows(given[0]).append(np.full((given[1], 2), 1 / 3, np.float32), most=given[2])
    if kind == "length":
        return account.rows(given[0]).array.tolist()
    return getattr(account, kind)(*given)


async def played(stores, requests) -> list:
    """What two replicas that take turns get to see: each outcome, whether each commit succeeded, how often not."""
    replicas, seen = [LedgerSession(store) for store in stores], []
    for now, (replica, client, operations) in enumerate(requests):
        for _ in range(2):  # a transaction that conflicted is tried again on what the store returned
            transaction = replicas[replica].begin(client)
            outcomes = [perform(transaction, *operation, float(now)) for operation in operations]
            seen.append((outcomes, await replicas[replica].commit(transaction)))
            if seen[-1][1]:
                break
    seen.append(sorted(await stores[0].clients()))
    for store in stores:
        await store.close()
    return seen


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(requests=REQUESTS)
def test_store_equals_the_store_in_memory(url, requests):
    memory, name = MemoryStore(), fresh()
    two = [open_store(url, name) for _ in range(2)]
    assert asyncio.run(played(two, requests)) == asyncio.run(played([memory, memory], requests))


@pytest.fixture(params=["memory", "kept"])
def commit(request, url):
    """One commit after the other to a store that nobody else knows."""
    name, memory = fresh(), MemoryStore()

    def committed(changes: ChangeSet, shared: ChangeSet | None = None) -> Conflict | None:
        async def scene():
            store = memory if request.param == "memory" else open_store(url, name)
            try:
                return await store.commit("c", changes, shared)
            finally:
                await store.close()

        return asyncio.run(scene())

    return committed


def test_a_token_is_used_once_whatever_a_draft_knew(commit):
    def part(version: int, now: float, **tokens: float) -> ChangeSet:
        return ChangeSet(version, {"queries": float(version)}, tokens, {}, now)

    assert commit(part(0, 0.0, x=10.0)) is None
    told = commit(part(1, 1.0, y=9.0, x=9.0))
    assert told.account.version == 1
    assert told.account.totals == {"queries": 0.0}
    assert told.account.used == {"x": 10.0}
    assert commit(part(1, 1.0, y=9.0)) is None  # the refused transaction had not used it
    assert commit(part(2, 11.0, x=20.0)) is None  # void by now
    assert commit(part(3, 12.0, z=50.0), part(0, 12.0, s=99.0)) is None
    told = commit(part(4, 13.0, w=50.0), part(1, 13.0, s=99.0))
    assert told.account.version == 4
    assert told.account.used == {}
    assert told.shared.used == {"s": 99.0}
    assert commit(part(4, 13.0, w=50.0)) is None


def test_a_shared_addition_that_comes_out_otherwise_changes_nothing(commit):
    def shared(done: bool) -> ChangeSet:
        return ChangeSet(None, {}, {}, {}, 0.0, [Increment("budget", 3.0, -math.inf, 5.0, done)])

    assert commit(ChangeSet(0, {}, {}, {}, 0.0), shared(True)) is None
    told = commit(ChangeSet(1, {"queries": 1.0}, {}, {}, 0.0), shared(True))
    assert told.account.version == 1
    assert told.account.totals == {}
    assert told.shared.totals == {"budget": 3.0}
    assert commit(ChangeSet(1, {}, {}, {}, 0.0), shared(False)) is None


def replicas(url: str, model: str, kind: str, *, times: int, processes: int = 4) -> list[dict[str, float]]:
    """What so many processes that ask at once were granted."""
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.askers", url, model, kind, f"{times}", f"{i}"], stdout=subprocess.PIPE
        )
        for i in range(processes)
    ]
    return [json.loads(process.communicate()[0]) for process in running]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["budget", "shared_budget", "rate", "tokens", "evidence"])
def test_processes_that_share_it_decide_as_one(url, kind):
    model = fresh()
    told = replicas(url, model, kind, times=150)
    granted = sum(it["granted"] for it in told)
    transaction = asyncio.run(totals(url, model))
    evidence = transaction["a"]
    expected = {"budget": BUDGET, "shared_budget": BUDGET, "rate": 200, "tokens": 40, "evidence": evidence}[kind]
    assert granted == expected
    if kind == "evidence":
        assert transaction["shared a"] == granted
        assert transaction["b"] == 2 * granted
    assert sum(it["conflicts"] for it in told) > 0  # they did ask at once


def test_a_process_that_is_killed_takes_back_no_answer_and_charges_none_twice(url):
    model = fresh()
    asker = subprocess.Popen(
        [sys.executable, "-m", "tests.support.streaming", url, model, "16"], stdout=subprocess.PIPE
    )
    told = b"".join(asker.stdout.readline() for _ in range(500))
    asker.kill()
    told += asker.communicate()[0]
    answered = [told.count(b"client %d\n" % i) for i in range(16)]
    kept = {name: totals["budget"] for name, totals in asyncio.run(clients(url, model))}
    assert min(answered) > 0
    for i, count in enumerate(answered):  # each has one request in flight
        assert count <= kept[f"client {i}"] <= count + 1


async def clients(url: str, model: str) -> list[tuple[str, dict[str, float]]]:
    store = open_store(url, model)
    try:
        return await store.clients()
    finally:
        await store.close()


def test_a_gateway_remembers_few_tokens_and_lets_none_pass_twice():
    async def run():
        session, firsts = LedgerSession(MemoryStore()), []
        for n in [*range(3 * TOKENS), 0]:  # the first one comes again when it is long forgotten here
            while True:
                transaction = session.begin("ann")
                first = transaction.once(f"{n}", expires=1e9, now=0.0)
                if await session.commit(transaction):
                    break
            firsts.append(first)
            assert len(session.begin("ann")._snapshot.used) <= TOKENS + 1
        return firsts

    assert asyncio.run(run()) == [True] * (3 * TOKENS) + [False]


def test_a_large_batch_that_comes_again_is_known_at_the_second_look():
    async def run():
        session, told = LedgerSession(MemoryStore()), []
        for _ in range(5):
            transaction = session.begin("ann")
            firsts = sum(transaction.once(f"{n}", expires=1e9, now=0.0) for n in range(5 * TOKENS))
            told.append((firsts, await session.commit(transaction)))
        return told

    assert asyncio.run(run()) == [(5 * TOKENS, True), (4 * TOKENS, False), (0, True), (4 * TOKENS, False), (0, True)]
