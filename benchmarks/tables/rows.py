"""Rows that are no cell of a matrix: one JSON file each in a working directory, made once."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from feint import data, victims
from feint.bench.artifacts import weights
from feint.evaluation import jsonl
from feint.evaluation.provenance import provenance
from feint.models import networks
from feint.models.networks import Classifier
from feint.recipes.store import atomic_write

Row = dict[str, Any]
Jobs = Iterator[tuple[str, Callable[[], Row]]]  # the name of each row, and what makes it


def keep(folder: Path, name: str, job: Callable[[], Row], command: str) -> None:
    """Write the row of `job` to `folder`, unless that or the file of lines beside it has one."""
    if name not in jsonl.entries(folder):
        row = {"name": name, "command": command, **job(), "provenance": provenance()}
        with atomic_write(folder / f"{name}.json") as partial_file:
            partial_file.write_text(json.dumps(row, indent=1) + "\n")


def slug(name: str) -> str:
    """Return the name of a row as the name of a file."""
    return name.replace(" ", "-").replace("+", "and").translate(str.maketrans("", "", ",()"))


def prefix_of(victim: str) -> str:
    """Return what the names of a victim's rows begin with; those of CIFAR-10, once the only one, with nothing."""
    return "" if victim == "CIFAR-10" else f"{victim}-"


def published_resnet20() -> Classifier:
    """Return the published ResNet-20 on CIFAR-10. Raises `MissingData` where its weights are not under FEINT_DATA."""
    network = networks.get("resnet20", data.load("cifar10"))
    return victims.load_published(weights("weights_cifar10_resnet20.npz"), network)
