"""Replica that prints each answered client until it is killed: `python -m tests.support.streaming URL MODEL N`."""

import asyncio
import os
import sys

from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import open_store


async def stream(url: str, model: str, clients: int) -> None:
    """Each client asks again as soon as it was answered; its name is written when it was."""
    session = LedgerSession(open_store(url, model))

    async def client(name: str) -> None:
        while True:
            transaction = session.begin(name)
            transaction.add("budget", 1.0)
            transaction.shared.add("budget", 1.0)
            if await session.commit(transaction):
                os.write(1, f"{name}\n".encode())

    await asyncio.gather(*(client(f"client {i}") for i in range(clients)))


if __name__ == "__main__":
    asyncio.run(stream(sys.argv[1], sys.argv[2], int(sys.argv[3])))
