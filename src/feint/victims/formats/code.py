"""Models from the owner's own code: torch modules, estimators and functions."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from torch import nn

from feint.errors import BadInput, MissingData, one_line
from feint.victims.formats.estimator import EstimatorModel
from feint.victims.formats.function import FunctionModel
from feint.victims.formats.torch_module import TorchModel
from feint.victims.raw import RawModel


def load_code(place: str) -> RawModel:
    """Import a model: a factory of one, or the model itself. A missing one raises `MissingData`.

    Args:
        place: `package.module:name`, installed or in the current directory. The name is a factory without arguments,
            a torch module, an estimator, or a function of one batch of inputs.

    Returns:
        The model.

    Raises:
        BadInput: The factory fails, or makes none of these.
    """
    package, _, name = place.partition(":")
    value = _call(place, _import(place, package, name))
    if isinstance(value, RawModel):
        return value
    if isinstance(value, nn.Module):
        return TorchModel(value.eval(), place)
    if hasattr(value, "predict_proba") or hasattr(value, "decision_function"):
        return EstimatorModel(value, place)
    if callable(value):
        return FunctionModel(value, place)
    raise BadInput(
        f"{place}, which makes a {type(value).__name__}", "a torch module, an estimator or a function of inputs",
        "return the model itself" if isinstance(value, (tuple, list, dict)) else "wrap it in a function",
    )  # fmt: skip


def _import(place: str, package: str, name: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingData(
            f"{place}, but no module {error.name!r}", "package.module:name, here or installed", "check the name"
        ) from error
    except Exception as error:  # the owner's own code, whatever it raises
        raise BadInput(
            f"{package}, which fails ({_line(error)})", "a module that can be imported", "mend it"
        ) from error
    public = {key: value for key, value in vars(module).items() if callable(value) and not key.startswith("_")}
    known = [key for key, value in public.items() if getattr(value, "__module__", package) == package]
    if name not in vars(module):
        raise MissingData(
            f"{place}, but {package} has no {name!r}", f"one of {', '.join(known) or 'none'}", "check the name"
        )
    return vars(module)[name]


def _call(place: str, value: Any) -> Any:
    """Return what a factory returns, or the value itself where it takes inputs or is no function."""
    if isinstance(value, (nn.Module, RawModel)) or not callable(value):
        return value
    try:
        signature = inspect.signature(value)
    except ValueError:  # a builtin without a signature
        return value
    if not _binds(signature):
        if _binds(signature, None) and not isinstance(value, type):
            return value  # a function of inputs
        raise BadInput(
            f"{place}{signature}, which needs arguments", "a factory without any, or a function of one batch of inputs",
            "write one that fills them in and loads the weights",
        )  # fmt: skip
    try:
        return value()
    except Exception as error:  # the owner's own code, whatever it raises
        raise BadInput(f"{place}, which fails ({_line(error)})", "a factory that makes the model", "mend it") from error


def _binds(signature: inspect.Signature, *arguments: Any) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _line(error: Exception) -> str:
    return one_line(f"{type(error).__name__}: {error}", 200)
