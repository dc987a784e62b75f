"""Write lock/NAME.txt: every package that the job NAME needs, at the version that pip chooses today.

    python lock/resolve.py demo|dev|bench|serve|ray-serve|…

torch is pinned by hand, to the version of which there is a CPU build; its local suffix (+cpu) is left out, so that the
lock says nothing about the machine it was made on. The job serve, a gateway of exported graphs, has no torch at all.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from itertools import chain
from pathlib import Path

TORCH = "torch==2.13.0"
ROOT = Path(__file__).parents[1]
BUILD = ["hatchling", "editables"]  # so that installing Feint itself needs no build environment

project = tomllib.loads((ROOT / "pyproject.toml").read_text())
extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
GATEWAY = extras["serve"] + extras["redis"] + extras["otel"]
RAY_SERVE = extras.pop("ray-serve")  # forty packages more, of another way to serve
JOBS = {
    "demo": extras["report"],
    "dev": [*chain(*extras.values()), *groups["test"], *groups["check"], *groups["docs"]],
    "bench": extras["report"] + extras["data"] + extras["export"] + GATEWAY + groups["bench"],
    "serve": GATEWAY,
    "ray-serve": GATEWAY + RAY_SERVE,
}
TORCHLESS = {"serve", "ray-serve"}
STRANGERS = "interop", "mlserver", "kserve", "openvino", "triton"
BARE = {"strangers"}  # files of models, whose code needs nothing else
APART = {
    name: groups[name] for name in (*STRANGERS, *BARE, "fuzz")
}  # packages of other projects, in environments without Feint or torch


def main(job: str) -> None:
    needed = [TORCH, *project["project"]["dependencies"], *BUILD]
    if job in TORCHLESS:  # it is installed from a wheel, so it builds nothing either
        needed = [it for it in project["project"]["dependencies"] if not it.startswith("torch")]
    wanted = APART.get(job) or [*needed, *JOBS[job]]
    with tempfile.TemporaryDirectory() as room:
        subprocess.run([sys.executable, "-m", "venv", room], check=True)
        pip = [f"{room}/bin/python", "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", *(["--no-deps"] if job in BARE else []), *wanted], check=True)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    pins = [re.sub(r"\+\w+$", "", line) for line in frozen.splitlines() if re.match(r"[\w.-]+==", line)]
    head = f"# python lock/resolve.py {job}: made, not written\n"
    (ROOT / "lock" / f"{job}.txt").write_text(head + "\n".join(pins) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
