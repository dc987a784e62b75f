"""Samples of an audit: to fit defenses on, to judge models on, and the attacker's pool."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from feint.data import Split
from feint.data.duplicates import without_repeats, without_shared
from feint.data.files import Classes, is_file, outliers_at, pool_at, samples_at
from feint.data.made_up import MADE_UP, made_up
from feint.data.remarks import Remark
from feint.errors import BadInput, FeintError
from feint.signature import Columns, Domain

MIN_SAMPLES = 100  # so that 50 judge: an interval of ± 14 points at worst
MIN_POOL = 50  # samples that a third of them makes a pool of: fewer teach an attacker nothing


class Outliers(NamedTuple):
    """Inputs of another task, from which a test learns what is out of place.

    Attributes:
        place: Where they are, as `feint fit --outliers` takes it.
        inputs: The inputs, none of which is in the attacker's pool.
    """

    place: str
    inputs: Split


@dataclass(frozen=True)
class Samples:
    """Disjoint sets of inputs for one audit.

    Attributes:
        fit: Labelled samples to which defenses are fitted.
        judge: Labelled samples on which victims and copies are judged.
        pool: Inputs about which attackers ask.
        classes: Names of the classes, empty where the data have none.
        notes: Remarks on where the three come from. A value called `noun` is the domain's word for inputs.
        drawn: Rows drawn from the statistics of each column, for an attacker who has none of the task, where the pool
            of a table is rows of the task; None elsewhere.
        outliers: Inputs of another task that the owner has; None where none are named.
    """

    fit: Split
    judge: Split
    pool: Split
    classes: tuple[str, ...]
    notes: tuple[Remark, ...]
    drawn: Split | None = None
    outliers: Outliers | None = None

    @property
    def outside(self) -> Split:
        """Inputs of an attacker who has none of the task, as far as there are any: drawn rows, or else the pool."""
        return self.pool if self.drawn is None else self.drawn

    @property
    def labelled(self) -> Split:
        """All labelled samples: those to fit on and those to judge on."""
        both = [split.arrays for split in (self.fit, self.judge)]
        values, labels = (np.concatenate(parts) for parts in zip(*both, strict=True))
        return Split.of(values, labels, domain=self.fit.domain, name=self.fit.name, part="labelled")


def load_samples(
    place: str,
    pool: str | None,
    domain: Domain | None,
    *,
    classes: Classes = None,
    label: str | None = None,
    outliers: str | None = None,
) -> Samples:
    """Load the samples, halve them, and load the attacker's pool.

    Args:
        place: Data set, directory or file of the labelled samples.
        pool: The same of the pool, or "marginals" or "uniform" for inputs that are made up; None for the data set's own
            pool, or else a third of the samples.
        domain: Domain of the model's inputs, None where it is unknown.
        classes: Names of the model's classes, or their number; None takes the labels as they are.
        label: Column of the label; None for the first of the usual names.
        outliers: Place of inputs of another task, as in `outliers_at`; None for none.

    Returns:
        The samples. Repeated ones, inputs of the pool that are samples too, and outliers that are in the pool are left
        out.

    Raises:
        BadInput: For fewer than 100 samples, inputs of another kind, or a pool or outliers of which nothing is left.
    """
    reading = samples_at(place, domain, classes=classes, label=label)
    labelled, repeats = without_repeats(reading.split)
    rows = np.random.default_rng(0).permutation(len(labelled))
    queries, spared, notes = _pool(place, pool, labelled, rows, label)
    rows = rows[spared:]
    if len(rows) < MIN_SAMPLES:
        got = f"{len(rows):,} different samples" + (f" of {len(reading.split):,}" if repeats else "")
        raise BadInput(got, f"{MIN_SAMPLES} or more, half to fit on and half to judge on", "provide more")
    half = len(rows) // 2
    fit, judge = _select(labelled, rows[:half], "to fit on"), _select(labelled, rows[half:], "to judge on")
    queries, shared = without_shared(queries, _select(labelled, rows, "samples"))
    if not len(queries):
        raise BadInput(
            f"a pool whose {labelled.domain.noun} are all samples", "inputs that no sample is among",
            "give the attacker a separate pool: samples that train a copy cannot judge it",
        )  # fmt: skip
    halves = Remark("halves", {"fit": f"{len(fit):,}", "judge": f"{len(judge):,}", "noun": labelled.domain.noun})
    others, taught = (None, ()) if outliers is None else _outliers(outliers, labelled, queries)
    remarks: list[Remark] = []
    for remark in (*reading.remarks, *repeats, *notes, *shared, halves, *taught):
        remarks += [remark] if remark not in remarks else []
    own_rows = pool is None and isinstance(labelled.domain, Columns) and queries.name not in MADE_UP
    drawn = made_up(labelled, "marginals") if own_rows else None
    return Samples(fit, judge, queries, reading.classes, tuple(remarks), drawn, others)


def _pool(
    place: str, pool: str | None, labelled: Split, rows: np.ndarray, label: str | None
) -> tuple[Split, int, list[Remark]]:
    """Return the pool, the number of `rows` that it takes of the samples, and remarks."""
    noun, domain = {"noun": labelled.domain.noun}, labelled.domain
    if pool in MADE_UP:
        return made_up(labelled, pool), 0, [Remark(f"pool {pool}", noun)]
    if pool is not None:
        reading = pool_at(pool, domain, label=label)
        queries, repeats = without_repeats(reading.split)
        source = f"{reading.split.name}/{reading.split.part}"  # the pool of a data set may be another set
        named = pool if is_file(pool) or source == pool else f"{pool} ({source})"
        return queries, 0, [*reading.remarks, *repeats, Remark("pool given", {"pool": named, **noun})]
    if (default := _default_pool(place, domain)) is not None:
        queries, repeats = without_repeats(default)
        return queries, 0, [*repeats, Remark("pool of its own", {"pool": f"{default.name}/{default.part}", **noun})]
    cut = len(rows) // 3
    if cut >= MIN_POOL and len(rows) - cut >= MIN_SAMPLES:
        return _select(labelled, rows[:cut], "pool"), cut, [Remark("pool of samples", {"count": f"{cut:,}", **noun})]
    kind = "marginals" if isinstance(domain, Columns) else "uniform"
    return made_up(labelled, kind), 0, [Remark(f"pool {kind} for few", {"count": f"{len(rows):,}", **noun})]


def _outliers(place: str, labelled: Split, pool: Split) -> tuple[Outliers, tuple[Remark, ...]]:
    """Return the owner's outliers without those in the pool, of which a test may know nothing, and remarks."""
    reading = outliers_at(place, labelled)
    inputs, shared = without_shared(reading.split, pool)
    if len(inputs) < MIN_SAMPLES:
        got = f"{len(inputs):,} outliers that are not in the attacker's pool"
        raise BadInput(
            got, f"{MIN_SAMPLES} or more, better thousands", "name others: a test must not learn from a pool"
        )
    return Outliers(place, inputs), (*reading.remarks, *shared)


def _default_pool(place: str, domain: Domain) -> Split | None:
    """Return the pool of the data set `place`, None for a file, a missing pool or inputs of another kind."""
    if is_file(place):
        return None
    try:
        pool = pool_at(place, domain).split
    except (FeintError, OSError):
        return None
    return pool if pool.domain == domain else None


def _select(split: Split, rows: np.ndarray, part: str) -> Split:
    return split.take(np.sort(rows), part=f"{split.part}, {part}")
