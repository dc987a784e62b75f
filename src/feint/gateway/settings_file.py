"""Reader of settings in TOML, where an unknown key is an error."""

import os
import tomllib
import types
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import msgspec

from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData
from feint.gateway.settings import BACKENDS, TABLES, LedgerSettings, ModelSettings, Settings, TorchSettings
from feint.gateway.stores import beside
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
    return settings(table, path.parent)


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
    model = _recipe(BACKENDS[named[0]], where, table, folder)
    if isinstance(model, TorchSettings):
        at_folder = tuple(_at_folder(step, folder) for step in model.defense)
        model = replace(model, torch=_at_folder(model.torch, folder), defense=at_folder)
    return model


def _at_folder(place: str, folder: Path) -> str:
    """Return a path that begins at the folder; what names no file there, like a module or a recipe, as it is."""
    path = folder / Path(place).expanduser()
    return str(path) if os.path.exists(path) else place  # noqa: PTH110, a recipe may be longer than names of files


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
    if kind in (Path, Path | None) and isinstance(value, str):
        return folder / value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        wanted = kind if isinstance(kind, types.UnionType) else getattr(kind, "__name__", kind)
        raise BadRecipe(f"{_shown(where, value)} ({error})", f"a value of type {wanted}", "change it") from error


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadRecipe(_shown(where, value), "a table", f"write {where}")
    return value


def _shown(where: str, value: Any) -> str:
    """Return a setting with its value, where that is a number: anything else may be a secret in the wrong place."""
    return f"{where} = {value}" if isinstance(value, int | float) else where
