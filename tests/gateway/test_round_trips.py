"""Requests of one client at a store that is far away: none waits for another's round trip."""

import asyncio

import numpy as np
import pytest
from tests.support.gateways import DOMAIN, INPUTS, SHAPE, Straight

from feint.defenses.access import Budget
from feint.errors import OverBudget, StoreLost
from feint.gateway.array_query import ArrayQuery
from feint.gateway.changes import Outcome
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores.memory import MemoryStore
from feint.gateway.stores.sqlite import SqliteStore
from feint.openinference.model_spec import ModelSpec

N = 12


class FarStore(MemoryStore):
    """A store that does all it is sent in order, and whose answers come when `near` is set.

    Attributes:
        sent: Number of commits that were sent.
        fails: Whether an answer is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.near, self.sent, self.fails = asyncio.Event(), 0, False

    async def commit(self, changes) -> Outcome:
        self.sent += 1
        outcome, fails = await super().commit(changes), self.fails
        await self.near.wait()
        if fails:
            raise StoreLost("an answer that is lost", "one", "try again")
        return outcome


def reads(query, account) -> None:
    """A rule that reads the account, so that a change depends on it."""
    account.add_all({"seen": len(query)})


def once(query, account) -> None:
    assert account.once(query.stamp, expires=1e12, now=query.time)


def endpoint(store, admit=reads) -> ModelEndpoint:
    spec = ModelSpec("toy", DOMAIN, "p", 3, INPUTS)
    return ModelEndpoint(spec, Straight(admit=admit), LedgerSession(store))


def query(stamp: str = "") -> ArrayQuery:
    return ArrayQuery(np.zeros((1, *SHAPE), np.float32), "ann", stamp)


async def settled() -> None:
    for _ in range(20 * N):
        await asyncio.sleep(0)


def test_requests_of_one_client_are_under_way_together():
    async def scene():
        store = FarStore()
        served = endpoint(store)
        asked = [asyncio.ensure_future(served.answer(query())) for _ in range(N)]
        await settled()
        sent = store.sent
        store.near.set()
        return sent, [len(q) for q in await asyncio.gather(*asked)], store.sent

    assert asyncio.run(scene()) == (N, [1] * N, N)


def test_another_replica_in_between_costs_a_second_try_and_no_query():
    async def scene():
        store = FarStore()
        served, other = endpoint(store), LedgerSession(store)
        asked = [asyncio.ensure_future(served.answer(query())) for _ in range(N // 2)]
        await settled()
        transaction = other.begin("ann")
        transaction.add("seen", 1.0)
        elsewhere = asyncio.ensure_future(other.commit(transaction))
        asked += [asyncio.ensure_future(served.answer(query())) for _ in range(N // 2)]
        await settled()
        store.near.set()
        await asyncio.gather(elsewhere, *asked)
        return (await store.clients())[0][1]

    assert asyncio.run(scene()) == {"seen": N + 1.0, "queries": N}


def test_budget_is_exact_over_replicas_with_requests_under_way():
    async def scene():
        store = FarStore()
        store.near.set()

        def both(query, account) -> None:
            reads(query, account)
            Budget(10).admit(query, account)

        replicas = [endpoint(store, both) for _ in range(2)]
        answers = await asyncio.gather(*(replicas[n % 2].answer(query()) for n in range(3 * N)), return_exceptions=True)
        return sum(isinstance(answer, OverBudget) for answer in answers), (await store.clients())[0][1]["budget"]

    assert asyncio.run(scene()) == (3 * N - 10, 10.0)


def test_answers_that_are_lost_leave_the_next_request_right():
    async def scene():
        store = FarStore()
        served, store.fails = endpoint(store, once), True
        asked = [asyncio.ensure_future(served.answer(query(f"{n}"))) for n in range(3)]
        await settled()
        store.near.set()
        lost = await asyncio.gather(*asked, return_exceptions=True)
        store.fails = False
        return [type(error) for error in lost], len(await served.answer(query("new")))

    assert asyncio.run(scene()) == ([StoreLost] * 3, 1)


def test_token_of_a_commit_that_conflicts_is_not_used():
    async def scene():
        store = MemoryStore()
        one, other = LedgerSession(store), LedgerSession(store)
        transaction = other.begin("ann")
        transaction.add("a", 1.0)
        await other.commit(transaction)
        transaction = one.begin("ann")
        assert transaction.once("stamp", expires=9.0, now=1.0)
        assert not await one.commit(transaction)
        return one.begin("ann").once("stamp", expires=9.0, now=1.0)

    assert asyncio.run(scene())


@pytest.mark.parametrize("together", [3, 5, 8])
def test_requests_under_way_catch_up_with_an_account_that_changed_elsewhere(tmp_path, together):
    """No commit builds on one that has failed meanwhile: three at a time conflicted until all of them were refused."""

    async def asks(served):
        return [await served.answer(query()) for _ in range(N)]

    async def scene():
        store = SqliteStore(tmp_path / "ledger.db")
        await asks(endpoint(store))
        served = endpoint(store)  # another replica, which knows nothing of the account
        answers = await asyncio.gather(*(asks(served) for _ in range(together)))
        await store.close()
        return sum(map(len, answers))

    assert asyncio.run(scene()) == together * N
