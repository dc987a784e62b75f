"""How much memory a job takes, as Linux tells it; NaN on systems that do not.

psutil knows what a process holds now, and no peak on Linux; `resource.getrusage` knows the peak of its whole life, and
cannot start anew.
"""

import ctypes
import math
from collections.abc import Callable
from pathlib import Path

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
TRIM = getattr(ctypes.pythonapi, "malloc_trim", None)  # glibc's; other C libraries keep what they keep


def forget_peak() -> None:
    """Let the highest memory use so far go, so that `peak_mb` speaks of what comes.

    What earlier jobs freed goes back to the system first. glibc keeps it: the bit-depth cell of `cifar10` after APMSA's
    counted 2,842 MiB without this, 761 with it.
    """
    if TRIM:
        TRIM(0)
    try:
        FORGET.write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """The highest memory use of this process in MiB, all that it loaded included, since `forget_peak`."""
    return _mib("VmHWM")


def added_mb(job: Callable[[], object]) -> float:
    """MiB by which the process grows at most while `job` runs."""
    forget_peak()
    before = _mib("VmRSS")
    job()
    return max(0.0, peak_mb() - before)


def _mib(name: str) -> float:
    try:
        lines = STATUS.read_text().splitlines()
        FORGET.stat()  # without it the highest use cannot be reset, and would be an earlier job's
    except OSError:
        return math.nan
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024
