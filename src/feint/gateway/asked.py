"""What came over the wire for one model: a query whose inputs are an array, so that nothing here needs torch."""

import time
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray


@dataclass(frozen=True, eq=False, slots=True)
class Asked:
    """`x` (N, …) float32 in [0, 1], N inputs, which count as N queries; the rest as in `feint.Query`.

    Access rules and detectors take either one: they read `client`, `stamp`, `time`, `pixels` and the length.
    """

    x: Array
    client: str
    stamp: str = ""
    time: float = field(default_factory=time.time)

    @property
    def pixels(self) -> Array:
        """The inputs (N, …) as an array."""
        return self.x

    def __len__(self) -> int:
        return len(self.x)
