"""Parts of data sets as commands and suites name them."""

import re

from feint.data.dataset import Split, load
from feint.errors import BadInput


def parse_pool(name: str) -> Split:
    """The inputs that a thief owns: the pool of a data set, or NAME/train. Raises `UnknownName` or `BadInput`."""
    name, _, part = name.partition("/")
    images = load(name)
    if part not in ("", "train", "pool"):
        raise BadInput(f"the part {part!r} of {name}", "NAME, NAME/train or NAME/pool", "a thief has no test set")
    return images.train if part == "train" else images.pool


def parse_split(name: str) -> Split:
    """The inputs that an owner names: the training part, unless it is NAME/PART or, of that, NAME/PART:I/OF."""
    name, _, part = name.partition("/")
    match = re.fullmatch(r"(train|pool|test)(?::(\d+)/(\d+))?", part or "train")
    if match is None:
        known = "NAME, NAME/train, NAME/pool or NAME/test, or a share of one like NAME/test:0/2"
        raise BadInput(f"the part {part!r} of {name}", known, "name one of these")
    split: Split = getattr(load(name), match[1])
    return split.share(int(match[2]), int(match[3])) if match[2] else split
