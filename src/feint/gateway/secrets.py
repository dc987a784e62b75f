"""Secrets of the settings, from the environment or from a file."""

import os
import re
from pathlib import Path

from feint.errors import MissingData
from feint.gateway.redaction import HIDDEN

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")  # as POSIX names variables

NO_PASSPHRASE = ""  # of a key for TLS: without one OpenSSL would ask at the terminal, and the event loop would wait


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
        shown = variable if VARIABLE.fullmatch(variable) else HIDDEN  # it may be the secret itself
        raise MissingData(f"no variable {shown} of the environment", f"the {what} in it", "set it, and give its name")
    try:
        return os.environ[variable].strip() if variable else "" if file is None else file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingData(*unreadable(f"file of the {what}", error)) from error


def unreadable(what: str, error: Exception) -> tuple[str, str, str]:
    """Return the texts of the error for a file that cannot be read."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return f"a {what} that cannot be read ({reason})", "a file", "check its path"
