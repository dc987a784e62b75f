"""Notes of an audit: remarks on its samples and its plan, in no language yet."""

from collections.abc import Mapping
from typing import NamedTuple


class Note(NamedTuple):
    """A remark on samples or a plan: the name of a phrase, and the values that fill it."""

    phrase: str
    values: Mapping[str, str]
