"""Claims on Fashion-MNIST: copies, what attackers do to them, and innocents, by each mark."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.tables.rows import Jobs, Row
from feint import data, train
from feint.data import Split
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
    Distilled,
    FineTuned,
    Gated,
    Mark,
    Policy,
    Pruned,
    Quantized,
    SameMistakes,
    Triggers,
    claim,
    marked_answers,
    plan_controls,
    train_controls,
    trained_mark,
)
from feint.ownership.rehearsal import rehearse
from feint.ownership.selection import labels_of
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service

WORK = Path("feint-bench") / "tables" / "ownership"
DATA, NETWORK, COUNT = "fashion_mnist", "lenet", 60
VICTIM = Training(epochs=10, learning_rate=0.05)
CONTROL = Training(epochs=6, learning_rate=0.05)
COPY = Training(epochs=10, least_steps=1200, batch_size=64, learning_rate=0.05)
POLICY = Policy(alpha=1e-3, most_false=0.05)
TUNING = Training(epochs=10, batch_size=64, learning_rate=0.01)
REMOVALS = {
    "last layer tuned": FineTuned("last", TUNING),
    "all layers tuned": FineTuned("all", TUNING),
    "new last layer": FineTuned("fresh", TUNING),
    "half of the weights pruned": Pruned(0.5),
    "four fifths pruned": Pruned(0.8),
    "8 bits": Quantized(8),
    "5 bits": Quantized(5),
    "distilled to an MLP": Distilled("mlp", COPY),
    "distilled anew": Distilled("lenet", COPY),
    "WRK": WRK(training=TUNING),
    "gate": Gated(0.05),
}


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield the rows: copies by budget and answers, then removals, marked answers, and trained marks."""
    for queries in (1000, 5000, 10_000):
        for answers in ("probabilities", "labels"):
            for seed in range(3):
                yield f"copy {queries} {answers} {seed}", partial(copied, queries, answers, seed)
    for network in ("mlp", "linear"):
        for answers in ("probabilities", "labels"):
            yield f"copy by {network} {answers}", partial(copied, 10_000, answers, 0, network=network)
    for defense in ("MAD-argmax", "top-1"):
        for seed in range(3):
            yield f"copy behind {defense} {seed}", partial(copied, 10_000, "probabilities", seed, defense=defense)
    for name in REMOVALS:
        for answers in ("probabilities", "labels"):
            yield f"removal {name} {answers}", partial(removed, name, answers)
    for sybils in (1, 10, 100):
        for answers in ("probabilities", "labels"):
            yield f"marked answers {sybils} {answers}", partial(served, sybils, answers)
    for step in (0.0, 1 / 255, 8 / 255):
        for answers in ("probabilities", "labels"):
            yield f"trained mark {step:.4f} {answers}", partial(trained, step, answers)
    yield "innocents", innocents


@cache
def victim() -> Classifier:
    images = data.load(DATA)
    return train(networks.get(NETWORK, images), images.train, training=VICTIM)


@cache
def controls() -> Mapping[str, Classifier]:
    images = data.load(DATA)
    plans = plan_controls(COUNT, networks.get(NETWORK, images), CONTROL)
    return {place.name: model for place, model in train_controls(WORK / "controls", plans, images.train, images.pool)}


@cache
def marks() -> tuple[Mark, ...]:
    images, model = data.load(DATA), victim()
    cast = rehearse(model, images.train, images.pool, 4)
    return tuple(
        kind.mark(model, images.test, references=cast.references, copies=cast.copies)
        for kind in (SameMistakes(), Triggers())
    )


DEFENSES: dict[str, Callable[[], Defense]] = {
    "": Defense,
    "MAD-argmax": lambda: Defense(outputs=[MADArgmax()]).fit(victim(), data.load(DATA).train),
    "top-1": lambda: Defense(outputs=[TopK(1)]),
}


def stolen(
    source: Service, queries: int, answers: str, seed: int, *, network: str = NETWORK
) -> tuple[Classifier, Split]:
    """Return a copy, and the attacker's inputs with the labels that were stolen."""
    images = data.load(DATA)
    rows = np.random.default_rng(seed).permutation(len(images.pool))[:queries]
    pool = images.pool.take(rows, part=f"pool, seed {seed}")
    p = source.oracle(client="mallory", budget=queries).ask(pool.inputs())
    targets = p.argmax(-1) if answers == "labels" else p
    copy = learn(networks.get(network, images), pool.inputs(), targets, COPY, seed=seed)
    return copy, Split.of(pool.values, p.argmax(-1).numpy(), domain=pool.domain)


def judged(suspect: nn.Module, evidence: tuple[Mark, ...], model: nn.Module | None = None) -> Row:
    """Return what a claim says of a suspect, each mark alone and all together."""
    images = data.load(DATA)
    known = {name: [labels_of(each, mark.x).numpy() for mark in evidence] for name, each in controls().items()}
    row: Row = {
        "accuracy": metrics.stealer_accuracy(suspect, images.test),
        "fidelity": metrics.fidelity(suspect, model or victim(), images.test),
        "controls": len(known),
    }
    service = Service(suspect)
    for i, mark in enumerate(evidence):
        alone = {name: [answers[i]] for name, answers in known.items()}
        row[mark.method] = _result(service, (mark,), alone)
    row["together"] = _result(service, evidence, known)
    return row


def _result(suspect: Service, evidence: tuple[Mark, ...], known: Mapping[str, list[np.ndarray]]) -> Row:
    result = claim(suspect.oracle(client="owner", budget=1000), evidence, known, policy=POLICY)
    return {
        "log_e": float(np.log(result.e_value)),
        "claimed": "little evidence" not in result.reasons and "controls agree" not in result.reasons,
        "asked": result.queries,
        "false_claims": result.false_claims,
        "bound": result.bound,
        "agreed": sum(part.agreed for part in result.evidence),
        "compared": sum(part.compared for part in result.evidence),
        "highest_control": max(part.highest for part in result.evidence),
    }


def copied(queries: int, answers: str, seed: int, *, network: str = NETWORK, defense: str = "") -> Row:
    copy, _ = stolen(Service(victim(), DEFENSES[defense]()), queries, answers, seed, network=network)
    about = {"kind": "copy", "queries": queries, "answers": answers, "seed": seed, "network": network}
    return about | {"defense": defense} | judged(copy, marks())


def removed(name: str, answers: str) -> Row:
    copy, inputs = stolen(Service(victim()), 10_000, answers, 0)
    before = metrics.stealer_accuracy(copy, data.load(DATA).test)
    changed = REMOVALS[name].remove(copy, inputs, seed=1)
    return {"kind": "removal", "removal": name, "answers": answers, "before": before} | judged(changed, marks())


def served(sybils: int, answers: str) -> Row:
    """Return what marked answers tell of a copy that so many accounts asked for, by the account that says most."""
    images = data.load(DATA)
    service = Service(victim(), Defense(outputs=[Marked(key="an experiment's, not a secret")]))
    x = images.pool.inputs()
    parts = [service(Query(rows, account("mallory", i))).p for i, rows in enumerate(x.chunk(sybils))]
    p = torch.cat(parts)
    targets = p.argmax(-1) if answers == "labels" else p
    copy = learn(networks.get(NETWORK, images), x, targets, COPY, seed=0)
    accounts = [service.ledger[account("mallory", i)] for i in range(sybils)]
    whole = [marked_answers(each, images.domain, 10) for each in accounts if len(each.rows("marked"))]
    best = max((judged(copy, (mark,))["together"] for mark in whole), key=lambda result: result["log_e"])
    joined = Mark.of(
        "marked answers", images.domain, 10, torch.cat([mark.x for mark in whole]),
        torch.from_numpy(np.concatenate([mark.labels for mark in whole])),
    )  # fmt: skip
    honest = (labels_of(victim(), images.test.inputs()) == images.test.labels).float().mean().item()
    q = service(Query(images.test.inputs(), "honest")).p.argmax(-1)
    lost = honest - (q == images.test.labels).float().mean().item()
    return {
        "kind": "marked answers", "sybils": sybils, "answers": answers, "marked": len(joined),
        "best account": best, "honest accuracy lost": lost,
    } | judged(copy, (joined,))  # fmt: skip


def trained(step: float, answers: str) -> Row:
    """Return what a trained mark tells of a copy; a margin of 0 is a plain backdoor, which is known to fail."""
    images = data.load(DATA)
    recipe = MarginWatermark(step=step, training=Training(epochs=3, learning_rate=0.01))
    model, _ = recipe.retrain(victim(), images.train)
    mark = trained_mark(recipe, images.train, 10)
    copy, _ = stolen(Service(model), 10_000, answers, 0)
    learned = float((labels_of(model, mark.x).numpy() == mark.labels).mean())
    own = metrics.stealer_accuracy(model, images.test)
    about = {"kind": "trained mark", "step": step, "answers": answers, "learned": learned, "own accuracy": own}
    return about | judged(copy, (mark,), model)


def innocents() -> Row:
    """Return how many of the controls would be claimed, each against all others."""
    row = judged(next(iter(controls().values())), marks())
    accuracies = [metrics.stealer_accuracy(model, data.load(DATA).test) for model in controls().values()]
    return {"kind": "innocents", "least accuracy": min(accuracies), "greatest accuracy": max(accuracies)} | row
