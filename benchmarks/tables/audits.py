"""What audits of three victims find, beside the suites that attack the same victims.

No suite: an audit chooses attackers, budgets and seeds by itself.
"""

from functools import partial
from pathlib import Path

from benchmarks.tables.rows import Jobs, Row
from feint import bench, data, victims
from feint.audit.run import Announcements, AuditRequest, AuditSetup, run
from feint.bench.artifacts import weights
from feint.bench.suite import Suite
from feint.errors import MissingData
from feint.evaluation.robust import attackers, robust
from feint.evaluation.sample_accuracy import SampleAccuracy
from feint.evaluation.significance import variance
from feint.models import networks
from feint.models.networks import Network
from feint.models.training import Pretrained, pretrain, train
from feint.progress import ProgressCallback
from feint.recipes import registry
from feint.recipes.recipe import from_table

SUITES = {"digits": "quick", "fashion_mnist": "fashion_mnist", "cifar10": "cifar10"}  # data, and a suite of these
MINUTES = {"digits": 10.0, "fashion_mnist": 14.0, "cifar10": 45.0}  # enough for one seed of each budget
DEFENSES = {"none": "none", "LabelOnly": "label only"}  # in the audit, and in the suite
FOLDER = Path("feint-bench") / "tables" / "audits"


class Unannounced(Announcements):
    """Announcements that nobody reads."""

    def samples(self, samples: object) -> None: ...

    def accuracy(self, accuracy: SampleAccuracy) -> None: ...

    def plan(self, setup: AuditSetup) -> None: ...


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield one job for each audit."""
    for name, suite in SUITES.items():
        yield name, partial(row, name, suite, progress)


def _start(suite: Suite, network: Network, progress: ProgressCallback) -> Path | None:
    """Return a directory of the weights with which an attacker of the suite begins, None where all are new."""
    for entry in suite.attacks.values():
        training = from_table(entry.recipe.get("training", {"kind": "Training"}), registry.vocabulary())
        if isinstance(training.start, Pretrained):
            place = FOLDER / "pretrained" / network.name
            victims.save(place, pretrain(network, training.start, progress))
            return place
    return None


def row(name: str, suite: str, progress: ProgressCallback) -> Row:
    """Return the worst cases of an audit at the budgets of a suite."""
    chosen, images = bench.load(suite), data.load(name)
    ((victim, entry),) = chosen.victims.items()
    network = networks.get(entry.network, images)
    if entry.weights is not None:
        model = victims.load_published(weights(entry.weights), network)
    else:
        model = train(network, images.train, training=entry.training, progress=progress)
    defenses = tuple(it for it in DEFENSES if it != "none")
    start = _start(chosen, networks.get(entry.surrogate or entry.network, images), progress)
    request = AuditRequest(name, entry.pool, defenses, MINUTES[name], chosen.budgets, pretrained=start)
    done = run(model, request, FOLDER / name, announce=Unannounced(), progress=progress)
    cells = []
    for defense in DEFENSES:
        for budget in chosen.budgets:
            worst = robust(done.results, defense, budget)
            if worst is None:
                raise MissingData(f"no worst case of {defense} at {budget:,} queries", "one", "run the audit again")
            rows = attackers(done.results, defense, budget)[worst.attack]
            cells.append({
                "defense": DEFENSES[defense], "budget": budget, "stealer_accuracy": worst.share, "low": worst.low,
                "high": worst.high, "attack": worst.attack, "seeds": worst.seeds, "variance": variance(rows),
                "n_test": int(rows[0].scores["n_test"]),
            })  # fmt: skip
    return {"victim": victim, "data": name, "suite": suite, "minutes": request.minutes, "cells": cells}
