"""Samples of an audit: to fit defenses on, to judge models on, and the attacker's pool."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feint import data
from feint.data import Split
from feint.data.files import is_file, pool_at, samples_at
from feint.errors import BadInput, FeintError
from feint.signature import Domain

MIN_SAMPLES = 100  # so that 50 judge: an interval of ± 14 points at worst
MAX_SHARED = 0.02  # of a pool; published sets have so many duplicates, and more is a mistake


class Note(NamedTuple):
    """Remark on samples or a plan, not yet in a language.

    Attributes:
        phrase: Name of the phrase in texts.toml.
        values: Values that fill the phrase.
    """

    phrase: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Samples:
    """Disjoint sets of images for one audit.

    Attributes:
        fit: Labelled samples to which defenses are fitted.
        judge: Labelled samples on which victims and copies are judged.
        pool: Images about which attackers ask.
        notes: Remarks on where the three come from.
    """

    fit: Split
    judge: Split
    pool: Split
    notes: tuple[Note, ...]


def load_samples(place: str, pool: str | None, domain: Domain | None) -> Samples:
    """Load the samples, halve them, and load the attacker's pool.

    Args:
        place: Data set, directory or file of the labelled samples.
        pool: The same of the pool; None for the data set's own pool, or else a third of the samples.
        domain: Domain of the model's inputs, None where it is unknown.

    Returns:
        The samples. Images of the pool that are samples too are left out.

    Raises:
        BadInput: For fewer than 100 samples, another shape, or a pool of which more than 2 % are samples.
    """
    shape = None if domain is None else domain.shape
    labelled = samples_at(place, domain).split
    _check_shape(f"--data {place}", labelled, shape)
    rows = np.random.default_rng(0).permutation(len(labelled))
    notes: list[Note] = []
    if pool is not None:
        queries = pool_at(pool, labelled.domain).split
        notes.append(Note("pool given", {"pool": pool}))
    elif (default := _default_pool(place, labelled.shape)) is not None:
        queries = default
        notes.append(Note("pool of its own", {"pool": f"{default.name}/{default.part}"}))
    else:
        cut = len(rows) // 3
        queries, rows = _select(labelled, rows[:cut], "pool"), rows[cut:]
        notes.append(Note("pool of samples", {"count": f"{cut:,}"}))
    if len(rows) < MIN_SAMPLES:
        half_each = f"{MIN_SAMPLES} or more, half to fit on and half to judge on"
        raise BadInput(f"{len(rows)} samples", half_each, "provide more")
    half = len(rows) // 2
    fit, judge = _select(labelled, rows[:half], "to fit on"), _select(labelled, rows[half:], "to judge on")
    _check_shape(f"--pool {pool}", queries, labelled.shape)
    queries, shared = _without_shared(queries, labelled.values[rows])
    if shared:
        notes.append(Note("samples left out", {"count": f"{shared:,}"}))
    notes.append(Note("halves", {"fit": f"{len(fit):,}", "judge": f"{len(judge):,}"}))
    return Samples(fit, judge, queries, tuple(notes))


def _default_pool(place: str, shape: tuple[int, ...]) -> Split | None:
    """Return the pool of the data set `place`, None for a file, a missing pool or another shape."""
    if is_file(place):
        return None
    try:
        pool = data.load(place).pool
    except (FeintError, OSError):
        return None
    return pool if pool.shape == shape else None


def _select(split: Split, rows: np.ndarray, part: str) -> Split:
    rows = np.sort(rows)
    return split.take(rows, part=f"{split.part}, {part}")


def _check_shape(name: str, split: Split, shape: tuple[int, ...] | None) -> None:
    if shape is not None and split.shape != tuple(shape):
        raise BadInput(f"{name}, images {split.shape}", f"{tuple(shape)}, what the model takes", "resize them")


def _without_shared(pool: Split, samples: np.ndarray) -> tuple[Split, int]:
    """Return the pool without the images that are samples too, and the number of those.

    Raises:
        BadInput: If more than 2 % of the pool are samples.
    """
    sample_bytes = {image.tobytes() for image in np.ascontiguousarray(samples)}
    shared = np.array([image.tobytes() in sample_bytes for image in np.ascontiguousarray(pool.values)])
    count = int(shared.sum())
    if count > MAX_SHARED * len(pool):
        raise BadInput(
            f"a pool of {len(pool):,} images, of which {count:,} are samples", "images that no sample is among",
            "give the attacker a separate pool: samples that train a copy cannot judge it",
        )  # fmt: skip
    return (pool, 0) if not count else (_select(pool, np.flatnonzero(~shared), "apart"), count)
