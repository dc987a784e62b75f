"""Mean of e-processes, and e-processes made of arrays, as a file stores them; without torch."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from feint.defenses.access.e_process import EProcess
from feint.defenses.access.martingale import Martingale
from feint.defenses.access.windows import windows_of


@dataclass(frozen=True, eq=False)
class Mixture(EProcess):
    """Weighted mean of e-processes, which is an e-process.

    Attributes:
        members: The e-processes.
        columns: Number of columns of the statistics that each member reads.
        weights: Weight of each member, with sum 1.
        alpha: Level at which the evidence is 1; the members' own levels are not used.
    """

    members: tuple[EProcess, ...]
    columns: tuple[int, ...]
    weights: np.ndarray
    alpha: float

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)

    def read(self, statistics: np.ndarray) -> np.ndarray:
        """Return the readings of the members side by side, in the columns of their statistics."""
        readings = np.empty(statistics.shape)
        for member, part, _ in self._parts:
            readings[:, part] = member.read(statistics[:, part])
        return readings

    @functools.cached_property
    def stakes(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Stakes of all members' bets, each times the weight of its member."""
        return np.concatenate([w * member.stakes for w, member in zip(self.weights, self.members, strict=True)])

    def grow(self, readings: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        worth, after = [], np.empty_like(state)
        for member, part, numbers in self._parts:
            grown, after[numbers] = member.grow(readings[:, part], state[numbers])
            worth.append(grown)
        return np.concatenate(worth, 1), after

    def grow_each(self, readings: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        worth, after = [], np.empty_like(states)
        for member, part, numbers in self._parts:
            grown, after[:, numbers] = member.grow_each(readings[:, part], states[:, numbers])
            worth.append(grown)
        return np.concatenate(worth, 1), after

    @property
    def sums(self) -> tuple[str, ...]:
        """Those of the first member that has any, so that no query counts twice."""
        return self._drifting[0].sums

    def drift(self, readings: np.ndarray) -> np.ndarray:
        member, part = self._drifting
        return member.drift(readings[:, part])

    @functools.cached_property
    def _drifting(self) -> tuple[EProcess, int | slice]:
        """The first member that has sums, or else the first, with its columns."""
        return next(((member, part) for member, part, _ in self._parts if member.sums), self._parts[0][:2])

    @functools.cached_property
    def _parts(self) -> list[tuple[EProcess, int | slice, slice]]:
        """The members, the columns of each, and its numbers in the state: a column alone is (m,)."""
        parts, column, number = [], 0, 0
        for member, count in zip(self.members, self.columns, strict=True):
            columns = column if count == 1 else slice(column, column + count)
            parts.append((member, columns, slice(number, number + member.size)))
            column, number = column + count, number + member.size
        return parts

    def arrays(self) -> dict[str, np.ndarray]:
        members = {
            f"member_{i}/{name}": array
            for i, member in enumerate(self.members)
            for name, array in member.arrays().items()
        }
        return members | {name: np.asarray(getattr(self, name)) for name in ("columns", "weights", "alpha")}


def process_of(arrays: Mapping[str, np.ndarray]) -> EProcess:
    """Return the e-process that has these `arrays`; a missing one is a `KeyError`."""
    if "window" in arrays:
        return windows_of(arrays)
    if "columns" not in arrays:
        return Martingale.of(arrays)
    members = [
        process_of({name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)})
        for prefix in (f"member_{i}/" for i in range(len(arrays["columns"])))
    ]
    return Mixture(tuple(members), tuple(arrays["columns"].tolist()), arrays["weights"], arrays["alpha"].item())
