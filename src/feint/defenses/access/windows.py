"""E-processes over windows of a client's queries, without torch: each window has one statistic, and is bet on once."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from feint.defenses.access.e_process import EProcess
from feint.defenses.access.martingale import Martingale


@dataclass(frozen=True, eq=False)
class Windows(EProcess):
    """Bets on the rank of each window's distance from benign inputs, among those of benign windows.

    Windows are disjoint, and what a window holds is forgotten when it ends. The state is the number of queries in the
    window at hand, that of the bets, and the memory of the window at hand.

    Attributes:
        window: Queries in a window.
        bets: Bets on distances, negated, so that a low one is suspicious. Its level is the level of this process.
    """

    window: int
    bets: Martingale

    @property
    def alpha(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.bets.alpha

    @property
    @abstractmethod
    def memory(self) -> int:
        """Number of numbers that a window is remembered by."""

    @abstractmethod
    def remember(self, memory: np.ndarray, count: int, statistics: np.ndarray) -> np.ndarray:
        """Return the memory (…,) after further queries with `statistics` (m, d); `count` are in it."""

    @abstractmethod
    def distance(self, memory: np.ndarray) -> float:
        """Return the distance of a full window from benign inputs."""

    @property
    def size(self) -> int:
        return 1 + self.bets.size + self.memory

    @property
    def stakes(self) -> np.ndarray:
        return self.bets.weights

    def grow(self, readings: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        queries, end = int(state[0]), 1 + self.bets.size
        bets, memory = state[1:end], state[end:]
        worth, start = np.empty((len(readings), end - 2)), 0
        worth[:] = bets[1:]  # zeros before the first window: a bet is worth its stake
        while start < len(readings):
            count = (queries + start) % self.window
            stop = min(len(readings), start + self.window - count)
            memory = self.remember(memory, count, readings[start:stop])
            if count + stop - start == self.window:
                distance = self.bets.read(np.array([-self.distance(memory)]))
                grown, bets = self.bets.grow(distance, bets)
                worth[stop - 1 :], memory = grown, np.zeros_like(memory)
            start = stop
        after = np.empty_like(state)
        after[0], after[1:end], after[end:] = (queries + len(readings)) % self.window, bets, memory
        return worth, after

    def arrays(self) -> dict[str, np.ndarray]:
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self) if field.name != "bets"}
        return arrays | {f"bets/{name}": array for name, array in self.bets.arrays().items()}


@dataclass(frozen=True, eq=False)
class WindowMeans(Windows):
    """Windows whose distance is that of their mean from the mean of benign inputs.

    Attributes:
        reference: Mean statistics of benign inputs, (d,).
    """

    reference: np.ndarray

    @property
    def memory(self) -> int:
        return len(self.reference)

    def remember(self, memory: np.ndarray, count: int, statistics: np.ndarray) -> np.ndarray:
        return memory + np.add.reduce(statistics - self.reference, 0, np.float64)

    def distance(self, memory: np.ndarray) -> float:
        return float(np.square(memory / self.window).sum())


@dataclass(frozen=True, eq=False)
class WindowFrechet(Windows):
    """Windows whose distance is the class-conditional Fréchet distance from benign inputs.

    A query's statistics are its features and, as the last one, the number of its predicted class.

    Attributes:
        means: Mean features of benign inputs of each class, (K, d).
        roots: Roots of their covariances, (K, d, d).
    """

    means: np.ndarray
    roots: np.ndarray

    @property
    def memory(self) -> int:
        return self.window * (self.means.shape[1] + 1)

    def remember(self, memory: np.ndarray, count: int, statistics: np.ndarray) -> np.ndarray:
        rows = memory.reshape(self.window, -1).copy()
        rows[count : count + len(statistics)] = statistics
        return rows.ravel()

    def distance(self, memory: np.ndarray) -> float:
        rows = memory.reshape(self.window, -1)
        return frechet(rows[:, :-1], rows[:, -1].astype(int), self.means, self.roots)


def frechet(rows: np.ndarray, predicted: np.ndarray, means: np.ndarray, roots: np.ndarray) -> float:
    """Return the mean over a window's rows of the Fréchet distance of their class.

    For class k with n_k rows, of mean μ̂_k and covariance Σ̂_k (a division by n_k)::

        Σ_k n_k (‖μ_k − μ̂_k‖² + Tr(Σ_k + Σ̂_k − 2 (Σ_k Σ̂_k)^½)) / Σ_k n_k

    Args:
        rows: Features of a window, (w, d).
        predicted: Their predicted classes, (w,).
        means: Means μ_k of benign features, (K, d).
        roots: Roots Σ_k^½, (K, d, d).

    Returns:
        The distance.
    """
    total = 0.0
    for label in np.unique(predicted):
        part = rows[predicted == label]
        apart = part - means[label]
        spread = (part - part.mean(0)) @ roots[label]  # its singular values: those of (Σ_k Σ̂_k)^½, times √n
        nuclear = np.linalg.svd(spread, compute_uv=False).sum() * len(part) ** 0.5 if len(part) > 1 else 0.0
        total += np.square(apart).sum() + len(part) * np.square(roots[label]).sum() - 2 * nuclear
    return total / len(rows)


def windows_of(arrays: Mapping[str, np.ndarray]) -> Windows:
    """Return the process over windows that has these `arrays`."""
    bets = {name.removeprefix("bets/"): array for name, array in arrays.items() if name.startswith("bets/")}
    window, ranked = int(arrays["window"]), Martingale.of(bets)
    if "roots" in arrays:
        return WindowFrechet(window, ranked, arrays["means"], arrays["roots"])
    return WindowMeans(window, ranked, arrays["reference"])
