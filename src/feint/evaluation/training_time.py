"""Cost of a training in inputs and seconds, for rows, the estimate of a bench and the plan of an audit."""

import time
from dataclasses import replace

from torch import Tensor

from feint.models.networks import Network
from feint.models.training import Training, learn
from feint.progress import ProgressCallback

MEASURED = 256  # inputs that are trained on repeatedly
LEAST = 0.3  # seconds of measuring


class TrainingSpeed(ProgressCallback):
    """Progress callback that measures the speed of trainings, and passes all else on.

    Args:
        progress: The callback to which steps are passed.
    """

    def __init__(self, progress: ProgressCallback) -> None:
        self._progress, self._inputs, self._seconds = progress, 0, 0.0

    def step(self, what: str, done: int, total: int) -> None:
        self._progress.step(what, done, total)

    def trained(self, inputs: int, seconds: float) -> None:
        self._inputs, self._seconds = self._inputs + inputs, self._seconds + seconds

    @property
    def per_second(self) -> float | None:
        """Inputs a second in all trainings so far; None if there was none, or all came from a cache."""
        return self._inputs / self._seconds if self._seconds else None


def seconds_per_input(network: Network, x: Tensor, labels: Tensor, training: Training) -> float:
    """Measure the seconds of one input in a training of `network` on this machine, for `LEAST` seconds or more."""
    epoch = replace(training, epochs=1, least_steps=0, holdout=0, patience=None)
    learn(network, x, labels, epoch)  # the first training also sets up
    started, inputs = time.perf_counter(), 0
    while time.perf_counter() - started < LEAST:
        learn(network, x, labels, epoch)
        inputs += len(x)
    return (time.perf_counter() - started) / inputs
