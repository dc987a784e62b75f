"""Newcomers of a service about each victim, and its scores of what they ask, which are kept for the next run.

Each honest newcomer has a mix of classes of their own (Dirichlet, 0.5), and every second one a camera of their own, or
a form of their own where inputs are rows.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from benchmarks.tables.attacked import VICTIMS, Known, outputs
from benchmarks.tables.honest import CAMERAS, FORMS
from benchmarks.tables.rows import prefix_of, slug
from feint.data import Split
from feint.defense import bind
from feint.defenses.access import Campaign, slices
from feint.export.tracing import FixedLogits
from feint.ledger import Ledger
from feint.recipes.store import atomic_write

CHANGES: Mapping[str, tuple[str, ...]] = {
    "CIFAR-10": (*CAMERAS, "scale:0.75", "grey"),
    "Fashion-MNIST": (*CAMERAS, "scale:0.75"),
    "Adult": FORMS,
}
QUARTERS = 4  # of the test inputs: newcomers of each population have those of one


class Population:
    """Honest newcomers who draw from some inputs.

    Args:
        inputs: The inputs.
        changes: Changes of inputs, of which a newcomer may have one.
        share: Share of newcomers who have one.
    """

    def __init__(self, inputs: Split, changes: tuple[str, ...], share: float = 0.5) -> None:
        self.share = share
        changed = [part for name in changes for _, part in slices.slices(name, inputs)]
        self.splits = [inputs, *changed]
        labels = inputs.labels.numpy()
        self._of_class = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]

    def draw(self, rng: np.random.Generator, n: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the change (n, 1) that each newcomer has and the inputs (n, queries) that they ask about."""
        mixes = rng.dirichlet(np.full(len(self._of_class), 0.5), n)
        classes = (rng.random((n, queries, 1)) > mixes.cumsum(1)[:, None, :-1]).sum(-1)
        rows = np.empty((n, queries), int)
        for label, members in enumerate(self._of_class):
            at = classes == label
            rows[at] = members[rng.integers(len(members), size=int(at.sum()))]
        own = rng.random((n, 1)) < self.share
        return np.where(own, rng.integers(1, len(self.splits), size=(n, 1)), 0), rows


@functools.cache
def population(victim: str, quarter: int) -> Population:
    """Return honest newcomers who draw from a quarter of the test inputs."""
    return Population(VICTIMS[victim].parts.setting.images.test.share(quarter, QUARTERS), CHANGES[victim])


def scored(victim: str, campaign: Campaign, split: Split) -> np.ndarray:
    """Return the campaign's scores of all inputs of a split."""
    known = returned(victim, split)
    score = bind(campaign.test.ranked_score, FixedLogits(known.z, known.features), Ledger())
    return score(split.inputs(), known.z).numpy()


def returned(victim: str, split: Split) -> Known:
    """Return the victim's logits and features of all inputs of a split, which are kept for the next run."""
    name = slug(prefix_of(victim) + split.name + split.part + split.fingerprint).replace("/", "-")
    place = Path("feint-bench") / "tables" / "campaign" / f"{name}.npz"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        attacked = VICTIMS[victim]
        known = outputs(attacked.parts.setting.victim, split, attacked.reads)
        with atomic_write(place) as partial_file, partial_file.open("wb") as file:
            np.savez(file, z=known.z.numpy(), features=known.features.numpy())
    with np.load(place) as stored:
        return Known(*(torch.from_numpy(stored[name]) for name in Known._fields))
