"""Run all scenes, or those named, and write results/load.json: `python -m benchmarks.load [SCENE ...]`."""

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.load import cost, faults, front, memory, profile, workers
from benchmarks.load.progress import print_line
from benchmarks.record import RESULTS, record

Scene = Callable[[Path], list[dict[str, Any]]]
MEMORY = functools.partial(memory.rows, minutes=10)
SCENES: dict[str, Scene] = {
    "cost": cost.rows,
    "profile": profile.rows,
    "workers": workers.rows,
    "front": front.rows,
    "faults": faults.rows,
    "memory": MEMORY,
}
OUT = RESULTS / "load.json"
STACK = "onnxruntime", "uvicorn", "uvloop", "msgspec", "grpclib", "h2", "grpcio", "redis"


def main() -> None:
    """Run the scenes of the command line; each is recorded as soon as it is over."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=", ".join(SCENES))
    parser.add_argument("--minutes", type=float, default=10, help="of the scene memory")
    options = parser.parse_args()
    if unknown := set(options.scenes) - set(SCENES):
        parser.error(f"{', '.join(sorted(unknown))}: no scene; there are {', '.join(SCENES)}")
    scenes = SCENES | {"memory": functools.partial(memory.rows, minutes=options.minutes)}
    for name in options.scenes or SCENES:
        run(name, scenes[name])


def run(name: str, scene: Scene) -> None:
    """Run a scene and record its rows."""
    print_line(f"scene {name}")
    with tempfile.TemporaryDirectory(prefix="feint-load-") as room:
        rows = scene(Path(room))
    record(OUT, name, f"python -m benchmarks.load {name}", rows, packages={package: package for package in STACK})


if __name__ == "__main__":
    main()
