"""Mean of e-processes, and e-processes made of arrays, as a file stores them; without torch."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from feint.defenses.access.e_process import EProcess, mixed
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
        return np.column_stack(
            [member.read(statistics[:, part]) for member, part in zip(self.members, self._parts, strict=True)]
        )

    def bet(self, readings: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, after, end = np.empty((len(readings), len(self.members))), np.empty_like(state), 0
        for i, (member, part) in enumerate(zip(self.members, self._parts, strict=True)):
            start, end = end, end + member.size
            values[:, i], after[start:end] = member.bet(readings[:, part], state[start:end])
        return mixed(values, self.weights), after

    def bet_each(self, readings: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, after, end = np.empty((len(readings), len(self.members))), np.empty_like(states), 0
        for i, (member, part) in enumerate(zip(self.members, self._parts, strict=True)):
            start, end = end, end + member.size
            values[:, i], after[:, start:end] = member.bet_each(readings[:, part], states[:, start:end])
        return mixed(values, self.weights), after

    @property
    def sums(self) -> tuple[str, ...]:
        """Those of the first member that has any, so that no query counts twice."""
        return next((sums for member in self.members if (sums := member.sums)), ())

    def drift(self, readings: np.ndarray) -> np.ndarray:
        members = zip(self.members, self._parts, strict=True)
        return next(
            (member.drift(readings[:, part]) for member, part in members if member.sums), super().drift(readings)
        )

    @functools.cached_property
    def _parts(self) -> list[int | slice]:
        """Columns of each member: a number for one column, so that a member's statistics are (m,) then."""
        ends = np.cumsum(self.columns).tolist()
        return [end - 1 if n == 1 else slice(end - n, end) for n, end in zip(self.columns, ends, strict=True)]

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
