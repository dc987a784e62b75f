"""Run every benchmark in one process and write results/bench.json: `python -m benchmarks.speed [NAME ...]`."""

import sys
import warnings

warnings.filterwarnings("ignore")  # ART and its dependencies warn of much that is theirs to mend

import torch  # noqa: E402

from benchmarks.record import RESULTS, record  # noqa: E402
from benchmarks.speed import (  # noqa: E402
    apgp,
    apmsa,
    cells,
    data_free,
    detectors,
    domains,
    equations,
    evidence,
    exports,
    knockoff,
    ledgers,
    marked,
    poisoning,
    round_trips,
    vectors,
    wall,
)

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
    "domains": domains.cost,
    "equations": equations.speed,
    "evidence": evidence.cost,
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
    "marked": marked.cost,
    "round_trips": round_trips.cost,
}
OUT = RESULTS / "bench.json"
PACKAGES = {"art": "adversarial-robustness-toolbox"}


def main(*names: str) -> None:
    """Run the named benchmarks, or all of them, and record their rows."""
    for name in names or BENCHMARKS:
        rows = BENCHMARKS[name]()
        torch.set_num_threads(2)
        record(OUT, name, f"python -m benchmarks.speed {name}", rows, packages=PACKAGES)


if __name__ == "__main__":
    main(*sys.argv[1:])
