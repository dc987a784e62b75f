"""Run all targets and write results/fuzz.json: `python -m tests.fuzz [CASES_BY_HYPOTHESIS] [CASES_BY_ATHERIS]`."""

import importlib.util
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz import structured
from tests.fuzz.targets import ALL

from feint.evaluation.provenance import provenance

OUT = Path(__file__).parents[2] / "results" / "fuzz.json"
SEED = 1
PATIENCE = 600  # seconds for one target


def by_hypothesis(name: str, cases: int) -> dict[str, Any]:
    """A row of what hypothesis ran and found."""
    start = time.monotonic()
    ran, accepted, error = structured.run(name, cases)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return _row(name, "hypothesis", ran, accepted, time.monotonic() - start, peak, error)


def by_atheris(name: str, cases: int) -> dict[str, Any]:
    """A row of what atheris ran and found."""
    start = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(cases), str(SEED)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    ran, accepted, peak = (
        int((re.findall(form, run.stderr, re.M) or ["0"])[-1])
        for form in (r"number_of_executed_units: *(\d+)", r"^accepted (\d+)$", r"^peak (\d+)$")
    )
    error = "" if run.returncode == 0 and ran else run.stderr[-2000:]
    return _row(name, "atheris", ran, accepted, time.monotonic() - start, peak, error)


def _row(name: str, by: str, cases: int, accepted: int, seconds: float, peak: int, error: str) -> dict[str, Any]:
    row = {"target": name, "by": by, "cases": cases, "accepted": accepted, "seconds": round(seconds, 1)}
    return row | {"peak_mib": peak, "found": error}


def main(hypothesis: str = "2000", atheris: str = "250000") -> int:
    ways = [(by_hypothesis, int(hypothesis))]
    if importlib.util.find_spec("atheris"):
        ways.append((by_atheris, int(atheris)))
    else:
        print("no atheris here: its cases are left out")
    rows = []
    for way, cases in ways:
        for name in ALL:
            rows.append(way(name, cases))
            print(*(f"{k}={v}" for k, v in rows[-1].items()), flush=True)
    total = {key: round(sum(row[key] for row in rows)) for key in ("cases", "seconds")}
    print(*(f"{k}={v}" for k, v in total.items()))
    command = f"python -m tests.fuzz {hypothesis} {atheris}"
    body = {"command": command, "provenance": provenance(), **total, "rows": rows}
    OUT.write_text(json.dumps(body, indent=1) + "\n")
    return int(any(row["found"] for row in rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
