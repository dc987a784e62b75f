"""Rows of numbers of an account, in order of arrival."""

import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from feint.ledger.undo import undo_by

if TYPE_CHECKING:
    from torch import Tensor

NO_NUMBERS = np.empty(0, np.float32)


class Rows:
    """Append-only rows of equal length, in order of arrival and bounded in number. No row ever changes.

    Args:
        start: First rows (n, d) float32. They are never written to.
    """

    def __init__(self, start: np.ndarray | None = None) -> None:
        self._rows = np.empty((0, 0), np.float32) if start is None else start
        self._count = len(self._rows)
        self._lock = threading.Lock()

    def append(self, new: "Tensor | np.ndarray", *, most: int) -> int:
        """Append the rows `new` (m, d) up to `most` rows in all; return how many were appended."""
        new = np.asarray(new, np.float32)
        with self._lock:
            added = max(0, min(len(new), most - self._count))
            if added:
                if self._count + added > len(self._rows):  # doubled, so that adding one by one stays linear
                    capacity = min(max(2 * len(self._rows), self._count + added, 16), most)
                    grown = np.empty((capacity, new.shape[-1]), np.float32)
                    if self._count:
                        grown[: self._count] = self._rows[: self._count]
                    self._rows = grown
                self._rows[self._count : self._count + added] = new[:added]
                self._count += added
                undo_by(partial(self._remove, self._count - added, self._count))
            return added

    def _remove(self, before: int, after: int) -> None:
        with self._lock:
            self._count = before if self._count == after else self._count

    @property
    def array(self) -> np.ndarray:
        """The rows so far, (n, d) float32; (0, 0) when there is none."""
        return self._rows[: self._count]

    @property
    def tensor(self) -> "Tensor":
        """`array` as a tensor that shares its memory."""
        import torch  # imported only here: a gateway without torch has a ledger, too

        return torch.from_numpy(self.array)

    def __len__(self) -> int:
        return self._count
