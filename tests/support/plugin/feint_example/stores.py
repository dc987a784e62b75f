"""A ledger's store at counting: it is kept in memory, and counts its commits."""

from feint.gateway.stores.memory import MemoryStore


class CountingStore(MemoryStore):
    shared = False
    commits = 0

    async def commit(self, changes):
        CountingStore.commits += 1
        return await super().commit(changes)
