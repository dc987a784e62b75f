"""Memory of a client's recent inputs, by which near copies are recognised, without torch."""

import numpy as np

from feint.ledger import Account
from feint.signature.domain import NEAR_DISTANCE

REMEMBERED = 100  # codes of recent inputs in each of two generations, 8 bytes each


def first_of_their_kind(codes: np.ndarray, account: Account, name: str = "near") -> np.ndarray:
    """Return which inputs are no near copies of the client's recent ones, and store the codes of those.

    The codes of the last 100 to 200 inputs that were none are kept, in two generations that take turns: 1,600 bytes.

    Args:
        codes: Perceptual codes of a query's inputs, (N,) uint64.
        account: The client's account.
        name: Name of the memory in the account.

    Returns:
        A mask, (N,) bool.
    """
    stored = [_codes(account.rows(f"{name}/{generation}").array) for generation in (0, 1)]
    known, new = np.concatenate([*stored, codes]), np.ones(len(codes), bool)
    count = len(known) - len(codes)
    for i, code in enumerate(codes):
        new[i] = not (np.bitwise_count(known[:count] ^ code) <= NEAR_DISTANCE).any()
        if new[i]:
            known[count] = code
            count += 1
    _store(codes[new], account, name)
    return new


def _codes(rows: np.ndarray) -> np.ndarray:
    """Return the codes (n,) uint64 in rows (n, 2) float32: their bits, which no store changes."""
    return rows.view(np.uint64).reshape(-1)


def _store(codes: np.ndarray, account: Account, name: str) -> None:
    """Append codes; the older generation is dropped when the younger one is full."""
    if not len(codes):
        return
    halves, total = codes[:, None].view(np.float32), f"{name}/codes"
    number = int(account.add_all({total: len(codes)})[total]) - len(codes)
    while len(halves):
        generation, room = f"{name}/{number // REMEMBERED % 2}", REMEMBERED - number % REMEMBERED
        if number % REMEMBERED == 0:
            account.drop(generation)
        account.rows(generation).append(halves[:room], most=REMEMBERED)
        number += len(halves[:room])
        halves = halves[room:]
