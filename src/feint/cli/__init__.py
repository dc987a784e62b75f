"""The commands: each a few lines over the library. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Sequence

import cyclopts

from feint.cli import audit, audit_log, bench, demo, evaluate, export, fit, keys, report, serve, steal, train
from feint.cli.app import app
from feint.errors import FeintError, one_line

__all__ = [
    "app",
    "audit",
    "audit_log",
    "bench",
    "demo",
    "evaluate",
    "export",
    "fit",
    "keys",
    "main",
    "report",
    "serve",
    "steal",
    "train",
]


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 0, 2 for an error that is said in one line, 130 for Ctrl-C."""
    try:
        app(sys.argv[1:] if words is None else words, exit_on_error=False, print_error=False)
    except (FeintError, cyclopts.CycloptsError) as error:
        _fail(one_line(error))
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        _fail("got an installation without torch, which serves alone; expected torch for this; pip install feint")
    except KeyboardInterrupt:
        print("\nfeint: interrupted. What was finished is kept; the same command continues.", file=sys.stderr)
        sys.exit(130)


def _fail(reason: str) -> None:
    print(f"feint: {reason}", file=sys.stderr)
    sys.exit(2)
