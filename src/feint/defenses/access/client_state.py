"""State of a client's evidence in one array: the codes of recent inputs, and the numbers of an e-process."""

from typing import NamedTuple

import numpy as np

from feint.defenses.access.near_copies import NO_CODES, REMEMBERED
from feint.ledger import Account

NAME = "test/state"  # array of an account
FORMER = "test/queries"  # total of accounts until 0.2, which had a total for each number


class ClientState(NamedTuple):
    """State of a client's evidence.

    Attributes:
        recent: Perceptual codes of the client's recent inputs, (n,) uint64.
        numbers: State of an e-process, (size,) float64.
    """

    recent: np.ndarray
    numbers: np.ndarray

    def packed(self) -> np.ndarray:
        """Return the state as float32: the codes bit by bit, the numbers, and how many these are.

        Of log E the seventh digit changes. A number of queries is exact up to 2^24, when stakes are 2^-48.
        """
        codes, size = 2 * len(self.recent), len(self.numbers)
        array = np.empty(codes + size + 1, np.float32)
        array[:codes], array[codes:-1], array[-1] = self.recent.view(np.float32), self.numbers, size
        return array

    @classmethod
    def unpacked(cls, array: np.ndarray, size: int) -> "ClientState":
        """Return the state in an array; its numbers are zeros where they are not `size`, as for a new client."""
        if not len(array):
            return cls(NO_CODES, np.zeros(size))
        stored = int(array[-1])
        codes, numbers = array[: -1 - stored], array[-1 - stored : -1]
        return cls(codes.view(np.uint64), numbers.astype(float) if stored == size else np.zeros(size))


def adopt(account: Account, size: int) -> None:
    """Replace the totals and rows of a client of a ledger until 0.2, if there are any, by the array."""
    if not account.total(FORMER):
        return
    numbers = account.take([FORMER, *(f"test/{i}" for i in range(size - 1))])
    stored = [account.rows(f"near/{generation}").array.view(np.uint64).ravel() for generation in (0, 1)]
    state = ClientState(np.concatenate(stored)[-REMEMBERED:], numbers)
    account.take(["near/codes"])
    account.drop("near/")
    account.change((), NAME, lambda totals, _: (totals, state.packed()))
