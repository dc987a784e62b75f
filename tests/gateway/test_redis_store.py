"""A ledger in a real Redis that is killed, hangs, or holds something else."""

import asyncio

import pytest
from tests.support.askers import ask, totals
from tests.support.redis_servers import redis_server

from feint.errors import StoreLost
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores.redis import RedisStore

pytestmark = pytest.mark.redis


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.mark.slow
def test_a_server_killed_in_the_middle_loses_no_budget_and_doubles_none(tmp_path):
    with redis_server(tmp_path) as server:

        async def interrupted():
            asking = asyncio.create_task(ask(server.url, "", "endless", 3000, 0))
            while (await totals(server.url))["budget"] < 100:
                await asyncio.sleep(0.01)
            server.kill()
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.start)
            return await asking

        told, charged = asyncio.run(interrupted()), asyncio.run(totals(server.url))["budget"]
    assert told["lost"] > 0
    assert told["granted"] + told["lost"] == 3000
    assert told["granted"] <= charged <= told["granted"] + 1  # one request was in flight


def test_a_server_that_is_not_there_or_hangs_is_a_lost_store(tmp_path):
    async def commit(url: str) -> None:
        store = RedisStore(url, timeout=1.0)
        transaction = LedgerSession(store).begin("a")
        transaction.add("budget", 1.0)
        try:
            await LedgerSession(store).commit(transaction)
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
                await LedgerSession(store).commit(LedgerSession(store).begin("a"))
            await store.close()

        asyncio.run(foreign())


def test_expired_tokens_are_forgotten(server):
    async def used() -> int:
        store = RedisStore(server.url, "tokens")
        session = LedgerSession(store)
        for i in range(50):
            transaction = session.begin("a")
            assert transaction.once(f"{i}", expires=i + 5.0, now=float(i))
            assert await session.commit(transaction)
        left = await store._redis.zcard("{feint:tokens}:client:a:tokens")
        await store.close()
        return left

    assert asyncio.run(used()) == 5


def test_what_is_asked_while_others_are_under_way_is_one_write_and_fails_alone(server):
    async def scene():
        store, sizes = RedisStore(server.url, "together"), []
        piped = store._piped

        async def counted(many, sha):
            sizes.append(len(many))
            return await piped(many, sha)

        store._piped = counted

        async def add(client: str, amount: float) -> bool:
            transaction = LedgerSession(store).begin(client)
            transaction.add("evidence", amount)
            transaction.total("evidence")  # what is read is not repeated by the store, but replaced
            return await LedgerSession(store).commit(transaction)

        one = asyncio.ensure_future(add("first", 1.0))
        while not sizes:
            await asyncio.sleep(0)
        told = await asyncio.gather(
            one, *(add(f"{i}", 1.0) for i in range(20)), add("odd", float("nan")), return_exceptions=True
        )
        await store.close()
        return sizes, told

    sizes, told = asyncio.run(scene())
    assert sizes == [1, 21]
    assert told[:21] == [True] * 21
    assert isinstance(told[21], StoreLost)


def test_a_server_that_forgot_the_script_is_told_it_again(server):
    async def scene():
        store = RedisStore(server.url, "forgetful")
        for i in range(3):
            session = LedgerSession(store)
            transaction = session.begin(f"{i}")
            transaction.add("budget", 1.0)
            assert await session.commit(transaction)
            await store._redis.script_flush()
        found = await store.clients()
        await store.close()
        return found

    assert len(asyncio.run(scene())) == 3
