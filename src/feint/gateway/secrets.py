"""Secrets of the settings, from the environment or from a file."""

import os
from pathlib import Path

from feint.errors import MissingData


def read_secret(variable: str, file: Path | None, what: str) -> str:
    """Return a secret, "" where neither a variable nor a file is named.

    Args:
        variable: Name of the variable of the environment that holds it, "" for none.
        file: File that holds it.
        what: Description of the secret for errors, which name no path.

    Returns:
        The secret, without white space around it.

    Raises:
        MissingData: The variable is not set, or the file cannot be read.
    """
    if variable and variable not in os.environ:
        raise MissingData(f"no variable {variable}", f"the {what} in it", "set it")
    try:
        return os.environ[variable].strip() if variable else "" if file is None else file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingData(*unreadable(f"file of the {what}", error)) from error


def unreadable(what: str, error: Exception) -> tuple[str, str, str]:
    """Return the texts of the error for a file that cannot be read."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"a {what} that cannot be read ({reason})", "a file", "check its path"
