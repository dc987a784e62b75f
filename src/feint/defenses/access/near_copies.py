"""Memory of a client's recent inputs, by which near copies are recognised, without torch."""

import numpy as np

from feint.ledger import Account
from feint.signature import near
from feint.signature.domain import NEAR_DISTANCE

REMEMBERED = 100  # codes of recent inputs in each of two generations, 8 bytes each
HALF_CODE = np.uint64(2**24 - 1)


def first_of_their_kind(x: np.ndarray, account: Account, name: str = "near") -> np.ndarray:
    """Return which inputs are no near copies of the client's recent ones, and store the codes of those.

    The codes of the last 100 to 200 inputs that were none are kept, in two generations that take turns: 1,600 bytes.

    Args:
        x: Inputs of a query, (N, …).
        account: The client's account.
        name: Name of the memory in the account.

    Returns:
        A mask, (N,) bool.
    """
    codes = near(x)
    known = np.concatenate([*(_codes(account, f"{name}/{generation}") for generation in (0, 1)), codes])
    count, new = len(known) - len(codes), np.ones(len(codes), bool)
    for i, code in enumerate(codes):
        new[i] = not (np.bitwise_count(known[:count] ^ code) <= NEAR_DISTANCE).any()
        if new[i]:
            known[count] = code
            count += 1
    _store(codes[new], account, name)
    return new


def _codes(account: Account, generation: str) -> np.ndarray:
    """Return the stored codes of a generation, (n,) uint64: each is two numbers of 24 bits."""
    rows = account.rows(generation).array
    if not len(rows):
        return np.empty(0, np.uint64)
    return (rows[:, 0].astype(np.uint64) << np.uint64(24)) | rows[:, 1].astype(np.uint64)


def _store(codes: np.ndarray, account: Account, name: str) -> None:
    """Append codes; the older generation is dropped when the younger one is full."""
    if not len(codes):
        return
    halves = np.stack([codes >> np.uint64(24), codes & HALF_CODE], 1).astype(np.float32)
    total = f"{name}/codes"
    number = int(account.add_all({total: len(codes)})[total]) - len(codes)
    while len(halves):
        generation = f"{name}/{number // REMEMBERED % 2}"
        if number % REMEMBERED == 0:
            account.drop(generation)
        here, halves = np.split(halves, [REMEMBERED - number % REMEMBERED])
        account.rows(generation).append(here, most=REMEMBERED)
        number += len(here)
