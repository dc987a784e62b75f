"""Run what is named, or all, and write results/soak.json: `python -m soak [cost] [front] [faults] [memory]`."""

import argparse
import functools
import importlib.metadata
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from feint.evaluation.provenance import provenance
from soak import cost, faults, front, memory
from soak.progress import told

Scene = Callable[[Path], list[dict[str, Any]]]
MEMORY = functools.partial(memory.rows, minutes=10)
SCENES: dict[str, Scene] = {"cost": cost.rows, "front": front.rows, "faults": faults.rows, "memory": MEMORY}
OUT = Path(__file__).parents[1] / "results" / "soak.json"
STACK = "onnxruntime", "uvicorn", "uvloop", "msgspec", "grpcio", "redis"


def main() -> None:
    """Each scene is written as soon as it is over."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("scenes", nargs="*", metavar="SCENE", help=", ".join(SCENES))
    parser.add_argument("--minutes", type=float, default=10, help="of the scene memory")
    given = parser.parse_args()
    if unknown := set(given.scenes) - set(SCENES):
        parser.error(f"{', '.join(sorted(unknown))}: no scene; there are {', '.join(SCENES)}")
    scenes = SCENES | {"memory": functools.partial(memory.rows, minutes=given.minutes)}
    for name in given.scenes or SCENES:
        run(name, scenes[name])


def run(name: str, scene: Scene) -> None:
    """Run a scene and keep its rows."""
    told(f"scene {name}")
    with tempfile.TemporaryDirectory(prefix="feint-soak-") as room:
        rows = scene(Path(room))
    versions = {package: importlib.metadata.version(package) for package in STACK}
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    kept[name] = {"command": f"python -m soak {name}", "provenance": provenance() | versions, "rows": rows}
    OUT.write_text(json.dumps(kept, indent=1) + "\n")
    for row in rows:
        print(name, *(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
