"""Command line: a module for each command. Nothing heavy is imported before a command runs."""

import io
import os
import sys
from collections.abc import Sequence

import cyclopts

from feint.cli import (
    audit,
    audit_log,
    bench,
    claim,
    commit,
    controls,
    demo,
    evaluate,
    export,
    fit,
    inspect,
    keys,
    ledger,
    mark,
    questions,
    report,
    serve,
    shadow,
    steal,
    train,
)
from feint.cli.app import app
from feint.errors import FeintError, one_line

__all__ = [
    "app",
    "audit",
    "audit_log",
    "bench",
    "claim",
    "commit",
    "controls",
    "demo",
    "evaluate",
    "export",
    "fit",
    "inspect",
    "keys",
    "ledger",
    "main",
    "mark",
    "questions",
    "report",
    "serve",
    "shadow",
    "steal",
    "train",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 2 after an error in one line, 130 after Ctrl-C, 141 where nobody reads on."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without arrows or Chinese shows question marks
            stream.reconfigure(errors="replace")
    try:
        app(sys.argv[1:] if arguments is None else arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except BrokenPipeError:  # as head leaves it; Python would print a traceback, now and when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except FeintError as error:
        _fail(one_line(error))
    except cyclopts.CycloptsError as error:
        _fail(_usage_error(error))
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        _fail("got an installation without torch, which can only serve; expected torch; run pip install feint")
    except KeyboardInterrupt:
        print("\nfeint: interrupted. Finished work is stored; run the same command again to continue.", file=sys.stderr)
        sys.exit(130)


def _usage_error(error: cyclopts.CycloptsError) -> str:
    """Return what is wrong with an option or a command, and which help to read."""
    help = " ".join(["feint", *(error.command_chain or ()), "--help"])
    return f"{one_line(error)} See {help}"


def _fail(reason: str) -> None:
    print(f"feint: {reason}", file=sys.stderr)
    sys.exit(2)
