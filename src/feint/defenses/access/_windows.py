"""Windows of a client's queries: what a detector remembers ends with them, and so does the memory that it takes."""

from collections.abc import Iterator

from feint.ledger import Account

BLOCK = 1024  # queries worked on at once: the distances among them take 8 MiB


def pieces(account: Account, name: str, n: int, *, window: int) -> Iterator[tuple[int, slice]]:
    """The client's next `n` queries in pieces that cross no end of a window, each with the number of queries before.

    Windows are of `window` queries each; the rows whose names begin with `name` are dropped when one begins. Replicas
    that share the ledger number their queries without gaps, in one atomic step.
    """
    total = f"{name} queries"
    start, done = int(account.add_all({total: n})[total]) - n, 0
    while done < n:
        here = (start + done) % window
        if not here:
            account.drop(name)
        size = min(BLOCK, window - here, n - done)
        yield start + done, slice(done, done + size)
        done += size
