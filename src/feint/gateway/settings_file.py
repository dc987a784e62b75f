"""Reader of settings in TOML, where an unknown key is an error."""

import errno
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec

from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData
from feint.gateway.settings import BACKENDS, TABLES, LedgerSettings, ModelSettings, Place, Settings
from feint.gateway.stores import beside
from feint.recipes.field_types import in_words
from feint.recipes.recipe import build


def read(path: Path) -> Settings:
    """Read settings from a TOML file; paths in it are relative to its folder.

    Args:
        path: The file.

    Returns:
        The settings. A wrong key or value raises `BadRecipe`, an unknown name `UnknownName`.

    Raises:
        MissingData: If there is no such file.
        DamagedFile: If it is not TOML.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise MissingData(f"{path} ({error.strerror})", "a file of settings", "check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DamagedFile(f"{path} ({error})", "settings in TOML", "mend that line") from error
    return settings(table, path.absolute().parent)  # of an absolute path lines and errors tell the last part alone


def settings(table: Mapping[str, Any], folder: Path) -> Settings:
    """Return the settings in a table of plain values; errors are those of `read`."""
    values: dict[str, Any] = {
        name: _recipe(kind, f"[{name}]", table[name], folder) for name, kind in TABLES.items() if name in table
    }
    ledger = values.get("ledger", LedgerSettings())
    values["ledger"] = replace(ledger, store=beside(ledger.store, folder))
    models = table.get("models", {})
    values["models"] = {name: _model(name, model, folder) for name, model in _table("[models]", models).items()}
    return build("settings", {**table, **values}, {"settings": Settings})


def _model(name: str, table: Any, folder: Path) -> ModelSettings:
    where = f"[models.{name}]"
    named = [place for place in BACKENDS if place in _table(where, table)]
    if len(named) != 1:
        got = f"{where} with {' and '.join(named) or 'none of ' + ', '.join(BACKENDS)}"
        raise BadRecipe(got, f"one of {', '.join(BACKENDS)}", "say where the model is")
    return _recipe(BACKENDS[named[0]], where, table, folder)


def _recipe(kind: type, where: str, table: Any, folder: Path) -> Any:
    types = {field.name: field.type for field in fields(kind)}
    typed = {
        name: _typed(value, types[name], f"{where} {name}", folder) if name in types else value
        for name, value in _table(where, table).items()
    }
    try:
        return build(where, typed, {where: kind})
    except BadInput as error:
        got, expected, remedy = error.args
        raise type(error)(got if where in got else f"{where}: {got}", expected, remedy) from error


def _typed(value: Any, kind: Any, where: str, folder: Path) -> Any:
    """Return the value as its field holds it; raise `BadRecipe`."""
    if isinstance(value, str) and "\0" in value:
        raise BadRecipe(f"{where} with a zero byte", "text", "write \\\\ for a backslash")
    if kind in (Path, Path | None) and isinstance(value, str):
        return _path(folder / value, where)
    try:
        converted: Any = msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise BadRecipe(f"{_shown(where, value)} ({error})", in_words(kind), "change it") from error
    if kind == Place:
        return _placed(converted, folder)
    return tuple(_placed(place, folder) for place in converted) if kind == tuple[Place, ...] else converted


def _path(path: Path, where: str) -> Path:
    """Return a path at which a file or a directory may be; raise `BadRecipe`, which does not show it."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise BadRecipe(f"{where} ({error.strerror})", "the path of a file", "change it") from error
        return path  # what is not there may be made, or is missed where it is read
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISFIFO(mode)):  # a key may come through a pipe
        raise BadRecipe(f"{where}, which names a device or a socket", "the path of a file", "change it")
    return path


def _placed(place: str, folder: Path) -> str:
    """Return the path of a file or directory from the folder; what names none there, as it is."""
    path = folder / Path(place).expanduser()
    return str(path) if os.path.exists(path) else place  # noqa: PTH110, a recipe may be longer than names of files


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRecipe(_shown(where, value), "a table", f"write {where}")
    return value


def _shown(where: str, value: Any) -> str:
    """Return a setting with its value, where that is a number: anything else may be a secret in the wrong place."""
    return f"{where} = {value}" if isinstance(value, int | float) else where
