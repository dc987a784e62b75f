"""Recipes: frozen dataclasses whose constructor fields are the whole configuration.

A recipe has three equivalent forms: the object, its `repr`, which `parse` reads without `eval`, and a table of plain
values for TOML and JSON. An unknown name or field is an error that names the nearest known one.
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
from feint.recipes.field_types import check_plain_types


def short_hash(content: str | bytes | memoryview, digits: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 of text, in UTF-8, or bytes."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:digits]


def fingerprint(plain: object, digits: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 of plain values, written as JSON with sorted keys."""
    return short_hash(json.dumps(plain, sort_keys=True), digits)


Vocabulary = Mapping[str, Callable[..., Any]]


def exported_recipes(*rooms: ModuleType) -> dict[str, Callable[..., Any]]:
    """Return every recipe that these packages export, by name."""
    exported: dict[str, Any] = {name: getattr(room, name) for room in rooms for name in room.__all__}
    return {name: kind for name, kind in exported.items() if is_dataclass(kind)}  # pyright: ignore[reportReturnType]


class Plugins(Mapping[str, Callable[..., Any]]):
    """Recipes of other installed packages, by class name; a class is imported at its first use.

    A package names its classes as entry points of the group `feint.methods`: `Halved = "package.module:Halved"`. A
    recipe file can therefore import nothing but methods that the owner of the machine has installed.
    """

    group = "feint.methods"

    def __getitem__(self, name: str) -> Callable[..., Any]:
        """Return the class. Raises `KeyError` for an unknown name, and `BadRecipe` for a class that is no recipe."""
        if name not in self._classes:
            entry = self._entries[name]
            try:
                kind = entry.load()
            except Exception as error:  # another package's module may raise any error
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
        """Empty the cache: the next use looks for installed packages again."""
        for name in ("_classes", "_entries"):
            vars(self).pop(name, None)


PLUGINS = Plugins()
SHOWN = 200  # characters of a text that is no recipe


def joined(*words: Vocabulary) -> Vocabulary:
    """Return the union of these vocabularies; the first one with a name counts."""
    return ChainMap(*words)  # pyright: ignore[reportArgumentType]  # it is only read


@functools.cache  # reading a suite needs them a thousand times, which took most of its time
def known_fields(kind: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the constructor fields of a recipe, by name."""
    return inspect.signature(kind).parameters


def build(name: str, values: Mapping[str, object], words: Vocabulary) -> Any:
    """Build the recipe `name` with these `values` of its fields. Raises `UnknownName` or `BadRecipe`."""
    if name not in words:
        raise UnknownName.among("name", name, words)
    known = known_fields(words[name])
    former: Mapping[str, str] = getattr(words[name], "former_fields", {})
    values = {former.get(field, field): value for field, value in values.items() if former.get(field, field)}
    for field in values:
        if field not in known:
            near = difflib.get_close_matches(field, known, n=1)
            raise BadRecipe(
                f"the field {field!r} of {name}",
                f"one of {', '.join(known)}" if known else "no field at all",
                f"did you mean {near[0]!r}?" if near else "leave it out",
            )
    missing = [field for field, entry in known.items() if entry.default is entry.empty and field not in values]
    if missing:
        raise BadRecipe(f"{name} without {', '.join(missing)}", f"{name}({', '.join(known)})", f"give {missing[0]}")
    check_plain_types(words[name], values)
    try:
        return words[name](**values)
    except TypeError as error:  # a value of another type than its field
        raise BadRecipe(
            f"{name} with {dict(values)!r} ({error})", "values of the fields' types", "change them"
        ) from error


def to_table(recipe: object) -> Any:
    """Convert a recipe to plain values for TOML and JSON.

    Args:
        recipe: A recipe, or a value or sequence within one.

    Returns:
        A table with the recipe's `kind` and the fields that are not None.

    Raises:
        BadRecipe: A field has another value than numbers, strings, sequences and recipes.
    """
    if is_dataclass(recipe) and not isinstance(recipe, type):
        values = {field.name: getattr(recipe, field.name) for field in fields(recipe) if field.init and field.repr}
        return {"kind": type(recipe).__name__} | {k: to_table(v) for k, v in values.items() if v is not None}
    if isinstance(recipe, (tuple, list)):
        return [to_table(item) for item in recipe]
    if isinstance(recipe, (str, int, float, bool)):
        return recipe
    raise BadRecipe(f"a {type(recipe).__name__} in a recipe", "plain values and recipes", "hold data by a handle")


def tables(plain: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all tables within plain values, the outermost first."""
    if isinstance(plain, dict):
        yield plain
    for value in plain.values() if isinstance(plain, dict) else plain if isinstance(plain, list) else ():
        yield from tables(value)


def from_table(table: Any, words: Vocabulary, *, whole: tuple[type, ...] = (), **defaults: object) -> Any:
    """Build the recipe of a table that `to_table` wrote; `defaults` complete its fields as in `parse`."""

    def value(item: Any) -> Any:
        if isinstance(item, list):
            return tuple(map(value, item))
        if isinstance(item, dict):
            kind, values = str(item.get("kind")), {name: value(part) for name, part in item.items() if name != "kind"}
            return build(kind, _defaults(kind, words, defaults, whole, outermost=item is table) | values, words)
        return item

    return value(table)


def _defaults(
    name: str, words: Vocabulary, defaults: Mapping[str, object], whole: tuple[type, ...], *, outermost: bool
) -> dict[str, object]:
    """Return those of the `defaults` that complete the recipe `name`, as in `parse`."""
    if name not in words:
        return {}
    known, kind = known_fields(words[name]), words[name]
    required = {field for field, entry in known.items() if entry.default is entry.empty}
    is_whole = outermost or (isinstance(kind, type) and issubclass(kind, whole))
    return {field: v for field, v in defaults.items() if field in (known if is_whole else required)}


def parse(text: str, words: Vocabulary, *, whole: tuple[type, ...] = (), **defaults: object) -> Any:
    """Build a recipe from its `repr`. Nothing is evaluated. Unknown names raise `UnknownName`.

    Args:
        text: A recipe like `APGP(top=1, distance=L1())`, of names and plain values.
        words: Recipes by name.
        whole: Kinds of recipes that get all their fields also within another.
        **defaults: Values of fields that the text leaves out, where the recipe has these fields. Recipes within it get
            their required fields alone, unless they are `whole`.

    Returns:
        The recipe.

    Raises:
        BadRecipe: The text is no recipe, or a field or value of it is unknown.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the last two of brackets within brackets
        raise BadRecipe(repr(text[:SHOWN]), "a recipe like 'APGP(top=1)'", "check brackets and quotes") from error
    if isinstance(tree, ast.Name):  # `APGP` is short for `APGP()`
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
                return build(name, _defaults(name, words, defaults, whole, outermost=node is tree) | here, words)
        raise BadRecipe(repr(ast.unparse(node)), "names of recipes and plain values", "write it as in 'APGP(top=1)'")

    return value(tree)
