"""A catalogue of words: each by its name, in every language."""

import functools
import importlib.resources
import tomllib

from feint.errors import UnknownName

LANGUAGES = "en", "zh"


class Catalog:
    """The words of a TOML file beside the modules of `room`, in one language: `say("thefts", budget="500")`.

    The file has a table for each name, with a text for each of `LANGUAGES`. Raises `UnknownName`.
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
    """All words of a room, by name and language."""
    return tomllib.loads(importlib.resources.files(room).joinpath("texts.toml").read_text("utf-8"))
