"""Catalogues of translated texts, and tables of text in any script."""

import functools
import importlib.resources
import tomllib
import unicodedata
from collections.abc import Sequence

from feint.errors import UnknownName

LANGUAGES = "en", "zh"


class Catalog:
    """Texts of one package in one language: `catalog("thefts", budget="500")`.

    The texts are in `texts.toml` beside the modules of `room`: a table for each key, a text for each of `LANGUAGES`.

    Raises:
        UnknownName: There is no such language.
    """

    def __init__(self, name: str = "en", *, room: str = "feint.report") -> None:
        if name not in LANGUAGES:
            raise UnknownName.among("language", name, LANGUAGES)
        self.name, self._texts = name, texts(room)

    def __call__(self, word: str, /, **values: object) -> str:
        return self._texts[word][self.name].format(**values)

    def __contains__(self, word: str) -> bool:
        return word in self._texts


@functools.cache
def texts(room: str) -> dict[str, dict[str, str]]:
    """Return all texts of the package `room`, by key and language."""
    return tomllib.loads(importlib.resources.files(room).joinpath("texts.toml").read_text("utf-8"))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text with aligned columns, two spaces apart.

    Wide characters, as the Chinese ones, take two columns of a terminal, and combining ones none (Unicode annex 11).
    """
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    padded = ([cell + " " * (w - _width(cell)) for cell, w in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("  ".join(cells).rstrip() for cells in padded)


def _width(text: str) -> int:
    """Return the number of columns that a text takes in a terminal."""
    return sum(
        2 if unicodedata.east_asian_width(character) in "WF" else unicodedata.combining(character) == 0
        for character in text
    )
