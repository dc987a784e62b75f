"""Claims on digits and Fashion-MNIST: copies, what attackers do to them, and innocents, by each mark."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables.false_triggers import transferable
from benchmarks.tables.rows import Jobs, Row
from feint import data, train
from feint.attacks.seeds import attacker_seed
from feint.data import Dataset, Split
from feint.defense import Defense
from feint.defenses.boundary import MarginWatermark
from feint.defenses.outputs import MADArgmax, Marked, TopK
from feint.defenses.served_mark import ROWS
from feint.evaluation import metrics
from feint.models import networks
from feint.models.networks import Classifier
from feint.models.seeds import named_seed
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
    claim_accounts,
    trained_mark,
)
from feint.ownership.carried import marked_by_account
from feint.ownership.removals import Removal
from feint.ownership.selection import labels_of
from feint.ownership.survival import BUDGET, ClaimTrial, judge
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service

WORK = Path("feint-bench") / "tables" / "ownership"
ANSWERS = "labels", "probabilities"
COPIES = range(6, 11)  # seeds of attackers
DEVELOPED = range(1, 6)  # of copies on which the way in which triggers are moved was developed


@dataclass(frozen=True)
class Setup:
    """Data set and network, with trainings of the victim, innocents, copies, tuned copies and marked victims."""

    data: str
    network: str
    other: str
    budgets: tuple[int, ...]
    rehearsals: int
    victim: Training
    control: Training
    copy: Training
    tuning: Training
    marking: Training

    @property
    def trial(self) -> ClaimTrial:
        return ClaimTrial(controls=60, rehearsals=self.rehearsals, least=5, training=self.control)

    @property
    def images(self) -> Dataset:
        return data.load(self.data)


SETUPS = {
    "digits": Setup(
        "digits", "mlp", "lenet", (100, 300, 700), 8, Training(), Training(),
        Training(epochs=20, least_steps=800, batch_size=32, learning_rate=0.05),
        Training(epochs=10, batch_size=32, learning_rate=0.01), Training(epochs=150, batch_size=64),
    ),
    "fashion_mnist": Setup(
        "fashion_mnist", "lenet", "mlp", (1000, 5000, 10_000), 24,
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


def trainings(setup: Setup) -> dict[str, Training]:
    """Return trainings by which an attacker may hope not to learn single wrong labels."""
    return {
        "early stop": replace(setup.copy, holdout=0.1, patience=1),
        "augmentation": replace(setup.copy, crop=2, flip=True),
    }


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield the rows of each set: copies by budget and answers, removals, marked answers, trained marks, innocents."""
    for setup in SETUPS.values():
        yield from ((f"{setup.data} {name}", partial(job, setup)) for name, job in _jobs(setup))


def _jobs(setup: Setup) -> Iterator[tuple[str, Callable[[Setup], Row]]]:
    most = setup.budgets[-1]
    for queries in reversed(setup.budgets):
        for answers in ANSWERS:
            for seed in (*COPIES, *DEVELOPED):
                yield f"copy {queries} {answers} {seed}", partial(copied, queries=queries, answers=answers, seed=seed)
    yield "innocents", innocents
    yield "false claim", false_claim
    for answers in ANSWERS:
        for seed in COPIES[:3]:
            for name in removals(setup):
                yield f"removal {name} {answers} {seed}", partial(removed, name=name, answers=answers, seed=seed)
        for sybils in (1, 10, 100):
            yield f"marked answers {sybils} {answers}", partial(served, sybils=sybils, answers=answers)
        for name in trainings(setup):
            yield f"marked answers, {name} {answers}", partial(served, answers=answers, name=name)
        yield f"copy by another network {answers}", partial(copied, queries=most, answers=answers, network=setup.other)
    for defense in ("MAD-argmax", "top-1"):
        for seed in COPIES[:3]:
            yield (
                f"copy behind {defense} {seed}",
                partial(copied, queries=most, answers="probabilities", seed=seed, defense=defense),
            )
    for answers in ANSWERS:
        for step in (0.0, 1 / 255, 8 / 255):
            yield f"trained mark {step:.4f} {answers}", partial(trained, step=step, answers=answers)


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


@cache
def control_labels(setup: Setup, mark: Mark) -> Mapping[str, np.ndarray]:
    return {name: labels_of(control, mark.x).numpy() for name, control in controls(setup).items()}


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
    copy = trained_copy(setup, pool.inputs(), p, answers, setup.copy, seed=seed, network=network)
    return copy, Split.of(pool.values, p.argmax(-1).numpy(), domain=pool.domain)


def trained_copy(
    setup: Setup, x: Tensor, p: Tensor, answers: str, training: Training, *, seed: int, network: str = ""
) -> Classifier:
    """Return a copy by the answers `p` (N, K) to `x` (N, …), or by their labels alone."""
    recipe = networks.get(network or setup.network, setup.images)
    return learn(recipe, x, p.argmax(-1) if answers == "labels" else p, training, seed=attacker_seed(seed))


def measured(setup: Setup, suspect: nn.Module, model: nn.Module | None = None) -> Row:
    """Return what a suspect is worth."""
    test = setup.images.test
    return {
        "data": setup.data,
        "accuracy": metrics.stealer_accuracy(suspect, test),
        "fidelity": metrics.fidelity(suspect, model or victim(setup), test),
        "controls": len(controls(setup)),
    }


def judged(setup: Setup, suspect: nn.Module, evidence: Sequence[Mark], model: nn.Module | None = None) -> Row:
    """Return what a claim says of a suspect, each mark alone and all together."""
    labels = [control_labels(setup, mark) for mark in evidence]
    row, policy = measured(setup, suspect, model), setup.trial.policy
    for mark, known in zip(evidence, labels, strict=True):
        alone = {name: [answered] for name, answered in known.items()}
        row[mark.method] = _result(judge(suspect, [mark], alone, policy))
    together = {name: [known[name] for known in labels] for name in controls(setup)}
    return row | {"together": _result(judge(suspect, evidence, together, policy))}


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


def removed(setup: Setup, *, name: str, answers: str, seed: int) -> Row:
    copy, inputs = stolen(setup, Service(victim(setup)), setup.budgets[-1], answers, seed)
    before = metrics.stealer_accuracy(copy, setup.images.test)
    changed = removals(setup)[name].remove(copy, inputs, seed=attacker_seed(seed + 1))
    about = {"kind": "removal", "removal": name, "answers": answers, "seed": seed, "before": before}
    return about | judged(setup, changed, marks(setup))


def served(setup: Setup, *, answers: str, sybils: int = 1, name: str = "") -> Row:
    """Return what marked answers tell of a copy for which so many accounts asked, trained as usual or by that name."""
    images, most = setup.images, setup.budgets[-1]
    marking = Service(victim(setup), Defense(outputs=[Marked(key="an experiment's, not a secret")]))
    x, clients = images.pool.inputs(slice(0, most)), [account("mallory", i) for i in range(sybils)]
    p = torch.cat([marking(Query(rows, client)).p for client, rows in zip(clients, x.chunk(sybils), strict=True)])
    training = trainings(setup)[name] if name else setup.copy
    copy = trained_copy(setup, x, p, answers, training, seed=COPIES[0])
    rows = {client: marking.ledger[client].rows(ROWS).array for client in clients}
    mark = marked_by_account(rows, images.domain, len(images.classes))
    oracle = Service(copy).oracle(client="owner", budget=BUDGET)
    result = claim_accounts(oracle, mark, control_labels(setup, mark), policy=setup.trial.policy)
    q = marking(Query(images.test.inputs(), "honest")).p.argmax(-1)
    lost = metrics.stealer_accuracy(victim(setup), images.test) - (q == images.test.labels).float().mean().item()
    return {
        "kind": "marked answers", "sybils": sybils, "training": name, "answers": answers, "marked": len(mark),
        "named": sum(part.named for part in result.accounts), "honest accuracy lost": lost,
        **measured(setup, copy), "together": _result(result),
    }  # fmt: skip


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


def false_claim(setup: Setup) -> Row:
    """Return what a claim says where triggers of an accuser who does not own the victim transfer to it."""
    images = setup.images
    network = networks.get(setup.network, images)
    accusers = [
        train(network, images.train, training=setup.control, seed=named_seed(f"accuser {i}", 0)) for i in range(4)
    ]
    x, labels = images.test.inputs(slice(0, 800)), (images.test.labels[:800] + 1) % len(images.classes)
    mark = Mark.of("triggers", images.domain, len(images.classes), transferable(accusers, x, labels), labels)
    return {"kind": "false claim"} | judged(setup, victim(setup), [mark])


def innocents(setup: Setup) -> Row:
    """Return how many of the controls would be claimed, each against all others."""
    models = controls(setup).values()
    accuracies = [metrics.stealer_accuracy(model, setup.images.test) for model in models]
    about = {"kind": "innocents", "least accuracy": min(accuracies), "greatest accuracy": max(accuracies)}
    return about | judged(setup, next(iter(models)), marks(setup))
