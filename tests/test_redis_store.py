"""The ledger in a real Redis: exact, shared by real processes, and what is left when the server is killed."""

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
from tests.askers import BUDGET, ask
from tests.redis_servers import redis_server

from feint.errors import StoreLost
from feint.gateway.drafts import Draft, Drafts
from feint.gateway.stores.memory import MemoryStore
from feint.gateway.stores.redis import RedisStore

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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


def perform(draft: Draft, shared: bool, operation: tuple, now: float) -> object:
    """What an operation on a draft's own or shared account returns at a time."""
    account, (kind, *given) = draft.shared if shared else draft, operation
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
    """What two replicas that take turns get to see: each outcome, whether each draft was agreed to, how often not."""
    replicas, seen = [Drafts(store) for store in stores], []
    for now, (replica, client, operations) in enumerate(requests):
        for _ in range(2):  # a draft that was refused is tried again on what the store told
            draft = replicas[replica].draft(client)
            outcomes = [perform(draft, *operation, float(now)) for operation in operations]
            seen.append((outcomes, await replicas[replica].commit(draft)))
            if seen[-1][1]:
                break
    seen.append(sorted(await stores[0].clients()))
    for store in stores:
        await store.close()
    return seen


@settings(max_examples=80, deadline=None)
@given(requests=REQUESTS)
def test_it_means_the_same_as_a_ledger_in_memory(server, requests):
    memory, name = MemoryStore(), tempfile.mktemp(prefix="", dir="")
    redis = [RedisStore(server.url, name) for _ in range(2)]
    assert asyncio.run(played(redis, requests)) == asyncio.run(played([memory, memory], requests))


def replicas(url: str, kind: str, *, times: int, processes: int = 4) -> list[dict[str, float]]:
    """What so many processes that ask at once were granted."""
    running = [
        subprocess.Popen([sys.executable, "-m", "tests.askers", url, kind, f"{times}", f"{i}"], stdout=subprocess.PIPE)
        for i in range(processes)
    ]
    return [json.loads(process.communicate()[0]) for process in running]


@pytest.mark.parametrize("kind", ["budget", "shared_budget", "rate", "tokens", "evidence"])
def test_processes_that_share_it_decide_as_one(tmp_path, kind):
    with redis_server(tmp_path) as server:
        told = replicas(server.url, kind, times=150)
        granted = sum(it["granted"] for it in told)
        draft = asyncio.run(looked(server.url))
    expected = {"budget": BUDGET, "shared_budget": BUDGET, "rate": 200, "tokens": 40, "evidence": draft["a"]}[kind]
    assert granted == expected
    if kind == "evidence":
        assert draft["shared a"] == granted
        assert draft["b"] == 2 * granted
    assert sum(it["conflicts"] for it in told) > 0  # they did ask at once


async def looked(url: str) -> dict[str, float]:
    """The totals of the client "a", and what is shared."""
    drafts = Drafts(RedisStore(url))
    for _ in range(2):  # the first look is a guess that the store corrects
        draft = drafts.draft("a")
        found = {"a": draft.total("a"), "b": draft.total("b"), "budget": draft.total("budget")}
        found["shared a"] = draft.shared.total("a")
        if await drafts.commit(draft):
            break
    await drafts.store.close()
    return found


def test_a_server_killed_in_the_middle_loses_no_budget_and_doubles_none(tmp_path):
    with redis_server(tmp_path) as server:

        async def interrupted():
            asking = asyncio.create_task(ask(server.url, "endless", 1500, 0))
            await asyncio.sleep(0.2)
            server.kill()
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.start)
            return await asking

        told, charged = asyncio.run(interrupted()), asyncio.run(looked(server.url))["budget"]
    assert 0 < told["lost"] < 1000
    assert told["granted"] + told["lost"] == 1500
    assert told["granted"] <= charged <= told["granted"] + 1  # one request was in flight


def test_a_server_that_is_not_there_or_hangs_is_a_lost_store(tmp_path):
    async def commit(url: str) -> None:
        store = RedisStore(url, timeout=0.2)
        draft = Drafts(store).draft("a")
        draft.add("budget", 1.0)
        try:
            await Drafts(store).commit(draft)
        finally:
            await store.close()

    with redis_server(tmp_path) as server:
        asyncio.run(commit(server.url))
        server.pause()
        with pytest.raises(StoreLost, match="TimeoutError"):
            asyncio.run(commit(server.url))
        server.kill()
        with pytest.raises(StoreLost, match="answers"):
            asyncio.run(commit(server.url))


def test_a_ledger_of_another_format_is_not_touched(tmp_path):
    with redis_server(tmp_path) as server:

        async def foreign():
            store = RedisStore(server.url)
            await store._redis.set("{feint:}:format", "9")
            with pytest.raises(StoreLost, match="format"):
                await Drafts(store).commit(Drafts(store).draft("a"))
            await store.close()

        asyncio.run(foreign())


def test_expired_tokens_are_forgotten(server):
    async def used() -> int:
        store = RedisStore(server.url, "tokens")
        drafts = Drafts(store)
        for i in range(50):
            draft = drafts.draft("a")
            assert draft.once(f"{i}", expires=i + 5.0, now=float(i))
            assert await drafts.commit(draft)
        left = await store._redis.zcard("{feint:tokens}:tokens:a")
        await store.close()
        return left

    assert asyncio.run(used()) == 5
