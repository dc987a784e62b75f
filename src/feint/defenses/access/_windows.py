"""Windows of a client's queries, with which a detector's state ends and its memory is bounded."""

from collections.abc import Iterator

from feint.ledger import Account

BLOCK = 1024  # queries worked on at once: the distances among them take 8 MiB


def pieces(account: Account, name: str, n: int, *, window: int) -> Iterator[tuple[int, slice]]:
    """Divide the client's next `n` queries into pieces that cross no end of a window.

    The rows whose names begin with `name` are dropped when a window begins. Replicas that share the ledger number their
    queries without gaps, in one atomic step.

    Args:
        account: The client's account.
        name: The detector's name.
        n: Number of new queries.
        window: Queries in a window.

    Yields:
        The number of queries before the piece, and the piece as a slice of the `n` queries.
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
