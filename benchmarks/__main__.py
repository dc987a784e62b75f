"""Run every benchmark in one process and write results/bench.json: `python -m benchmarks [NAME ...]`."""

import importlib.metadata
import json
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")  # ART and its dependencies warn of much that is theirs to mend

import torch  # noqa: E402

from benchmarks import (  # noqa: E402
    apgp,
    apmsa,
    cells,
    data_free,
    detectors,
    equations,
    exports,
    knockoff,
    ledgers,
    poisoning,
    vectors,
    wall,
)
from feint.evaluation.provenance import provenance  # noqa: E402

BENCHMARKS = {
    "apgp": apgp.speed,
    "apgp_optimum": apgp.optimum,
    "apmsa": apmsa.speed,
    "poisoning": poisoning.cost,
    "vectors": vectors.speed,
    "wall": wall.cost,
    "imports": wall.imports,
    "memory": wall.memory,
    "loading": wall.loading,
    "data_free": data_free.speed,
    "detectors": detectors.speed,
    "equations": equations.speed,
    "exports": exports.cost,
    "knockoff": knockoff.lenet,
    "knockoff_cells": knockoff.cells,
    "knockoff_adaptive": knockoff.adaptive,
    "knockoff_resnet20": knockoff.resnet20,
    "copycat": knockoff.copycat,
    "reopening": cells.reopening,
    "scheduling": cells.scheduling,
    "scaling": cells.scaling,
    "ledgers": ledgers.cost,
}
OUT = Path(__file__).parents[1] / "results" / "bench.json"


def main(*names: str) -> None:
    kept = json.loads(OUT.read_text()) if OUT.exists() else {}
    for name in names or BENCHMARKS:
        rows = BENCHMARKS[name]()
        torch.set_num_threads(2)
        art = importlib.metadata.version("adversarial-robustness-toolbox")
        kept[name] = {
            "command": f"python -m benchmarks {name}",
            "provenance": provenance() | {"art": art},
            "rows": rows,
        }
        for row in rows:
            print(name, *(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))
        OUT.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
