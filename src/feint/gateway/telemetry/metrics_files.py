"""Files in which the workers of one gateway count, whose room on the disk is taken before they are written."""

import os
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from feint.errors import NotWritten

FIRST = 2**16  # bytes of a new file: those of prometheus_client


class AllocatedFile(MmapedDict):
    """File of prometheus_client, which writes to it as to memory.

    The library makes it longer without room for it: where the disk is full, the first write then ends the process by
    SIGBUS, and every worker that replaces it. `NotWritten` is raised instead, before anything is written.
    """

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _allocate(filename, FIRST)
        super().__init__(filename, read_mode)

    def _init_value(self, key: str) -> None:
        longest = len(key.encode()) + 32  # with its own length, padding and two numbers
        if self._used + longest > self._capacity:
            _allocate(self._fname, 2 * self._capacity)  # which is what the library makes of it
        super()._init_value(key)


def count_as(number: int) -> None:
    """Have this process count in the files of one worker, whichever process was that worker before.

    Otherwise each one that ended would leave files for good.

    Args:
        number: Number of the worker.
    """
    values.MmapedDict = AllocatedFile  # pyright: ignore[reportPrivateImportUsage]
    values.ValueClass = values.MultiProcessValue(lambda: number)


def _allocate(path: str, size: int) -> None:
    """Take room on the disk for the first bytes of a file, which is made where there is none."""
    try:
        with Path(path).open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise NotWritten(
            f"the files of the workers' metrics ({error.strerror})",
            "room for them",
            "make room, or set TMPDIR to a folder on another disk",
        ) from error
