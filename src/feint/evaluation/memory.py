"""Peak memory of a job, as Linux reports it; NaN on other systems.

psutil reports the current use of a process, and no peak on Linux. `resource.getrusage` reports the peak of its whole
life, which cannot be reset.
"""

import ctypes
import math
from collections.abc import Callable
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
TRIM = getattr(ctypes.pythonapi, "malloc_trim", None)  # glibc's; other C libraries have none


def reset_peak() -> None:
    """Reset the peak, so that `peak_mb` counts from here.

    Memory that earlier jobs freed is returned to the system first, since glibc holds it: the bit-depth cell of
    `cifar10` after APMSA's counted 2,842 MiB without this, 761 with it.
    """
    if TRIM:
        TRIM(0)
    try:
        RESET.write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """Return the highest memory use of this process in MiB since `reset_peak`, everything loaded before included."""
    return _mib("VmHWM")


def added_mb(job: Callable[[], object]) -> float:
    """Return by how many MiB at most the process grows while `job` runs."""
    reset_peak()
    before = _mib("VmRSS")
    job()
    return max(0.0, peak_mb() - before)


def _mib(name: str) -> float:
    try:
        lines = STATUS.read_text().splitlines()
        RESET.stat()  # without it the peak cannot be reset, and would be an earlier job's
    except OSError:
        return math.nan
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
