"""What access rules and detectors see of a query, whether it came as a tensor or over the wire."""

from typing import Protocol

import numpy as np


class Asking(Protocol):
    """`feint.Query` is one, and so is the gateway's `Asked`."""

    @property
    def client(self) -> str: ...
    @property
    def stamp(self) -> str: ...
    @property
    def time(self) -> float: ...
    @property
    def pixels(self) -> np.ndarray:
        """The inputs (N, …) float32."""
        ...

    def __len__(self) -> int: ...
