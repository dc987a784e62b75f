"""Root of the command line. Every command is a module of this package and registers itself with `app`."""

from typing import Annotated

from cyclopts import App, Parameter

from feint import __version__


def _shown(default: object) -> str | None:
    """Return a default as help shows it: none where it is empty, or an option that is off."""
    return None if default is None or default is False or default in ("", ()) else str(default)


app = App(
    name="feint",
    version=__version__,
    help="How easily is a classifier behind a prediction API stolen, and what stops it?",
    help_format="markdown",
    default_parameter=Parameter(show_default=_shown),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

Defenses = Annotated[tuple[str, ...], Parameter(name="--defense", negative=(), consume_multiple=False)]
