"""Requests of one client that overlap: delayed, cancelled, failing, and reloaded in orders drawn by seeds."""

import asyncio
import random

import pytest
from tests.support.gateways import CLASSES, DOMAIN, INPUTS, Straight, X

from feint.defenses.access import Budget
from feint.errors import OverBudget, StoreLost
from feint.gateway.array_query import ArrayQuery
from feint.gateway.changes import AccountName, LedgerMark
from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores.base import snapshot_of
from feint.gateway.stores.memory import MemoryStore
from feint.openinference.model_spec import ModelSpec

REQUESTS, LIMIT = 24, 15
CLIENT = AccountName("client", "ann")


class Delayed(MemoryStore):
    """Store that commits some turns of the loop after the call, or fails, and answers some turns later."""

    def __init__(self, draw, failing=0.0) -> None:
        super().__init__()
        self._draw, self._failing, self._commits = draw, failing, 0

    async def commit(self, changes):
        await self._turns()
        if self._draw.random() < self._failing:
            raise StoreLost("a store that is away", "one that answers", "try again")
        outcome = await super().commit(changes)
        self._commits += outcome.committed
        marked = type(outcome)(outcome.committed, outcome.accounts, LedgerMark("it", self._commits))
        await self._turns()
        return marked

    async def _turns(self):
        for _ in range(self._draw.randrange(4)):
            await asyncio.sleep(0)


def admit(asked, account):
    account.once(asked.stamp, expires=1e12, now=0.0)  # reads the account: each commit depends on the one before
    Budget(LIMIT).admit(asked, account)


def played(seed, *, cancelled=0.0, failing=0.0, accepting=0.0):
    """Return the outcomes of overlapping requests, and what the store holds of the client afterwards."""
    draw = random.Random(seed)
    store = Delayed(draw, failing)
    session = LedgerSession(store)
    endpoint = ModelEndpoint(ModelSpec("toy", DOMAIN, "p", CLASSES, INPUTS), Straight(admit=admit), session)

    async def ask(number):
        try:
            await endpoint.answer(ArrayQuery(X[:1], "ann", stamp=str(number)))
        except (OverBudget, StoreLost) as error:
            return type(error)
        return "answered"

    async def main():
        tasks = []
        for number in range(REQUESTS):
            tasks.append(asyncio.ensure_future(ask(number)))
            for _ in range(draw.randrange(3)):
                await asyncio.sleep(0)
            if draw.random() < cancelled:
                draw.choice(tasks).cancel()
            if draw.random() < accepting:
                session.accept()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        store._failing = 0.0
        last = await asyncio.wait_for(ask("last"), 10)
        return [type(it) if isinstance(it, BaseException) else it for it in outcomes] + [last], await snapshot_of(
            store, CLIENT
        )

    return asyncio.run(main())


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "trouble",
    [
        {},
        {"cancelled": 0.4},
        {"accepting": 0.3},
        {"failing": 0.2},
        {"cancelled": 0.3, "accepting": 0.2, "failing": 0.1},
    ],
    ids=["none", "cancelled", "reloads", "failures", "all"],
)
def test_answers_are_charged_once_in_every_order(seed, trouble):
    outcomes, account = played(seed, **trouble)
    answered, unknown = outcomes.count("answered"), outcomes.count(asyncio.CancelledError)
    charged = account.totals["budget"]
    assert answered <= charged <= min(LIMIT, answered + unknown)
    assert account.totals["queries"] == charged
    if not trouble:
        assert answered == LIMIT
    if "failing" not in trouble:
        assert StoreLost not in outcomes
    assert outcomes[-1] == "answered" or charged == LIMIT
