"""Root of the command line. Every command is a module of this package and registers itself with `app`."""

from typing import Annotated

from cyclopts import App, Group, Parameter

from feint import __version__


def _shown(default: object) -> str | None:
    """Return a default as help shows it: none where it is empty, or an option that is off."""
    if default is None or default is False or default in ("", ()):
        return None
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)


app = App(
    name="feint",
    version=__version__,
    help="How easily is a classifier behind a prediction API stolen, and what stops it?",
    help_format="markdown",
    default_parameter=Parameter(show_default=_shown, negative=()),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

PROTECT = Group.create_ordered("Protect a model")
OPERATE = Group.create_ordered("Operate a gateway")
OWN = Group.create_ordered("Prove ownership")
STUDY = Group.create_ordered("Study attacks and defenses")
FLAGS = Group.create_ordered("Flags")
for flag in ("--help", "--version"):
    app[flag].group = FLAGS

ApiKeys = Annotated[tuple[str, ...], Parameter(env_var="FEINT_KEY")]
