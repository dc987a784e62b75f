"""Claims on digits and Fashion-MNIST: copies, what attackers do to them, and innocents, by each mark."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.tables.rows import Jobs, Row
from feint import data, train
from feint.data import Dataset, Split
from feint.defense import Defense
from feint.defenses.boundary import MarginWatermark
from feint.defenses.outputs import MADArgmax, Marked, TopK
from feint.evaluation import metrics
from feint.models import networks
from feint.models.networks import Classifier
from feint.models.training import Training, learn
from feint.oracle import account
from feint.ownership import (
    WRK,
    Claim,
    Distilled,
    FineTuned,
    GatedCopy,
    Mark,
    Pruned,
    Quantized,
    marked_answers,
    trained_mark,
)
from feint.ownership.removals import Removal
from feint.ownership.selection import labels_of
from feint.ownership.survival import ClaimTrial, judge
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service

WORK = Path("feint-bench") / "tables" / "ownership"
# The victim's seed is 0. A copy of that seed and network begins with the victim's own weights, which no attacker has:
# of Fashion-MNIST it was claimed with an e-value of 10^4.2, and four copies of other seeds not at all.
COPIES = range(1, 6)


@dataclass(frozen=True)
class Setup:
    """Data set and network, with trainings of the victim, innocents, copies, tuned copies and marked victims."""

    data: str
    network: str
    other: str
    budgets: tuple[int, ...]
    victim: Training
    control: Training
    copy: Training
    tuning: Training
    marking: Training

    @property
    def trial(self) -> ClaimTrial:
        return ClaimTrial(controls=60, rehearsals=8, least=5, training=self.control)

    @property
    def images(self) -> Dataset:
        return data.load(self.data)


SETUPS = {
    "digits": Setup(
        "digits", "mlp", "lenet", (100, 300, 700), Training(), Training(),
        Training(epochs=20, least_steps=800, batch_size=32, learning_rate=0.05),
        Training(epochs=10, batch_size=32, learning_rate=0.01), Training(epochs=150, batch_size=64),
    ),
    "fashion_mnist": Setup(
        "fashion_mnist", "lenet", "mlp", (1000, 5000, 10_000),
        Training(epochs=10, learning_rate=0.05), Training(epochs=3, learning_rate=0.05),
        Training(epochs=10, least_steps=1200, batch_size=64, learning_rate=0.05),
        Training(epochs=10, batch_size=64, learning_rate=0.01), Training(epochs=10, learning_rate=0.05),
    ),
}  # fmt: skip


def removals(setup: Setup) -> dict[str, Removal]:
    """Return what is done to a copy."""
    tuning = setup.tuning
    return {
        "last layer tuned": FineTuned("last", tuning),
        "all layers tuned": FineTuned("all", tuning),
        "new last layer": FineTuned("fresh", tuning),
        "half of the weights pruned": Pruned(0.5),
        "four fifths pruned": Pruned(0.8),
        "8 bits": Quantized(8),
        "5 bits": Quantized(5),
        "distilled to another network": Distilled(setup.other, setup.copy),
        "distilled anew": Distilled(setup.network, setup.copy),
        "WRK": WRK(training=tuning),
        "gate": GatedCopy(0.05),
    }


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield the rows of each set: copies by budget and answers, removals, marked answers, trained marks, innocents."""
    for setup in SETUPS.values():
        yield from ((f"{setup.data} {name}", partial(job, setup)) for name, job in _jobs(setup))


def _jobs(setup: Setup) -> Iterator[tuple[str, Callable[[Setup], Row]]]:
    most = setup.budgets[-1]
    for answers in ("probabilities", "labels"):
        for queries in setup.budgets:
            for seed in COPIES:
                yield f"copy {queries} {answers} {seed}", partial(copied, queries=queries, answers=answers, seed=seed)
        yield f"copy by another network {answers}", partial(copied, queries=most, answers=answers, network=setup.other)
        for name in removals(setup):
            yield f"removal {name} {answers}", partial(removed, name=name, answers=answers)
        for sybils in (1, 10, 100):
            yield f"marked answers {sybils} {answers}", partial(served, sybils=sybils, answers=answers)
        for step in (0.0, 1 / 255, 8 / 255):
            yield f"trained mark {step:.4f} {answers}", partial(trained, step=step, answers=answers)
    for defense in ("MAD-argmax", "top-1"):
        for seed in COPIES[:3]:
            yield (
                f"copy behind {defense} {seed}",
                partial(copied, queries=most, answers="probabilities", seed=seed, defense=defense),
            )
    yield "innocents", innocents


@cache
def victim(setup: Setup) -> Classifier:
    return train(networks.get(setup.network, setup.images), setup.images.train, training=setup.victim)


@cache
def controls(setup: Setup) -> Mapping[str, Classifier]:
    images = setup.images
    return setup.trial.trained_controls(WORK / setup.data, networks.get(setup.network, images), images)


@cache
def marks(setup: Setup) -> tuple[Mark, ...]:
    return setup.trial.marks(victim(setup), setup.images)


def service(setup: Setup, defense: str) -> Service:
    """Return the victim behind a defense."""
    images = setup.images
    if defense == "MAD-argmax":
        fitted = Defense(outputs=[MADArgmax()]).fit(victim(setup), images.train)
        return Service(victim(setup), fitted)
    return Service(victim(setup), Defense(outputs=[TopK(1)] if defense else []))


def stolen(
    setup: Setup, source: Service, queries: int, answers: str, seed: int, network: str = ""
) -> tuple[Classifier, Split]:
    """Return a copy, and the attacker's inputs with the labels that were stolen."""
    images = setup.images
    rows = np.random.default_rng(seed).permutation(len(images.pool))[:queries]
    pool = images.pool.take(rows, part=f"pool, seed {seed}")
    p = source.oracle(client="mallory", budget=queries).ask(pool.inputs())
    targets = p.argmax(-1) if answers == "labels" else p
    copy = learn(networks.get(network or setup.network, images), pool.inputs(), targets, setup.copy, seed=seed)
    return copy, Split.of(pool.values, p.argmax(-1).numpy(), domain=pool.domain)


def judged(setup: Setup, suspect: nn.Module, evidence: Sequence[Mark], model: nn.Module | None = None) -> Row:
    """Return what a claim says of a suspect, each mark alone and all together."""
    test = setup.images.test
    innocent = controls(setup).items()
    known = {name: [labels_of(each, mark.x).numpy() for mark in evidence] for name, each in innocent}
    row: Row = {
        "data": setup.data,
        "accuracy": metrics.stealer_accuracy(suspect, test),
        "fidelity": metrics.fidelity(suspect, model or victim(setup), test),
        "controls": len(known),
    }
    policy = setup.trial.policy
    for i, mark in enumerate(evidence):
        alone = {name: [answers[i]] for name, answers in known.items()}
        row[mark.method] = _result(judge(suspect, [mark], alone, policy))
    return row | {"together": _result(judge(suspect, evidence, known, policy))}


def _result(result: Claim) -> Row:
    return {
        "log_e": float(np.log(result.e_value)),
        "claimed": result.is_evident,
        "asked": result.queries,
        "false_claims": result.false_claims,
        "bound": result.bound,
        "agreed": sum(part.agreed for part in result.evidence),
        "compared": sum(part.compared for part in result.evidence),
        "highest_control": max(part.highest for part in result.evidence),
    }


def copied(
    setup: Setup, *, queries: int, answers: str, seed: int = COPIES[0], network: str = "", defense: str = ""
) -> Row:
    copy, _ = stolen(setup, service(setup, defense), queries, answers, seed, network)
    about = {"kind": "copy", "queries": queries, "answers": answers, "seed": seed, "defense": defense}
    return about | {"network": network or setup.network} | judged(setup, copy, marks(setup))


def removed(setup: Setup, *, name: str, answers: str) -> Row:
    copy, inputs = stolen(setup, Service(victim(setup)), setup.budgets[-1], answers, COPIES[0])
    before = metrics.stealer_accuracy(copy, setup.images.test)
    changed = removals(setup)[name].remove(copy, inputs, seed=COPIES[1])
    about = {"kind": "removal", "removal": name, "answers": answers, "before": before}
    return about | judged(setup, changed, marks(setup))


def served(setup: Setup, *, sybils: int, answers: str) -> Row:
    """Return what marked answers tell of a copy for which so many accounts asked, and the account that says most."""
    images, most = setup.images, setup.budgets[-1]
    marking = Service(victim(setup), Defense(outputs=[Marked(key="an experiment's, not a secret")]))
    x = images.pool.inputs(slice(0, most))
    parts = [marking(Query(rows, account("mallory", i))).p for i, rows in enumerate(x.chunk(sybils))]
    p = torch.cat(parts)
    targets = p.argmax(-1) if answers == "labels" else p
    copy = learn(networks.get(setup.network, images), x, targets, setup.copy, seed=COPIES[0])
    accounts = [marking.ledger[account("mallory", i)] for i in range(sybils)]
    whole = [marked_answers(each, images.domain, 10) for each in accounts if len(each.rows("marked"))]
    x_marked, y_marked = torch.cat([mark.x for mark in whole]), np.concatenate([mark.labels for mark in whole])
    joined = Mark.of("marked answers", images.domain, 10, x_marked, torch.from_numpy(y_marked))
    honest = metrics.stealer_accuracy(victim(setup), images.test)
    q = marking(Query(images.test.inputs(), "honest")).p.argmax(-1)
    lost = honest - (q == images.test.labels).float().mean().item()
    best = max((judged(setup, copy, [mark])["together"] for mark in whole), key=lambda result: result["log_e"])
    about = {"kind": "marked answers", "sybils": sybils, "answers": answers, "marked": len(joined)}
    return about | {"best account": best, "honest accuracy lost": lost} | judged(setup, copy, [joined])


def trained(setup: Setup, *, step: float, answers: str) -> Row:
    """Return what a trained mark tells of a copy; one without a margin is a plain backdoor, which is known to fail."""
    images = setup.images
    recipe = MarginWatermark(step=step, training=setup.marking, from_scratch=True)
    model, _ = recipe.retrain(victim(setup), images.train)
    mark = trained_mark(recipe, images.train, 10)
    copy, _ = stolen(setup, Service(model), setup.budgets[-1], answers, COPIES[0])
    learned = float((labels_of(model, mark.x).numpy() == mark.labels).mean())
    own = metrics.stealer_accuracy(model, images.test)
    about = {"kind": "trained mark", "step": step, "answers": answers, "learned": learned, "own accuracy": own}
    return about | judged(setup, copy, [mark], model)


def innocents(setup: Setup) -> Row:
    """Return how many of the controls would be claimed, each against all others."""
    models = controls(setup).values()
    accuracies = [metrics.stealer_accuracy(model, setup.images.test) for model in models]
    about = {"kind": "innocents", "least accuracy": min(accuracies), "greatest accuracy": max(accuracies)}
    return about | judged(setup, next(iter(models)), marks(setup))
