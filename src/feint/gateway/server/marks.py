"""Marks of the ledgers in a file, by which a start recognises what was lost while no gateway ran."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from feint.errors import DamagedFile, MissingData, NotWritten
from feint.gateway.changes import LedgerMark

ATTEMPTS, AGAIN = 250, 0.002  # and seconds between two: a mark is written in less than a millisecond


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
    """Replace marks in the file, in one step; those of other models, of this gateway or another, stay.

    Errors are those of `read_marks`, too.

    Raises:
        NotWritten: That cannot be.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _alone(path.parent):
            partial.write_bytes(msgspec.json.encode(read_marks(path) | dict(marks)))
            partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise NotWritten(
            f"{path.name} ({error.strerror})",
            "a file that can be written",
            "check its folder and disk",
        ) from error


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other gateways from writing into a folder until the block ends.

    Otherwise two that share a file would each drop the marks that the other has written meanwhile. The folder itself is
    locked, so that no other file is needed, and one that is stopped while it writes keeps nobody waiting for long.

    Raises:
        BlockingIOError: Another one does not let go of it.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for attempt in range(ATTEMPTS):
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(AGAIN)
        yield
    finally:
        os.close(opened)  # which lets go of it
