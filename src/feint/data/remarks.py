"""Remarks on data: what a reader changed, dropped or assumed."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from feint.i18n import Catalog


class Remark(NamedTuple):
    """Remark on data, not yet in a language.

    Attributes:
        phrase: Name of the phrase in texts.toml.
        values: Values that fill the phrase.
    """

    phrase: str
    values: Mapping[str, str]

    def text(self, language: str = "en") -> str:
        """Return the remark as a sentence."""
        return Catalog(language, room="feint.data")(self.phrase, **self.values)


def listed(names: Iterable[object], most: int = 5) -> str:
    """Return names in quotes, at most so many, for a remark or an error."""
    everything = [repr(str(name)) for name in names]
    return ", ".join(everything[:most]) + (f" and {len(everything) - most} more" if len(everything) > most else "")
