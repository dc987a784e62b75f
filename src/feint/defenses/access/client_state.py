"""State of a client's evidence in one array: the codes of recent inputs, and the numbers of an e-process."""

from collections.abc import Sequence
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
        numbers = array[-1 - stored : -1]
        return cls(recent_codes(array), numbers.astype(float) if stored == size else np.zeros(size))


def recent_codes(array: np.ndarray) -> np.ndarray:
    """Return the perceptual codes in the array of a state, (n,) uint64, whatever numbers follow them."""
    return array[: -1 - int(array[-1])].view(np.uint64) if len(array) else NO_CODES


class ClientStates(NamedTuple):
    """States of several clients.

    Attributes:
        recent: Codes of the recent inputs of each.
        numbers: States of their e-processes, (n, size) float64.
    """

    recent: list[np.ndarray]
    numbers: np.ndarray

    @classmethod
    def unpacked(cls, arrays: Sequence[np.ndarray], size: int) -> "ClientStates":
        """Return the states in arrays, each of which `holds` so many numbers."""
        recent = [array[: -1 - size].view(np.uint64) for array in arrays]
        return cls(recent, np.array([array[-1 - size : -1] for array in arrays], float))

    def packed_with(self, codes: np.ndarray) -> list[np.ndarray]:
        """Return the arrays of the states, with one more code for each, (n,) uint64."""
        size = np.full((len(codes), 1), self.numbers.shape[1], np.float32)
        ends = np.concatenate([codes[:, None].view(np.float32), self.numbers.astype(np.float32), size], 1)
        recent = (known[max(0, len(known) - REMEMBERED + 1) :].view(np.float32) for known in self.recent)
        return [np.concatenate(parts) for parts in zip(recent, ends, strict=True)]


def holds(array: np.ndarray, size: int) -> bool:
    """Return whether an array is a state of so many numbers; that of a new client is empty."""
    return len(array) > size and array[-1] == size


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
