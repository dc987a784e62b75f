"""What an audit is made on: samples to fit on, samples to judge on, and what a thief would ask about."""

from dataclasses import dataclass

import numpy as np

from feint import data
from feint.audit.notes import Note
from feint.data import Split
from feint.data.files import Shape, is_file, pool_at, samples_at
from feint.errors import BadInput, FeintError

LEAST = 100  # samples, so that 50 judge: an interval of ± 14 points at worst
SHARED = 0.02  # of a pool; published sets have so many duplicates, and more is a mistake


@dataclass(frozen=True)
class Samples:
    """`fit` is for defenses that learn, `judge` for what is measured, and `pool` for the thief; `notes` say how they
    came to be. No image is in two of them."""

    fit: Split
    judge: Split
    pool: Split
    notes: tuple[Note, ...]


def gather(place: str, pool: str | None, shape: Shape) -> Samples:
    """The samples at `place` in halves, and the pool, for a model that takes `shape`. Raises `BadInput` for too few
    samples, another shape, or a pool that is the samples; and as the readers do."""
    found = samples_at(place, shape)
    _check(f"--data {place}", found, shape)
    rows = np.random.default_rng(0).permutation(len(found))
    notes: list[Note] = []
    if pool is not None:
        thieves = pool_at(pool, shape)
        notes.append(Note("pool given", {"pool": pool}))
    elif (own := _own_pool(place, found.shape)) is not None:
        thieves = own
        notes.append(Note("pool of its own", {"pool": f"{own.name}/{own.part}"}))
    else:
        cut = len(rows) // 3
        thieves, rows = _rows(found, rows[:cut], "pool"), rows[cut:]
        notes.append(Note("pool of samples", {"count": f"{cut:,}"}))
    if len(rows) < LEAST:
        raise BadInput(f"{len(rows)} samples", f"{LEAST} or more, half to fit on and half to judge on", "bring more")
    half = len(rows) // 2
    fit, judge = _rows(found, rows[:half], "to fit on"), _rows(found, rows[half:], "to judge on")
    _check(f"--pool {pool}", thieves, found.shape)
    thieves, shared = _apart(thieves, found.images[rows])
    if shared:
        notes.append(Note("samples left out", {"count": f"{shared:,}"}))
    notes.append(Note("halves", {"fit": f"{len(fit):,}", "judge": f"{len(judge):,}"}))
    return Samples(fit, judge, thieves, tuple(notes))


def _own_pool(place: str, shape: tuple[int, int, int]) -> Split | None:
    """The pool of the data set `place`, where it is one and its pool is here and of the same shape."""
    if is_file(place):
        return None
    try:
        pool = data.load(place).pool
    except (FeintError, OSError):
        return None
    return pool if pool.shape == shape else None


def _rows(split: Split, rows: np.ndarray, part: str) -> Split:
    rows = np.sort(rows)
    return Split.of(split.images[rows], split.arrays[1][rows], name=split.name, part=f"{split.part}, {part}")


def _check(name: str, split: Split, shape: Shape) -> None:
    if shape is not None and split.shape != tuple(shape):
        raise BadInput(f"{name}, images {split.shape}", f"{tuple(shape)}, what the model takes", "resize them")


def _apart(pool: Split, samples: np.ndarray) -> tuple[Split, int]:
    """The pool without the images that are among the samples, and how many those were. Raises `BadInput` for many."""
    held = {it.tobytes() for it in np.ascontiguousarray(samples)}
    shared = np.array([it.tobytes() in held for it in np.ascontiguousarray(pool.images)])
    count = int(shared.sum())
    if count > SHARED * len(pool):
        raise BadInput(
            f"a pool of {len(pool):,} images, of which {count:,} are samples", "images that no sample is among",
            "give the thief a pool of his own: what he trains on must not judge him",
        )  # fmt: skip
    return (pool, 0) if not count else (_rows(pool, np.flatnonzero(~shared), "apart"), count)
