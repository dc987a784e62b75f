"""Window distances of D-ADD (Mei et al., AAAI 2025) on CIFAR-10, with the published ResNet-20.

The reference is a fifth of the training images, the threshold the largest distance of one half of the
windows of the test images, and the other half counts false alarms. The attacker asks the test images of CIFAR-100.
"""

import functools
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.tables.attacked import Known, outputs
from benchmarks.tables.rows import Jobs, Row, published_resnet20
from feint import data
from feint.defenses.access.add import gaussians
from feint.defenses.access.windows import frechet
from feint.progress import ProgressCallback

FEATURES = "as they are", "of unit length"
WINDOWS = 16, 64, 256


@functools.cache
def known(name: str) -> Known:
    """Return what the victim returns for a set of images."""
    cifar10 = data.load("cifar10")
    sets = {"reference": cifar10.train.share(0, 5), "benign": cifar10.test, "attack": data.load("cifar100").test}
    return outputs(published_resnet20(), sets[name])


def jobs(progress: ProgressCallback) -> Jobs:
    """False alarms and detections, by window and by what features are measured."""
    for features in FEATURES:
        for window in WINDOWS:
            yield f"{features}-{window}", partial(measured, features, window)


def measured(features: str, window: int) -> Row:
    """Measure the distances of benign windows and of the attacker's."""
    benign, attack = (distances(name, features, window) for name in ("benign", "attack"))
    calibration, held = benign[::2], benign[1::2]
    threshold = calibration.max()
    return {
        "features": features, "window": window, "threshold": threshold, "benign_largest": benign.max(),
        "attack_least": attack.min(), "benign_windows": len(held), "false_alarms": float((held > threshold).mean()),
        "attack_windows": len(attack), "detected": float((attack > threshold).mean()), "seed": 0,
    }  # fmt: skip


def distances(name: str, features: str, window: int) -> np.ndarray:
    """Return the distances of disjoint windows of a set from the reference, in random order."""
    reference, sent = known("reference"), known(name)
    fitted = gaussians(scaled(reference.features, features), reference.z.argmax(-1), reference.z.shape[1])
    means, roots = (fitted[part].numpy() for part in ("means", "roots"))
    order = torch.randperm(len(sent.z), generator=torch.Generator().manual_seed(0))
    rows = order[: len(order) // window * window].view(-1, window)
    x, predicted = scaled(sent.features, features).numpy(), sent.z.argmax(-1).numpy()
    return np.array([frechet(x[part], predicted[part], means, roots) for part in rows.numpy()])


def scaled(x: Tensor, features: str) -> Tensor:
    """Return features (N, d) float64 as they are, or of unit length."""
    x = x.double()
    return x / x.norm(dim=1, keepdim=True) if features == "of unit length" else x
