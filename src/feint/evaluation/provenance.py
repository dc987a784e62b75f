"""Provenance of a row: versions, hardware, threads and the revision of the code."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path


@functools.cache
def provenance() -> dict[str, str | int]:
    """Return the provenance of every row that this process writes."""
    import torch

    packages = {name: importlib.metadata.version(name) for name in ("feint", "torch", "numpy")}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return packages | {
        "python": platform.python_version(),
        "device": device,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "revision": _revision(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _revision() -> str:
    """Return the commit of this code, with "+" where files differ from it; empty outside a checkout."""

    def git(*words: str) -> str:
        run = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        return run.stdout.strip() if run.returncode == 0 else ""

    try:
        revision = git("rev-parse", "--short=12", "HEAD")
        return revision + ("+" if revision and git("status", "--porcelain", "--untracked-files=no", "--", ".") else "")
    except OSError:
        return ""
