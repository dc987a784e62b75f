"""A replica in a process of its own: `python -m tests.support.askers URL MODEL KIND TIMES SEED`.

It sends `TIMES` requests to the ledger and prints as JSON the amounts granted and lost and the number of conflicts.
"""

import asyncio
import json
import math
import random
import sys
from collections.abc import Callable

from feint.errors import StoreLost
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import open_store
from feint.gateway.transaction import Transaction

BUDGET = 300
PIECES = 64.0  # evidence grows in 64ths, whose sums are exact


def budget(account: Transaction, dice: random.Random) -> float:
    n = dice.randint(1, 3)
    return n * account.add("budget", n, limit=BUDGET)


def shared_budget(account: Transaction, dice: random.Random) -> float:
    n = dice.randint(1, 3)
    return n * account.shared.add("budget", n, limit=BUDGET)


def rate(account: Transaction, dice: random.Random) -> float:
    """A bucket of 200 at one moment: no more than 200 are ever let through."""
    return 1.0 * account.add("rate", 1.0, floor=1000.0, limit=1200.0)


def tokens(account: Transaction, dice: random.Random) -> float:
    """One of 40 tokens, each of which is to be used once."""
    return 1.0 * account.once(f"token {dice.randrange(40)}", expires=math.inf, now=0.0)


def evidence(account: Transaction, dice: random.Random) -> float:
    """Several sums of a client, and one for all."""
    amount = dice.randrange(1, 100) / PIECES
    account.add_all({"a": amount, "b": 2 * amount})
    account.shared.add("a", amount)
    return amount


def endless(account: Transaction, dice: random.Random) -> float:
    """A count without a limit."""
    return 1.0 * account.add("budget", 1.0)


KINDS: dict[str, Callable[[Transaction, random.Random], float]] = {
    "budget": budget, "shared_budget": shared_budget, "rate": rate, "tokens": tokens, "evidence": evidence,
    "endless": endless,
}  # fmt: skip


async def ask(url: str, model: str, kind: str, times: int, seed: int) -> dict[str, float]:
    """Return what `times` requests were granted, what was lost with the store, and the number of conflicts."""
    store, dice, granted, lost, conflicts = open_store(url, model), random.Random(seed), 0.0, 0.0, 0
    session = LedgerSession(store)
    for _ in range(times):
        client = dice.choice("ab") if kind == "shared_budget" else "a"
        chance = dice.getstate()
        for attempt in range(1000):
            dice.setstate(chance)
            transaction = session.begin(client)
            amount = KINDS[kind](transaction, dice)
            try:
                if await session.commit(transaction):
                    granted += amount
                    break
                conflicts += 1
                await asyncio.sleep(dice.random() * 0.001 * min(attempt, 5))
            except StoreLost:
                lost += amount
                await asyncio.sleep(0.05)
                break
    await store.close()
    return {"granted": granted, "lost": lost, "conflicts": conflicts}


async def totals(url: str, model: str = "") -> dict[str, float]:
    """Return the totals of the client "a" and of the shared account."""
    session = LedgerSession(open_store(url, model))
    for _ in range(2):  # the first look is a guess that the store corrects
        transaction = session.begin("a")
        sums = {"a": transaction.total("a"), "b": transaction.total("b"), "budget": transaction.total("budget")}
        sums["shared a"] = transaction.shared.total("a")
        if await session.commit(transaction):
            break
    await session.store.close()
    return sums


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])))))
