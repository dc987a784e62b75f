"""Splits of data sets as commands and suites spell them."""

import re

import numpy as np

from feint.data.dataset import Split, load, load_part
from feint.errors import BadInput


def parse_pool(name: str) -> Split:
    """Load the attacker's inputs by name. An unknown name raises `UnknownName`.

    Args:
        name: NAME or NAME/pool for the pool of a data set, NAME/train for its training split, NAME/PART:I/OF for a
            share of one. Of a set without labels both are all of its inputs. A+B is as many inputs of each.

    Returns:
        The split.

    Raises:
        BadInput: Another part is named, or inputs of different shapes are joined.
    """
    if "+" in name:
        return _joined([parse_pool(each) for each in name.split("+")], name)
    name, _, part = name.partition("/")
    part, _, share = part.partition(":")
    if part not in ("", "train", "pool") or not re.fullmatch(r"(\d+/\d+)?", share):
        known = "NAME, NAME/train or NAME/pool, or a share like NAME/train:0/2"
        raise BadInput(f"the part {part!r} of {name}", known, "an attacker has no test set")
    split = load_part(name, part or "pool")
    return split.share(*map(int, share.split("/"))) if share else split


def _joined(splits: list[Split], name: str) -> Split:
    """Return as many inputs of each split, evenly spread over it; classes of different splits are different."""
    if len({split.domain for split in splits}) > 1:
        shapes = ", ".join(str(split.shape) for split in splits)
        raise BadInput(f"the pool {name} of inputs of shapes {shapes}", "one domain", "scale one: NAME@SIZE")
    count, first, labels = min(map(len, splits)), 0, list[np.ndarray]()
    chosen = [np.linspace(0, len(split) - 1, count).astype(int) for split in splits]
    for split, rows in zip(splits, chosen, strict=True):
        labels.append(split.arrays[1][rows] + first)
        first += int(split.arrays[1].max()) + 1
    values = np.concatenate([split.values[rows] for split, rows in zip(splits, chosen, strict=True)])
    return Split.of(values, np.concatenate(labels), domain=splits[0].domain, name=name, part="joined")


def parse_split(name: str) -> Split:
    """Load the owner's inputs by name. An unknown name raises `UnknownName`.

    Args:
        name: NAME for the training split of a data set, NAME/PART for another one, NAME/PART:I/OF for a share of it.

    Returns:
        The split.

    Raises:
        BadInput: There is no such part.
    """
    name, _, part = name.partition("/")
    match = re.fullmatch(r"(train|pool|test)(?::(\d+)/(\d+))?", part or "train")
    if match is None:
        known = "NAME, NAME/train, NAME/pool or NAME/test, or a share of one like NAME/test:0/2"
        raise BadInput(f"the part {part!r} of {name}", known, "name one of these")
    split: Split = getattr(load(name), match[1])
    return split.share(int(match[2]), int(match[3])) if match[2] else split
