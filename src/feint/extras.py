"""Packages that come with an extra, imported when they are first needed."""

import importlib
from typing import Any

from feint.errors import MissingData


def need(module: str, extra: str) -> Any:
    """The imported `module`. Raises `MissingData`, which names the extra to install, where it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise MissingData(f"no package {name!r}", "it, for this job", f'pip install "feint[{extra}]"') from error
