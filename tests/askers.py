"""A replica in a process of its own: `python -m tests.askers URL MODEL KIND TIMES SEED`.

It sends `TIMES` requests to the ledger and prints as JSON the amounts granted and lost and the number of conflicts.
"""

import asyncio
import json
import math
import random
import sys
from collections.abc import Callable

from feint.errors import StoreLost
from feint.gateway.drafts import Draft, Drafts
from feint.gateway.stores import open_store

BUDGET = 300
PIECES = 64.0  # evidence grows in 64ths, whose sums are exact


def budget(account: Draft, dice: random.Random) -> float:
    n = dice.randint(1, 3)
    return n * account.add("budget", n, limit=BUDGET)


def shared_budget(account: Draft, dice: random.Random) -> float:
    n = dice.randint(1, 3)
    return n * account.shared.add("budget", n, limit=BUDGET)


def rate(account: Draft, dice: random.Random) -> float:
    """A bucket of 200 at one moment: no more than 200 are ever let through."""
    return 1.0 * account.add("rate", 1.0, floor=1000.0, limit=1200.0)


def tokens(account: Draft, dice: random.Random) -> float:
    """One of 40 tokens, each of which is to be used once."""
    return 1.0 * account.once(f"token {dice.randrange(40)}", expires=math.inf, now=0.0)


def evidence(account: Draft, dice: random.Random) -> float:
    """Several sums of a client, and one for all."""
    amount = dice.randrange(1, 100) / PIECES
    account.add_all({"a": amount, "b": 2 * amount})
    account.shared.add("a", amount)
    return amount


def endless(account: Draft, dice: random.Random) -> float:
    """A count without a limit."""
    return 1.0 * account.add("budget", 1.0)


KINDS: dict[str, Callable[[Draft, random.Random], float]] = {
    "budget": budget, "shared_budget": shared_budget, "rate": rate, "tokens": tokens, "evidence": evidence,
    "endless": endless,
}  # fmt: skip


async def ask(url: str, model: str, kind: str, times: int, seed: int) -> dict[str, float]:
    """Return what `times` requests were granted, what was lost with the store, and the number of conflicts."""
    store, dice, granted, lost, conflicts = open_store(url, model), random.Random(seed), 0.0, 0.0, 0
    drafts = Drafts(store)
    for _ in range(times):
        client = dice.choice("ab") if kind == "shared_budget" else "a"
        chance = dice.getstate()
        for attempt in range(1000):
            dice.setstate(chance)
            draft = drafts.draft(client)
            amount = KINDS[kind](draft, dice)
            try:
                if await drafts.commit(draft):
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
    drafts = Drafts(open_store(url, model))
    for _ in range(2):  # the first look is a guess that the store corrects
        draft = drafts.draft("a")
        sums = {"a": draft.total("a"), "b": draft.total("b"), "budget": draft.total("budget")}
        sums["shared a"] = draft.shared.total("a")
        if await drafts.commit(draft):
            break
    await drafts.store.close()
    return sums


if __name__ == "__main__":
    print(json.dumps(asyncio.run(ask(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])))))
