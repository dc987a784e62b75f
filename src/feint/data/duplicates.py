"""Inputs that occur more than once: within a split, and in two splits."""

from collections.abc import Sequence

import numpy as np

from feint.data.dataset import Split
from feint.data.remarks import Remark

CHUNK = 4096  # inputs whose marks are computed at once


def without_repeats(split: Split) -> tuple[Split, tuple[Remark, ...]]:
    """Return the split without inputs that occur earlier in it, and remarks on those.

    Inputs are compared as a service compares queries: by `Domain.mark`. A repeated input would count several times in
    every metric, and could be on both sides of a division.

    Args:
        split: Labelled inputs. Where one input has several labels, its first one counts.

    Returns:
        The split itself where no input repeats, or else a split in memory.
    """
    first: dict[bytes, int] = {}
    conflicts: set[bytes] = set()
    labels, rows = split.arrays[1], []
    for row, mark in enumerate(marks(split)):
        if mark not in first:
            first[mark] = row
            rows.append(row)
        elif labels[row] != labels[first[mark]]:
            conflicts.add(mark)
    if len(rows) == len(split):
        return split, ()
    count = f"{len(split) - len(rows):,}"
    remarks = [Remark("duplicates", {"count": count, "n": f"{len(split):,}", "name": split.name})]
    if conflicts:
        remarks.append(Remark("labels conflict", {"count": f"{len(conflicts):,}", "name": split.name}))
    return split.take(np.array(rows), part=f"{split.part}, distinct"), tuple(remarks)


def without_shared(split: Split, other: Split) -> tuple[Split, tuple[Remark, ...]]:
    """Return the split without inputs that are in another one too, and a remark on those.

    Args:
        split: Inputs, like an attacker's pool.
        other: Inputs of the same domain, like samples.

    Returns:
        The split itself where they share none, or else a split in memory, which may be empty.
    """
    taken = set(marks(other))
    rows = np.array([row for row, mark in enumerate(marks(split)) if mark not in taken], np.int64)
    if len(rows) == len(split):
        return split, ()
    count, n = f"{len(split) - len(rows):,}", f"{len(split):,}"
    remark = Remark("shared", {"count": count, "n": n, "name": split.name, "other": other.name})
    return split.take(rows, part=f"{split.part}, apart"), (remark,)


def marks(split: Split) -> Sequence[bytes]:
    """Return the marks of all inputs of a split."""
    starts = range(0, len(split), CHUNK)
    chunks = (split.domain.decode(np.asarray(split.values[start : start + CHUNK])) for start in starts)
    return [mark for chunk in chunks for mark in split.domain.mark(chunk)]
