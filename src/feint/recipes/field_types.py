"""Types of the fields of recipes: a file may give a field a value of any type."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from feint.errors import BadRecipe


def check_types(recipe: object) -> None:
    """Check that every field of a recipe, and of the recipes within it, has a value of its annotated type.

    Raises:
        BadRecipe: A value has another type.
    """
    hints = get_type_hints(type(recipe))
    for field in fields(recipe):  # pyright: ignore[reportArgumentType]  # a recipe is a dataclass
        value = getattr(recipe, field.name)
        if field.init and not _has_type(value, hints[field.name]):
            kind = getattr(hints[field.name], "__name__", hints[field.name])
            raise BadRecipe(f"{field.name} = {value!r:.80} of {type(recipe).__name__}", str(kind), f"mend {field.name}")
        for part in _recipes(value):
            check_types(part)


def _recipes(value: Any) -> Iterable[Any]:
    parts = value if isinstance(value, tuple) else (value,)
    return [part for part in parts if is_dataclass(part)]


def _has_type(value: Any, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_has_type(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_has_type(part, arguments[0]) for part in value)
    if hint is float or hint is int:
        return isinstance(value, (int, float) if hint is float else int) and not isinstance(value, bool)
    return isinstance(value, NoneType if hint is None else origin or hint)
