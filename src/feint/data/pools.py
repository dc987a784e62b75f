"""Splits of data sets as commands and suites spell them."""

import re

from feint.data.dataset import Split, load, load_part
from feint.errors import BadInput


def parse_pool(name: str) -> Split:
    """Load the attacker's inputs by name. An unknown name raises `UnknownName`.

    Args:
        name: NAME or NAME/pool for the pool of a data set, NAME/train for its training split. Of a set without labels
            both are all of its inputs.

    Returns:
        The split.

    Raises:
        BadInput: Another part is named.
    """
    name, _, part = name.partition("/")
    if part not in ("", "train", "pool"):
        raise BadInput(f"the part {part!r} of {name}", "NAME, NAME/train or NAME/pool", "an attacker has no test set")
    return load_part(name, part or "pool")


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
