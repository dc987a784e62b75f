"""Torch modules from the owner's own code as victims."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from feint.errors import BadInput, MissingData, one_line


def from_factory(place: str) -> nn.Module:
    """Import and call a factory of a torch module. A missing one raises `MissingData`.

    Args:
        place: `package.module:factory`, installed or in the current directory. A module object is accepted, too.

    Returns:
        The module.

    Raises:
        BadInput: The factory needs arguments, fails, or returns no torch module.
    """
    package, _, name = place.partition(":")
    model = _call(place, _import(place, package, name))
    if not isinstance(model, nn.Module):
        raise BadInput(
            f"{place}, which makes a {type(model).__name__}", "a torch module from pixels in [0, 1] to logits (N, K)",
            "return the module itself" if isinstance(model, (tuple, list, dict)) else "wrap it in a torch.nn.Module",
        )  # fmt: skip
    return model


def _import(place: str, package: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingData(
            f"{place}, but no module {error.name!r}", "package.module:factory, here or installed", "check the name"
        ) from error
    except Exception as error:  # the owner's own code, whatever it raises
        raise BadInput(
            f"{package}, which fails ({_line(error)})", "a module that can be imported", "mend it"
        ) from error
    known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    if name not in vars(module):
        raise MissingData(
            f"{place}, but {package} has no {name!r}", f"one of {', '.join(known) or 'none'}", "check the name"
        )
    return vars(module)[name]


def _call(place: str, factory: Any) -> Any:
    """Return what the factory returns, or the object itself where it is a module already."""
    if isinstance(factory, nn.Module) or not callable(factory):
        return factory
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise BadInput(
            f"{place}{inspect.signature(factory)}, which needs arguments", "a factory without any",
            "write one that fills them in and loads the weights",
        ) from error  # fmt: skip
    except ValueError:
        pass  # a builtin without a signature
    try:
        return factory()
    except Exception as error:  # the owner's own code, whatever it raises
        raise BadInput(
            f"{place}, which fails ({_line(error)})", "a factory that makes the module", "mend it"
        ) from error


def _line(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 200)
