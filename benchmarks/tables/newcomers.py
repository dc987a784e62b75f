"""Newcomers of a service on CIFAR-10 and the victim's scores of what they ask, which are kept for the next run.

Each honest newcomer has a mix of classes of their own (Dirichlet, 0.5), and every second one a camera of their own.
"""

import functools
from pathlib import Path

import numpy as np
import torch

from benchmarks.tables.attacked import Known, outputs
from benchmarks.tables.rows import published_resnet20, slug
from feint import data
from feint.data import Split
from feint.defense import bind
from feint.defenses.access import Campaign, slices
from feint.export.tracing import FixedLogits
from feint.ledger import Ledger
from feint.recipes.store import atomic_write

CAMERAS = (
    "jpeg:95", "jpeg:90", "jpeg:75", "scale:0.875", "scale:0.75", "noise:0.02", "brightness:0.7", "brightness:1.3",
    "shift:2", "grey",
)  # fmt: skip
QUARTERS = 4  # of the test images: newcomers of each population have those of one


class Population:
    """Honest newcomers who draw from some images.

    Args:
        images: The images.
        cameras: Share of newcomers with a camera of their own.
    """

    def __init__(self, images: Split, cameras: float = 0.5) -> None:
        self.cameras = cameras
        changed = [part for name in CAMERAS for _, part in slices.slices(name, images)]
        self.splits = [images, *changed]
        self._of_class = [np.flatnonzero(images.labels.numpy() == label) for label in range(10)]

    def draw(self, rng: np.random.Generator, n: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the camera (n, 1) of each newcomer and the images (n, queries) that they ask about."""
        mixes = rng.dirichlet(np.full(10, 0.5), n)
        classes = (rng.random((n, queries, 1)) > mixes.cumsum(1)[:, None, :-1]).sum(-1)
        rows = np.empty((n, queries), int)
        for label, members in enumerate(self._of_class):
            at = classes == label
            rows[at] = members[rng.integers(len(members), size=int(at.sum()))]
        own = rng.random((n, 1)) < self.cameras
        return np.where(own, rng.integers(1, len(self.splits), size=(n, 1)), 0), rows

    def scores(self, campaign: Campaign) -> np.ndarray:
        """Return the scores of a campaign, (cameras, images)."""
        return np.stack([scored(campaign, split) for split in self.splits])


@functools.cache
def population(quarter: int) -> Population:
    """Return honest newcomers who draw from a quarter of the test images."""
    return Population(data.load("cifar10").test.share(quarter, QUARTERS))


def scored(campaign: Campaign, split: Split) -> np.ndarray:
    """Return the campaign's scores of all inputs of a split."""
    known = returned(split)
    score = bind(campaign.test.ranked_score, FixedLogits(known.z, known.features), Ledger())
    return score(known.z, known.z).numpy()


def returned(split: Split) -> Known:
    """Return the victim's logits and features of all inputs of a split, which are kept for the next run."""
    place = Path("feint-bench") / "tables" / "campaign" / f"{slug(split.name + split.part).replace('/', '-')}.npz"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        known = outputs(published_resnet20(), split)
        with atomic_write(place) as partial_file, partial_file.open("wb") as file:
            np.savez(file, z=known.z.numpy(), features=known.features.numpy())
    with np.load(place) as stored:
        return Known(*(torch.from_numpy(stored[name]) for name in Known._fields))
