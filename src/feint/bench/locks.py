"""Leases on cells and artifacts, for processes and machines that share one folder."""

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

from feint.errors import NotWritten

BEAT, PATIENCE = 5.0, 30.0  # seconds


class Leases:
    """Leases on names, one file each in a folder, kept alive by a heartbeat as long as the block runs.

    A lease is free again when it is released, when its process has ended on this machine, or when its heartbeat has not
    moved for `patience` seconds. This process's clock measures that: clocks of different machines are never compared.
    A dead lease is taken over by creating the file of the next number, which only one process can. If a machine sleeps
    for longer than `patience`, a cell is run twice, and the first row stays (`Results.add`).

    Args:
        folder: Folder of the lease files; created at the first claim, removed with the last lease.
        beat: Seconds between two heartbeats.
        patience: Seconds without a heartbeat after which a lease is dead.
    """

    def __init__(self, folder: Path, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self._folder, self._beat, self._patience = folder, beat, patience
        self._held: dict[str, Path] = {}
        self._beats: dict[Path, tuple[int, float]] = {}  # time of the last heartbeat, and when it was first read
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> "Leases":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        for name in list(self._held):
            self.release(name)
        with contextlib.suppress(OSError):  # another process still has leases there
            self._folder.rmdir()

    def claim(self, name: str) -> bool:
        """Take the lease on a name.

        Returns:
            Whether this process has the lease from now on.

        Raises:
            NotWritten: The lease file cannot be written.
        """
        try:
            files = sorted(self._folder.glob(f"{name}.*"), key=_number)
        except FileNotFoundError:  # another process removed the folder, with its last lease, while it was read
            files = []
        if files and self._alive(files[-1]):
            return False
        file = self._folder / f"{name}.{_number(files[-1]) + 1 if files else 0}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with file.open("x") as lease:
                json.dump({"host": _host(), "process": os.getpid()}, lease)
        except (FileExistsError, FileNotFoundError):  # another was first, or removed the folder with its last lease
            return False
        except OSError as error:
            raise NotWritten(
                f"{file}: {error}", "room and permission to write it", "free some space or go elsewhere"
            ) from error
        with self._lock:
            self._held[name] = file
        for old in files:
            old.unlink(missing_ok=True)
        return True

    def release(self, name: str) -> None:
        """Release the lease on a name."""
        with self._lock:
            self._held.pop(name).unlink(missing_ok=True)

    def _alive(self, file: Path) -> bool:
        try:
            moved, written = file.stat().st_mtime_ns, file.read_text()
        except FileNotFoundError:
            return False
        if _ended(written):
            return False
        last, since = self._beats.get(file, (None, 0.0))
        if moved != last:
            self._beats[file] = moved, time.monotonic()
            return True
        return time.monotonic() - since < self._patience

    def _keep_alive(self) -> None:
        while not self._over.wait(self._beat):
            with self._lock:
                for file in self._held.values():
                    with contextlib.suppress(OSError):
                        os.utime(file)


def _ended(written: str) -> bool:
    """Return whether a lease's process ran on this machine and has ended."""
    try:
        owner = json.loads(written)
    except ValueError:  # being written
        return False
    return owner["host"] == _host() and not Path(f"/proc/{owner['process']}").exists() and Path("/proc/self").exists()


def _number(file: Path) -> int:
    return int(file.suffix[1:])


def _host() -> str:
    """Return an identity of this boot of this machine and of this container: process numbers hold only there."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        boot, namespace = "", ""
    return f"{socket.gethostname()} {boot} {namespace}"
