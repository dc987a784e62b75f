"""Recipes: frozen dataclasses whose constructor fields are the whole configuration.

A recipe has three forms that say the same: the object, its `repr` (which `parse` reads back without `eval`),
and a table of plain values for TOML and JSON. An unknown name or field is an error that names the nearest known one.
"""

import ast
import difflib
import functools
import hashlib
import inspect
import json
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import metadata
from types import ModuleType
from typing import Any

from feint.errors import BadRecipe, UnknownName, one_line


def short_hash(content: str | bytes | memoryview, digits: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 of text, in UTF-8, or bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:digits]


def fingerprint(plain: object, digits: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 of plain values, written as JSON with sorted keys."""
    return short_hash(json.dumps(plain, sort_keys=True), digits)


Vocabulary = Mapping[str, Callable[..., Any]]


def exported_recipes(*rooms: ModuleType) -> dict[str, Callable[..., Any]]:
    """Every recipe that the rooms export, by name."""
    exported: dict[str, Any] = {name: getattr(room, name) for room in rooms for name in room.__all__}
    return {name: thing for name, thing in exported.items() if is_dataclass(thing)}  # pyright: ignore[reportReturnType]


class Plugins(Mapping[str, Callable[..., Any]]):
    """Recipes of other installed packages, by class name; a class is imported when it is asked for.

    A package names its classes as entry points of the group `feint.methods`: `Halved = "package.module:Halved"`. A file
    can therefore import nothing but what the owner of the machine has installed as methods of Feint.
    """

    group = "feint.methods"

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """Return the class. Raises `KeyError` for an unknown name, and `BadRecipe` for a class that is no recipe."""
        if name not in self._classes:
            entry = self._entries[name]
            try:
                kind = entry.load()
            except Exception as error:  # a stranger's module may raise anything
                raise BadRecipe(
                    f"{name} of {entry.value}, which fails ({one_line(error, 160)})", "a class", "mend that package"
                ) from error
            if not (isinstance(kind, type) and is_dataclass(kind) and kind.__name__ == name):
                raise BadRecipe(f"{name} of {entry.value}", f"a frozen dataclass called {name}", "mend its entry point")
            self._classes[name] = kind
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @functools.cached_property
    def _classes(self) -> dict[str, Callable[..., Any]]:
        return {}

    @functools.cached_property
    def _entries(self) -> dict[str, metadata.EntryPoint]:
        known: dict[str, metadata.EntryPoint] = {}
        for entry in metadata.entry_points(group=self.group):
            if known.setdefault(entry.name, entry).value != entry.value:
                two = f"{known[entry.name].value} and {entry.value}"
                raise BadRecipe(f"two methods called {entry.name}, {two}", "one", "uninstall one of the packages")
        return known

    def clear(self) -> None:
        """Look again for installed packages when the next name is asked for."""
        for name in ("_classes", "_entries"):
            vars(self).pop(name, None)


PLUGINS = Plugins()


def joined(*words: Vocabulary) -> Vocabulary:
    """Return all of these words; of those with one name the first counts."""
    return ChainMap(*words)  # pyright: ignore[reportArgumentType]  # it is only read


@functools.cache  # a suite asks for them a thousand times: most of what reading one took
def known_fields(kind: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The constructor fields of a recipe, by name."""
    return inspect.signature(kind).parameters


def build(name: str, given: Mapping[str, object], words: Vocabulary) -> Any:
    """The recipe `name` with the fields `given`. Raises `UnknownName` or `BadRecipe`."""
    if name not in words:
        raise UnknownName.among("name", name, words)
    known = known_fields(words[name])
    for field in given:
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            raise BadRecipe(
                f"the field {field!r} of {name}",
                f"one of {', '.join(known)}" if known else "no field at all",
                f"did you mean {near[0]!r}?" if near else "leave it out",
            )
    missing = [field for field, it in known.items() if it.default is it.empty and field not in given]
    if missing:
        raise BadRecipe(f"{name} without {', '.join(missing)}", f"{name}({', '.join(known)})", f"give {missing[0]}")
    try:
        return words[name](**given)
    except TypeError as error:  # a value of another type than its field
        raise BadRecipe(
            f"{name} with {dict(given)!r} ({error})", "values of the fields' types", "change them"
        ) from error


def to_table(recipe: object) -> Any:
    """Plain values for TOML and JSON: a recipe becomes a table with its `kind` and the fields that are not None."""
    if is_dataclass(recipe) and not isinstance(recipe, type):
        held = {field.name: getattr(recipe, field.name) for field in fields(recipe) if field.init and field.repr}
        return {"kind": type(recipe).__name__} | {k: to_table(v) for k, v in held.items() if v is not None}
    if isinstance(recipe, (tuple, list)):
        return [to_table(item) for item in recipe]
    if isinstance(recipe, (str, int, float, bool)):
        return recipe
    raise BadRecipe(f"a {type(recipe).__name__} in a recipe", "plain values and recipes", "hold data by a handle")


def from_table(table: Any, words: Vocabulary, **given: object) -> Any:
    """The recipe that `to_table` wrote; fields `given` fill its gaps as in `parse`."""

    def value(item: Any) -> Any:
        if isinstance(item, list):
            return tuple(map(value, item))
        if isinstance(item, dict):
            kind, own = str(item.get("kind")), {name: value(it) for name, it in item.items() if name != "kind"}
            return build(kind, _gaps(kind, words, given, outermost=item is table) | own, words)
        return item

    return value(table)


def _gaps(name: str, words: Vocabulary, given: Mapping[str, object], *, outermost: bool) -> dict[str, object]:
    """Those of the fields `given` that the recipe `name` has, or, inside another, that it cannot do without."""
    known = known_fields(words[name]) if name in words else {}
    return {it: v for it, v in given.items() if it in known and (outermost or known[it].default is known[it].empty)}


def parse(text: str, words: Vocabulary, **given: object) -> Any:
    """The recipe that `text` spells as its `repr` does, like `APGP(top=1, distance=L1())`.

    Fields `given` are used where the text is silent and the recipe has them; for recipes inside it, where they must
    have them. Names and plain values only: nothing is evaluated.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise BadRecipe(repr(text), "a recipe like 'APGP(top=1)'", "check brackets and quotes") from error
    if isinstance(tree, ast.Name):  # `APGP` says the same as `APGP()`
        tree = ast.Call(tree, [], [])

    def value(node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=constant):
                return constant
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(value(item) for item in items)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
                known = list(known_fields(words[name])) if name in words else []
                if len(args) > len(known) > 0:
                    raise BadRecipe(f"{len(args)} values for {name}", f"at most {len(known)}", "leave some out")
                here = dict(zip(known, map(value, args), strict=False))
                here |= {str(keyword.arg): value(keyword.value) for keyword in keywords}
                return build(name, _gaps(name, words, given, outermost=node is tree) | here, words)
        raise BadRecipe(repr(ast.unparse(node)), "names of recipes and plain values", "write it as in 'APGP(top=1)'")

    return value(tree)
