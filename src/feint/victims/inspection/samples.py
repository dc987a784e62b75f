"""Labelled samples as a raw model would take them."""

import math
from dataclasses import replace

import numpy as np

from feint.data.files import Classes, Reading, samples_at
from feint.errors import BadInput
from feint.signature import Columns, Domain, Pixels, Text, Tokens
from feint.victims.certain import INTEGERS, certain_inputs
from feint.victims.raw import RawModel

OFTEN = 0.3  # share of sequences that end with one token, from which on it is padding


def read_samples(
    raw: RawModel, place: str, *, label: str | None = None, padding: int | None = None, length: int | None = None
) -> Reading:
    """Load labelled samples, as far as a raw model says what it takes.

    Args:
        raw: The model.
        place: Data set, file or directory of the samples.
        label: Column of the label; None for the first of the usual names.
        padding: Token that fills sequences up; None for the one that most of them end with.
        length: Greatest length of a text in bytes, or of a sequence; None for the one that holds 95 % of the samples.

    Returns:
        The samples: images in the model's size, columns in its order, labels by its classes.

    Raises:
        BadInput: The labels are none of the classes that the owner named; there is a length, and neither texts nor
            sequences of any length; or as in `samples_at`.
    """
    classes, domain = _classes(raw), _image_domain(raw)
    try:
        reading = samples_at(place, domain, classes=classes, label=label)
    except BadInput:
        if raw.metadata.named:
            raise
        classes = None  # the order of the labels is measured
        reading = samples_at(place, domain, label=label)
    domain = _sequence_domain(raw, reading, padding) or _certain_domain(raw, reading.split.domain)
    if length is not None:
        domain = _of_length(domain or reading.split.domain, raw, length)
    if domain in (None, reading.split.domain):
        return reading
    return samples_at(place, domain, classes=classes, label=label)


def _classes(raw: RawModel) -> Classes:
    """Return the model's names of classes, or their number."""
    names = raw.metadata.classes
    if names and names != tuple(map(str, range(len(names)))):
        return names
    counts = {spec.shape[-1] for spec in raw.outputs if len(spec.shape) == 2 and spec.dtype.startswith("float")}
    count = len(names) or (counts.pop() if len(counts) == 1 else None)
    return None if count is None or count < 2 else count


def _image_domain(raw: RawModel) -> Domain | None:
    """Return the domain of a model of images of one size, to which those of other sizes are resized."""
    domain = _certain_domain(raw, None)
    return domain if isinstance(domain, Pixels) else None


def _certain_domain(raw: RawModel, domain: Domain | None) -> Domain | None:
    try:
        return certain_inputs(raw, domain)[0]
    except BadInput:
        return None


def _of_length(domain: Domain, raw: RawModel, length: int) -> Domain:
    """Return the domain of texts or sequences of another length."""
    fixed = isinstance(domain, Tokens) and raw.inputs[0].shape[1:] != (None,)
    if fixed or not isinstance(domain, (Text, Tokens)):
        what = f"sequences of {domain.shape[0]} tokens, the model's own length" if fixed else domain.noun
        raise BadInput(f"--length {length} for {what}", "texts, or sequences of any length", "leave it out")
    return replace(domain, length=length)


def _sequence_domain(raw: RawModel, reading: Reading, padding: int | None) -> Tokens | None:
    """Return the domain of whole numbers for a model that takes one row of integers, or None.

    Columns that have names are no sequences.
    """
    split = reading.split
    spec = raw.inputs[0]
    if (
        len(raw.inputs) > 1
        or spec.dtype not in INTEGERS
        or len(spec.shape) != 2
        or not isinstance(split.domain, Columns)
        or split.domain.names != tuple(f"x{i}" for i in range(len(split.domain.names)))
    ):
        return None
    x = split.values
    if not (x >= 0).all() or not (x == np.floor(x)).all() or spec.shape[1] not in (None, x.shape[1]):
        return None
    if padding is None:
        tokens, counts = np.unique(x[:, -1], return_counts=True)
        padding = int(tokens[counts.argmax()]) if counts.max() > OFTEN * len(x) else 0
    return Tokens(x.shape[1], max(2, math.ceil(x.max()) + 1, padding + 1), padding)
