"""Marks of the ledgers in a file, by which a start recognises what was lost while no gateway ran."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from feint.errors import DamagedFile, MissingData, NotWritten
from feint.gateway.changes import LedgerMark


def read_marks(path: Path) -> dict[str, LedgerMark]:
    """Return the last known mark of each model's ledger; none where there is no file.

    Raises:
        MissingData: It cannot be read.
        DamagedFile: It holds something else.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, LedgerMark])
    except FileNotFoundError:
        return {}
    except OSError as error:  # as for want of descriptors: deleting it would hide a loss
        raise MissingData(
            f"{path.name} ({error.strerror})", "a file that can be read", "give the gateway the right to read it"
        ) from error
    except msgspec.MsgspecError as error:
        raise DamagedFile(
            f"{path.name} ({error})", "marks of ledgers", "delete it to take the ledger as it is"
        ) from error


def write_marks(path: Path, marks: Mapping[str, LedgerMark]) -> None:
    """Replace marks in the file, in one step; those of other models stay. Raises `NotWritten`, or as `read_marks`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(msgspec.json.encode(read_marks(path) | dict(marks)))
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise NotWritten(
            f"{path.name} ({error.strerror})",
            "a file that can be written",
            "give the gateway the right to write its folder",
        ) from error
