"""Run what is named, or all, and write results/soak.json: `python -m soak [cost] [front] [memory] [faults]`."""

import json
import sys
from pathlib import Path

from feint.evaluation.provenance import provenance
from soak import cost, memory

SCENES = {"cost": cost.rows, "memory": memory.rows}
OUT = Path(__file__).parents[1] / "results" / "soak.json"


def main(*names: str) -> None:
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name in names or SCENES:
        rows = SCENES[name]()
        kept[name] = {"command": f"python -m soak {name}", "provenance": provenance(), "rows": rows}
        for row in rows:
            print(name, *(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))
        OUT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
