"""Packages that come with an extra, imported when they are first needed."""

import importlib
import importlib.util
from typing import Any

from feint.errors import MissingData


def require(module: str, extra: str) -> Any:
    """Import `module`, or raise `MissingData` with the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise _missing(module, extra) from error


def available(module: str, extra: str) -> None:
    """Raise `MissingData` as `require` does, without importing: scikit-learn takes a second of processor time."""
    if importlib.util.find_spec(module) is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> MissingData:
    name = module.partition(".")[0]
    return MissingData(f"no package {name!r}", "it, for this job", f'pip install "feint[{extra}]"')
