"""Cost of a training in images and seconds: what the estimate of a bench and the plan of an audit rest on."""

import time
from dataclasses import replace

from torch import Tensor

from feint.models.networks import Network
from feint.models.training import Training, learn

MEASURED = 256  # images, which are trained on again and again
LEAST = 0.3  # seconds of measuring


def images_seen(training: Training, budget: int) -> int:
    """Return how many images a training on `budget` answers sees."""
    return max(training.epochs * budget, training.least_steps * min(training.batch_size, budget))


def seconds_per_image(network: Network, x: Tensor, labels: Tensor, training: Training) -> float:
    """Return the seconds of an image in a training of `network`, measured here for `LEAST` seconds or more."""
    epoch = replace(training, epochs=1, least_steps=0, holdout=0, patience=None)
    learn(network, x, labels, epoch)  # the first one also sets up
    started, images = time.perf_counter(), 0
    while time.perf_counter() - started < LEAST:
        learn(network, x, labels, epoch)
        images += len(x)
    return (time.perf_counter() - started) / images
