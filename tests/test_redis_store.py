"""A ledger in a real Redis that is killed, hangs, or holds something else."""

import asyncio

import pytest
from tests.askers import ask
from tests.redis_servers import redis_server
from tests.test_ledger_stores import looked

from feint.errors import StoreLost
from feint.gateway.drafts import Drafts
from feint.gateway.stores.redis import RedisStore


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


def test_a_server_killed_in_the_middle_loses_no_budget_and_doubles_none(tmp_path):
    with redis_server(tmp_path) as server:

        async def interrupted():
            asking = asyncio.create_task(ask(server.url, "", "endless", 3000, 0))
            while (await looked(server.url))["budget"] < 100:
                await asyncio.sleep(0.01)
            server.kill()
            await asyncio.sleep(0.1)
            await asyncio.to_thread(server.start)
            return await asking

        told, charged = asyncio.run(interrupted()), asyncio.run(looked(server.url))["budget"]
    assert told["lost"] > 0
    assert told["granted"] + told["lost"] == 3000
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
