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

from feint.gateway.changes import SHARED, AccountName, ChangeSet, Increment, Outcome, Snapshot
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import open_store
from feint.gateway.stores.memory import MemoryStore
from feint.gateway.transaction import TOKENS, Transaction

NAMES = st.sampled_from(["a", "b", "evidence"])
NUMBERS = st.floats(-1e12, 1e12) | st.sampled_from([0.1, 1 / 3, 5e-324, 1e300, 2.0**60])
OPERATIONS = st.one_of(
    st.tuples(st.just("add"), NAMES, NUMBERS, NUMBERS | st.just(-math.inf), NUMBERS | st.just(math.inf)),
    st.tuples(st.just("add_all"), st.dictionaries(NAMES, NUMBERS)),
    st.tuples(st.just("add_each"), st.dictionaries(NAMES, NUMBERS), NUMBERS | st.just(-math.inf)),
    st.tuples(st.just("change"), st.lists(NAMES, unique=True), st.sampled_from("vw"), st.integers(1, 3)),
    st.tuples(st.just("take"), st.lists(NAMES, unique=True)),
    st.tuples(st.just("total"), NAMES),
    st.tuples(st.just("peek"), NAMES),
    st.tuples(st.just("once"), st.sampled_from("xyz"), st.integers(0, 9)),
    st.tuples(st.just("append"), NAMES, st.integers(0, 3), st.integers(0, 5)),
    st.tuples(st.just("length"), NAMES),
    st.tuples(st.just("drop"), st.sampled_from(["", "a", "b"])),
)
ACCOUNTS = st.sampled_from(["client", "group", "shared"])
CALLERS = st.sampled_from([("c", "c"), ("d", "c"), ("d", ""), ("", "d")])  # a group and a client of one name
REQUESTS = st.lists(
    st.tuples(st.integers(0, 1), CALLERS, st.lists(st.tuples(ACCOUNTS, OPERATIONS), max_size=5)), max_size=8
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


@pytest.fixture(scope="module")
def patience():
    """However slow a store is, peeking reads nothing anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feint.gateway.transaction.FRESH", math.inf)
        yield


def perform(transaction: Transaction, which: str, operation: tuple, now: float) -> object:
    """What an operation on one of a transaction's accounts returns at a time."""
    account = {"client": transaction, "group": transaction.group, "shared": transaction.shared}[which]
    kind, *given = operation
    if kind == "add":
        return account.add(given[0], given[1], floor=given[2], limit=given[3])
    if kind == "add_each":
        return account.add_each(given[0], floor=given[1])
    if kind == "once":
        return account.once(given[0], expires=float(given[1]), now=now)
    if kind == "append":
        return account.rows(given[0]).append(np.full((given[1], 2), 1 / 3, np.float32), most=given[2])
    if kind == "change":
        names, array, width = given
        return account.change(
            names, array, lambda totals, before: (totals + len(before), np.full(width, 1 / 3, np.float32))
        ).tolist()
    if kind == "take":
        return account.take(*given).tolist()
    if kind == "length":
        return account.rows(given[0]).array.tolist()
    return getattr(account, kind)(*given)


async def played(stores, requests) -> list:
    """What two replicas that take turns get to see: each outcome, whether each commit succeeded, how often not."""
    replicas, seen = [LedgerSession(store) for store in stores], []
    for now, (replica, caller, operations) in enumerate(requests):
        for _ in range(2):  # a transaction that conflicted is tried again on what the store returned
            transaction = replicas[replica].begin(*caller)
            outcomes = [perform(transaction, *operation, float(now)) for operation in operations]
            seen.append((outcomes, await replicas[replica].commit(transaction)))
            if seen[-1][1]:
                break
    seen += [sorted(await stores[0].clients(kind=kind)) for kind in ("client", "group")]
    for store in stores:
        await store.close()
    return seen


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(requests=REQUESTS)
def test_store_equals_the_store_in_memory(url, patience, requests):
    memory, name = MemoryStore(), fresh()
    two = [open_store(url, name) for _ in range(2)]
    assert asyncio.run(played(two, requests)) == asyncio.run(played([memory, memory], requests))


CLIENT, GROUP = AccountName("client", "c"), AccountName("group", "c")


@pytest.fixture(params=["memory", "kept"])
def commit(request, url):
    """One commit after the other to a store that nobody else knows."""
    name, memory = fresh(), MemoryStore()

    def committed(changes: dict[AccountName, ChangeSet]) -> Outcome:
        async def scene():
            store = memory if request.param == "memory" else open_store(url, name)
            try:
                return await store.commit(changes)
            finally:
                await store.close()

        return asyncio.run(scene())

    return committed


def test_a_token_is_used_once_whatever_a_draft_knew(commit):
    def part(version: int, now: float, **tokens: float) -> ChangeSet:
        return ChangeSet(version, {"queries": float(version)}, tokens, {}, now)

    assert commit({CLIENT: part(0, 0.0, x=10.0)}).committed
    refused = commit({CLIENT: part(1, 1.0, y=9.0, x=9.0)})
    assert not refused.committed
    assert refused.accounts[CLIENT] == Snapshot(1, {"queries": 0.0}, used={"x": 10.0})
    assert commit({CLIENT: part(1, 1.0, y=9.0)}).committed  # the refused transaction had not used it
    assert commit({CLIENT: part(2, 11.0, x=20.0)}).committed  # void by now
    assert commit({CLIENT: part(3, 12.0, z=50.0), SHARED: part(0, 12.0, s=99.0)}).committed
    refused = commit({CLIENT: part(4, 13.0, w=50.0), SHARED: part(1, 13.0, s=99.0)})
    assert refused.accounts[CLIENT].version == 4
    assert refused.accounts[CLIENT].used == {}
    assert refused.accounts[SHARED].used == {"s": 99.0}
    assert commit({CLIENT: part(4, 13.0, w=50.0)}).committed


def test_a_used_token_stays_used_after_the_clock_went_past_its_expiry_and_back(url):
    """Another client's tokens, and another model's in the same store, are entered at the later time as well."""

    async def use(session: LedgerSession, client: str, token: str, *, expires: float, now: float) -> bool:
        for _ in range(3):  # a conflict shows a token that is not known here
            transaction = session.begin(client)
            first = transaction.once(token, expires=expires, now=now)
            if await session.commit(transaction):
                return first
        raise AssertionError("it conflicts again and again")

    async def scene(name: str, store_url: str) -> tuple[bool, ...]:
        stores = [open_store(store_url, name), open_store(store_url, f"{name} other")]
        here, other = map(LedgerSession, stores)
        assert await use(here, "ann", "stamp", expires=100.0, now=1.0)
        for n in range(3):
            assert await use(here, "bob", f"{n}", expires=9e9 + 1, now=9e9)
            assert await use(other, "ann", f"{n}", expires=9e9 + 1, now=9e9)
        unused = await use(LedgerSession(stores[0]), "ann", "stamp", expires=100.0, now=2.0)
        for n in range(3):
            assert await use(here, "ann", f"{n}", expires=9e9 + 1, now=9e9)
        forgotten = await use(LedgerSession(stores[0]), "ann", "stamp", expires=100.0, now=2.0)
        fresh_stamp = await use(here, "ann", "fresh", expires=9e9 + 100, now=2.0)
        for store in stores:
            await store.close()
        return unused, forgotten, fresh_stamp

    for store_url in ("memory:", url):
        assert asyncio.run(scene(fresh(), store_url)) == (False, False, True)


@pytest.mark.parametrize("name", [CLIENT, GROUP, SHARED])
def test_an_addition_that_comes_out_otherwise_changes_no_account(commit, name):
    def added(done: bool) -> ChangeSet:
        return ChangeSet(None, added=[Increment("budget", 3.0, -math.inf, 5.0, done)])

    other = AccountName("client", "other")
    assert commit({other: ChangeSet(0), name: added(True)}).accounts == {name: Snapshot(1, {"budget": 3.0})}
    refused = commit({other: ChangeSet(1, {"queries": 1.0}), name: added(True)})
    assert not refused.committed
    assert refused.accounts == {other: Snapshot(1), name: Snapshot(1, {"budget": 3.0})}
    assert commit({other: ChangeSet(1), name: added(False)}).accounts == {name: Snapshot(1, {"budget": 3.0})}


@pytest.mark.parametrize("behind", [CLIENT, GROUP, SHARED])
def test_one_account_that_has_another_version_keeps_all_as_they_are(commit, behind):
    names = CLIENT, GROUP, SHARED
    assert commit({name: ChangeSet(0, {"a": 1.0}) for name in names}).committed
    refused = commit({name: ChangeSet(int(name != behind), {"a": 2.0}) for name in names})
    assert not refused.committed
    assert refused.accounts == {name: Snapshot(1, {"a": 1.0}) for name in names}


def test_what_is_peeked_at_is_returned_and_not_changed(commit):
    assert commit({SHARED: ChangeSet(None)}).accounts == {SHARED: Snapshot()}
    assert commit({SHARED: ChangeSet(0, {"a": 1.0})}).committed
    assert commit({SHARED: ChangeSet(None)}).accounts == {SHARED: Snapshot(1, {"a": 1.0})}


ODD = ["", "a", "a:rows", "rows:a", "a:b", "a/b", "a%3Ab", "{a}", "shared", "é", "e\u0301", "A", "\n", "a\x00b"]


def test_no_two_accounts_share_anything_whatever_their_names(commit):
    names = [*(AccountName(kind, name) for kind in ("client", "group") for name in ODD), SHARED]
    for i, name in enumerate(names):
        rows = {row: (False, np.full((1, 2), i, np.float32)) for row in ("a", "b", "rows", "b:c")}
        assert commit({name: ChangeSet(0, {"a": i}, {"token": 9.0}, rows)}).committed
    for i, name in enumerate(names):
        account = commit({name: ChangeSet(7)}).accounts[name]
        assert account.version == 1
        assert account.totals == {"a": i}
        assert sorted(account.rows) == ["a", "b", "b:c", "rows"]
        assert all((array == i).all() and array.shape == (1, 2) for array in account.rows.values())


def sessions(url: str | None, model: str) -> list[LedgerSession]:
    """Two replicas that share one store, in memory for None."""
    memory = MemoryStore()
    return [LedgerSession(memory if url is None else open_store(url, model)) for _ in range(2)]


async def closed(*replicas: LedgerSession) -> None:
    for replica in replicas:
        await replica.store.close()


@pytest.mark.parametrize("kept", [False, True])
def test_replicas_add_to_an_account_and_peek_at_it_without_a_conflict(url, patience, kept):
    async def scene():
        pair, peeked, commits = sessions(url if kept else None, fresh()), [], []
        for n in range(6):
            transaction = pair[n % 2].begin(f"{n}", "g")
            for account in (transaction.group, transaction.shared):
                account.add_each({"a": 1.0, "b": 2.0}, floor=0.0)
                peeked.append(account.peek("a"))
            commits.append(await pair[n % 2].commit(transaction))
        await closed(*pair)
        return peeked, commits

    peeked, commits = asyncio.run(scene())
    assert commits == [True] * 6
    assert peeked == [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # all that was added before the replica's last commit


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_peeked_at_is_read_anew_when_it_is_old(url, monkeypatch, kept):
    monkeypatch.setattr("feint.gateway.transaction.FRESH", -1.0)

    async def scene():
        one, other = pair = sessions(url if kept else None, fresh())
        first = one.begin("a")
        first.shared.add("alarm", 1.0)
        await one.commit(first)
        peeked = []
        for _ in range(2):
            second = other.begin("b")
            peeked.append((second.shared.peek("alarm"), await other.commit(second)))
        await closed(*pair)
        return peeked

    assert asyncio.run(scene()) == [(0.0, False), (1.0, True)]


def test_rows_that_others_appended_are_known_after_additions():
    """A replica that only adds learns totals: its version stays behind, so that it cannot overwrite rows unseen."""

    async def scene():
        one, other = sessions(None, "")
        transaction = one.begin("a")
        transaction.shared.rows("r").append(np.ones((1, 2)), most=9)
        assert await one.commit(transaction)
        transaction = other.begin("b")
        transaction.shared.add("a", 1.0)
        assert await other.commit(transaction)
        transaction = other.begin("b")
        unknown = len(transaction.shared.rows("r"))
        return unknown, await other.commit(transaction), len(other.begin("b").shared.rows("r"))

    assert asyncio.run(scene()) == (0, False, 1)


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
    if kind in ("tokens", "evidence"):  # the others only add, which conflicts at most where the limit is reached
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
            assert len(session.begin("ann").snapshot.used) <= TOKENS + 1
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


def test_a_commit_that_builds_on_one_that_failed_fails(commit):
    """Its version is the account's by now, since another added to it."""
    assert commit({CLIENT: ChangeSet(0, {"a": 1.0}, writer="first")}).committed
    added = ChangeSet(None, added=[Increment("a", 1.0, -math.inf, math.inf, True)])
    assert commit({CLIENT: added}).committed
    failed = commit({CLIENT: ChangeSet(1, {"a": 9.0}, after="first", writer="second")})
    assert not commit({CLIENT: ChangeSet(2, {"a": 10.0}, after="second", writer="third")}).committed
    assert failed.accounts[CLIENT].writer == "first"
    assert commit({CLIENT: ChangeSet(2, {"a": 3.0}, after="first", writer="fourth")}).committed
