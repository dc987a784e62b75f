"""Types of the fields of recipes: a file or a text may give a field a value of any type."""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from feint.errors import BadRecipe, is_finite, short

PLAIN = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "nothing"}
WORDS = PLAIN | {Path: "a path"}


def check_types(recipe: object) -> None:
    """Check that every field of a recipe, and of the recipes within it, has a value of its annotated type.

    A value of another type raises `BadRecipe`.
    """
    hints = get_type_hints(type(recipe))
    for field in fields(recipe):  # pyright: ignore[reportArgumentType]  # a recipe is a dataclass
        value = getattr(recipe, field.name)
        if field.init:
            _check(type(recipe).__name__, field.name, value, hints[field.name])
        for part in _recipes(value):
            check_types(part)


def check_plain_types(kind: Callable[..., Any], values: Mapping[str, object]) -> None:
    """Check the values of those fields of a recipe, not made yet, whose types are numbers, strings, or tuples of them.

    A value of another type raises `BadRecipe`.
    """
    hints = _plain_hints(kind)
    for name in hints.keys() & values.keys():
        _check(kind.__name__, name, values[name], hints[name])


def check_steps(steps: Iterable[object]) -> None:
    """Check that no number of recipes made in Python, and of those within them, is infinite, NaN or a boolean.

    One that is raises `BadRecipe`. What is no recipe has no fields to check.
    """
    for step in steps:
        if is_dataclass(step):
            kind: Any = type(step)
            for name, hint in _plain_hints(kind).items():
                value = getattr(step, name, None)
                if isinstance(value, Real) and not is_finite(value):
                    _check(kind.__name__, name, value, hint)
            check_steps(part for value in vars(step).values() for part in _recipes(value))


@functools.cache
def _plain_hints(kind: Callable[..., Any]) -> Mapping[str, Any]:
    known = inspect.signature(kind).parameters  # type hints would need all names that annotations have as strings
    return {name: entry.annotation for name, entry in known.items() if _is_plain(entry.annotation)}


def _is_plain(hint: Any) -> bool:
    if isinstance(hint, type):
        return hint in PLAIN
    return hint is Ellipsis or (get_args(hint) != () and all(map(_is_plain, get_args(hint))))


def _check(recipe: str, field: str, value: Any, hint: Any) -> None:
    if not _has_type(value, hint):
        endless = isinstance(value, int | float) and not isinstance(value, bool) and not is_finite(value)
        expected = "a finite number" if endless else in_words(hint)
        raise BadRecipe(f"{field} = {short(value)} of {recipe}", expected, f"mend {field}")


def in_words(hint: Any) -> str:
    """Return a type in the words of a message."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return in_words(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(map(in_words, arguments))
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin in (tuple, Sequence):
        return f"a list, each {in_words(arguments[0])}"
    if origin in (dict, Mapping):
        return "a table"
    return WORDS.get(hint, hint.__name__) if isinstance(hint, type) else str(hint)


def _recipes(value: Any) -> Iterable[Any]:
    parts = value if isinstance(value, tuple) else (value,)
    return [part for part in parts if is_dataclass(part)]


def _has_type(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin in (tuple, Sequence):
        if not isinstance(value, (tuple, list)):
            return False
        whole = origin is tuple and arguments[-1] is not Ellipsis
        parts = arguments if whole else arguments[:1] * len(value)
        return len(parts) == len(value) and all(map(_has_type, value, parts))
    if hint is float or hint is int:
        return isinstance(value, (int, float) if hint is float else int) and is_finite(value)
    return isinstance(value, NoneType if hint is None else origin or hint)
