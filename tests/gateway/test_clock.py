"""The clock that replicas have in common."""

import asyncio
import time

import numpy as np
import pytest
from tests.support.redis_servers import redis_server

from feint.defenses.access import RateLimit
from feint.errors import RateLimited
from feint.gateway.array_query import ArrayQuery
from feint.gateway.clock import StoreClock
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores.memory import MemoryStore
from feint.gateway.stores.redis import RedisStore

NOW = 1.8e9


@pytest.fixture
def still(monkeypatch):
    """The monotonic time, which stands still in a test."""
    sent = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: sent)
    return sent


def test_clock_is_wrong_by_less_than_the_round_trip(still):
    clock = StoreClock()
    clock.follow(NOW, still, still + 0.25)
    assert abs(clock.now() - NOW) <= 0.2501


def test_exchange_that_agrees_changes_nothing(still):
    clock = StoreClock()
    clock.follow(NOW, still, still)
    before = clock.now()
    clock.follow(NOW + 5, still, still + 9)
    assert clock.now() == before


def test_step_of_the_machines_clock_is_not_followed(monkeypatch):
    clock = StoreClock()
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: NOW + 7200)
    assert clock.now() < before + 3600


@pytest.mark.redis
def test_replicas_whose_clocks_differ_refuse_no_honest_client(tmp_path, monkeypatch):
    rule = RateLimit(0.5, burst=20)

    async def refused() -> int:
        sessions, count = [], 0
        for skew in (0.0, 90.0):
            with monkeypatch.context() as patch:
                real = time.time
                patch.setattr(time, "time", lambda: real() + skew)  # noqa: B023
                sessions.append(LedgerSession(RedisStore(server.url, "skewed")))
            await sessions[-1].commit(sessions[-1].begin("first"))  # as a gateway does before it listens
        for n in range(10):
            session = sessions[n % 2]
            for _ in range(2):
                transaction = session.begin("ann")
                try:
                    rule.admit(ArrayQuery(np.zeros((1, 2)), "ann", time=session.now()), transaction)
                except RateLimited:
                    count += 1
                if await session.commit(transaction):
                    break
        for session in sessions:
            await session.store.close()
        return count

    with redis_server(tmp_path) as server:
        assert asyncio.run(refused()) == 0


def test_query_comes_at_the_time_of_the_store():
    store = MemoryStore()
    store.now = lambda: NOW
    assert LedgerSession(store).now() == NOW
