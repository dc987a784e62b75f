"""Servers as processes of their own: started, watched through /proc, and ended."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port on loopback that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """Process of a command that listens on `port`; it is ended with the block."""

    def __init__(self, command: Sequence[str], port: int, *, log: Path, patience: float = 60.0) -> None:
        self.command, self.port, self.log, self.patience = list(command), port, log, patience

    def __enter__(self) -> "Server":
        self.start()
        return self

    def start(self) -> None:
        """Start or restart the process, and wait until it listens; raise `RuntimeError` if it does not."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)
        end = time.monotonic() + self.patience
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{' '.join(self.command)} does not listen:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def reset_peak(self) -> None:
        """Begin to measure the `peak` of memory anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    @property
    def peak(self) -> float:
        """The largest memory since `reset_peak` in MiB."""
        (line,) = [line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmHWM" in line]
        return int(line.split()[1]) / 1024

    def kill(self) -> None:
        """Kill the process, as a crash would."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def wait(self, seconds: float) -> int:
        """Return the exit code of a process that ends by itself."""
        return self._process.wait(seconds)

    @property
    def processor_seconds(self) -> float:
        """Processor time of this process and its running children."""
        return sum(_ticks(pid) for pid in [self._process.pid, *_children(self._process.pid)]) / TICK

    @property
    def memory(self) -> float:
        """Resident memory of the process itself, in MiB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0
    return int(fields[11]) + int(fields[12])


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [grandchild for child in map(int, listed) for grandchild in (child, *_children(child))]
