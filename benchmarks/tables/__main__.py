"""Make the rows of all tables, or of those named, in results/: `python -m benchmarks.tables [TABLE ...]`.

Rows that are there are not made again. The tables about CIFAR-10 need FEINT_DATA with weights_cifar10_resnet20.npz
(claims: weights_cifar10_resnet56.npz as well) beside cifar10/, cifar100/ and gtsrb/.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.record import RESULTS
from benchmarks.tables import (
    adaptive,
    attackers,
    audits,
    autolycus2024,
    campaign,
    claims,
    dadd2025,
    detectors,
    equations,
    evasions,
    evidence,
    ladder,
    large_images,
    models,
    near_copies,
    options,
    ordinary,
    springboard,
    text_surrogates,
    tramer2016,
)
from benchmarks.tables.rows import Jobs, keep, slug
from feint.cli.terminal import bars
from feint.evaluation import jsonl
from feint.models.cache import cached_in
from feint.progress import ProgressCallback

TABLES: dict[str, tuple[str, Callable[[ProgressCallback], Jobs]]] = {  # the folder in results/, and what makes the rows
    "adaptive": ("adaptive", adaptive.jobs),
    "audits": ("audits", audits.jobs),
    "autolycus2024": ("autolycus2024", autolycus2024.jobs),
    "campaign": ("campaign", campaign.jobs),
    "claims": ("claims", claims.jobs),
    "equations": ("equations", equations.undefended),
    "equations_defended": ("equations", equations.defended),
    "evidence": ("evidence", evidence.streams),
    "promise": ("evidence", evidence.promises),
    "evasions": ("evidence", evasions.jobs),
    "ladder": ("evidence", ladder.jobs),
    "attackers": ("detectors", attackers.jobs),
    "dadd2025": ("dadd2025", dadd2025.jobs),
    "detectors": ("detectors", detectors.jobs),
    "large_images": ("large_images", large_images.jobs),
    "models": ("models", models.jobs),
    "near_copies": ("near_copies", near_copies.jobs),
    "options": ("options", options.jobs),
    "ordinary": ("ordinary", ordinary.jobs),
    "springboard_victims": ("springboard_victims", springboard.jobs),
    "text_surrogates": ("text_surrogates", text_surrogates.jobs),
    "tramer2016": ("tramer2016", tramer2016.jobs),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    chosen = parser.parse_args()
    if unknown := set(chosen.tables) - set(TABLES):
        parser.error(f"{', '.join(sorted(unknown))}: no table; there are {', '.join(TABLES)}")
    torch.set_num_threads(1)
    with bars() as progress, cached_in(Path("feint-bench") / "tables" / "trainings"):
        for table in chosen.tables or TABLES:
            folder, make = TABLES[table]
            run(table, RESULTS / folder, partial(make, progress), progress)


def run(table: str, folder: Path, make: Callable[[], Jobs], progress: ProgressCallback) -> None:
    """Run the jobs of a table whose rows are not in `folder` or the file of lines beside it, and collect them there."""
    jobs = list(make())
    for done, (name, job) in enumerate(jobs):
        progress.step(table, done, len(jobs))
        keep(folder, slug(name), job, f"python -m benchmarks.tables {table}")
    progress.step(table, len(jobs), len(jobs))
    if folder.exists():  # there is a row that was made now
        jsonl.collect(folder)


if __name__ == "__main__":
    main()
