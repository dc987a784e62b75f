"""Leases: who is running which cell, where several processes and machines share one folder."""

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
    """Leases on names, one file each in `folder`, kept alive by a heartbeat as long as the block runs.

    A lease is free again when it is released, when its process has ended on this machine, or when its heartbeat was not
    seen to move for `patience` seconds by this process's own clock: clocks of different machines are never compared.
    Whoever takes over a dead lease makes the file of the next number, which only one can. Should a machine have been
    asleep for so long, a cell is run twice: the first row stays (`Results.add`).
    """

    def __init__(self, folder: Path, *, beat: float = BEAT, patience: float = PATIENCE) -> None:
        self._folder, self._beat, self._patience = folder, beat, patience
        self._held: dict[str, Path] = {}
        self._seen: dict[Path, tuple[int, float]] = {}
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
        """Whether this process has the lease on `name` from now on."""
        files = sorted(self._folder.glob(f"{name}.*"), key=_number)
        if files and self._alive(files[-1]):
            return False
        file = self._folder / f"{name}.{_number(files[-1]) + 1 if files else 0}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with file.open("x") as lease:
                json.dump({"host": _host(), "process": os.getpid()}, lease)
        except (FileExistsError, FileNotFoundError):  # another was first, or took the folder away, being the last
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
        """Let the lease on `name` go."""
        with self._lock:
            self._held.pop(name).unlink(missing_ok=True)

    def _alive(self, file: Path) -> bool:
        try:
            moved, written = file.stat().st_mtime_ns, file.read_text()
        except FileNotFoundError:
            return False
        if _ended(written):
            return False
        last, since = self._seen.get(file, (None, 0.0))
        if moved != last:
            self._seen[file] = moved, time.monotonic()
            return True
        return time.monotonic() - since < self._patience

    def _keep_alive(self) -> None:
        while not self._over.wait(self._beat):
            with self._lock:
                for file in self._held.values():
                    with contextlib.suppress(OSError):
                        os.utime(file)


def _ended(written: str) -> bool:
    """Whether a lease's process was one of this machine, and is no more."""
    try:
        owner = json.loads(written)
    except ValueError:  # being written
        return False
    return owner["host"] == _host() and not Path(f"/proc/{owner['process']}").exists() and Path("/proc/self").exists()


def _number(file: Path) -> int:
    return int(file.suffix[1:])


def _host() -> str:
    """This machine since it was started, and this container on it: a process number means nothing elsewhere."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        room = Path("/proc/self/ns/pid").readlink()
    except OSError:
        boot, room = "", ""
    return f"{socket.gethostname()} {boot} {room}"
