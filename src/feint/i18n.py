"""Catalogues of translated texts."""

import functools
import importlib.resources
import tomllib

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
