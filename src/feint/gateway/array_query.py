"""Queries with NumPy inputs, so that a gateway needs no torch."""

import time
from dataclasses import dataclass, field

import numpy as np

from feint.signature import near

Array = np.ndarray


@dataclass(eq=False, slots=True)
class ArrayQuery:
    """Query with the inputs `x` (N, …) of one domain, which count as N queries; the rest as in `feint.Query`.

    Access rules and detectors take either: they read `client`, `stamp`, `time`, `values` and the length.

    Attributes:
        group: Name of the group to which the client belongs, "" for none.
    """

    x: Array
    client: str
    stamp: str = ""
    time: float = field(default_factory=time.time)
    group: str = ""
    _near: Array | None = field(default=None, init=False, repr=False)

    @property
    def near(self) -> Array:
        """Perceptual codes (N,) of the inputs, computed once: for all requests of a run, or here."""
        if self._near is None:
            self._near = near(self.x)
        return self._near

    @near.setter
    def near(self, codes: Array) -> None:
        self._near = codes

    @property
    def values(self) -> Array:
        """The inputs (N, …) as an array."""
        return self.x

    def __len__(self) -> int:
        """The number of inputs."""
        return len(self.x)
