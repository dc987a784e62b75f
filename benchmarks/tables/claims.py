"""Claims on digits, Fashion-MNIST and CIFAR-10: copies, what attackers do to them, and innocents, by each mark."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables.claimed import (
    ANSWERS,
    COPIES,
    SETUPS,
    Published,
    Setup,
    control_labels,
    controls,
    marks,
    removals,
    service,
    stolen,
    student_marks,
    trained_copy,
    trainings,
    victim,
)
from benchmarks.tables.false_triggers import transferable
from benchmarks.tables.rows import Jobs, Row
from feint import train
from feint.attacks.seeds import attacker_seed
from feint.data import Split
from feint.defense import Defense
from feint.defenses.boundary import MarginWatermark
from feint.defenses.outputs import Marked
from feint.defenses.served_mark import ROWS
from feint.evaluation import metrics
from feint.models import inference, networks
from feint.models.seeds import named_seed
from feint.oracle import account
from feint.ownership import Claim, Distilled, Mark, OrdinaryInputs, claim_accounts, trained_mark
from feint.ownership.carried import marked_by_account
from feint.ownership.ordinary import as_good
from feint.ownership.selection import labels_of
from feint.ownership.survival import BUDGET, judge
from feint.progress import ProgressCallback
from feint.query import Query
from feint.service import Service

ANY = Marked("an experiment's, not a secret")
UNSURE = replace(ANY, rate=0.2, margin=0.3)
KEYS = 200
STUDENTS = "mlp", "linear", "mlp20", "lenet"  # networks of students; with the copy's own, it is the copy itself
FRESH = 5  # innocents of each kind that are no controls


def jobs(progress: ProgressCallback) -> Jobs:
    """Yield the rows of each set: copies by budget and answers, removals, marked answers, trained marks, innocents."""
    for setup in SETUPS.values():
        yield from ((f"{setup.data} {name}", partial(job, setup)) for name, job in _jobs(setup))


def _jobs(setup: Setup) -> Iterator[tuple[str, Callable[[Setup], Row]]]:
    yield "innocents", innocents
    yield "false claim", false_claim
    yield from _of_published(setup) if isinstance(setup.victim, Published) else _of_trained(setup)
    for seed in setup.seeds:
        for pool in setup.pools:
            for queries in reversed(setup.budgets):
                for answers in ANSWERS:
                    name = f"copy {queries} {answers} {seed}{' by images of the task' if pool == 'train' else ''}"
                    yield name, partial(copied, queries=queries, answers=answers, seed=seed, pool=pool)


def _of_published(setup: Setup) -> Iterator[tuple[str, Callable[[Setup], Row]]]:
    """Yield the jobs about a victim whose file anybody has."""
    for name in ("", *(name for name in removals(setup) if not name.startswith("distilled"))):
        yield f"file {name}" if name else "file", partial(file, name=name)
    for name in setup.foreign:
        yield f"innocent {name}", partial(innocent, name=name)
    for answers in ANSWERS:
        yield f"marked answers 1 {answers}", partial(served, answers=answers)


def _of_trained(setup: Setup) -> Iterator[tuple[str, Callable[[Setup], Row]]]:
    """Yield the jobs about copies that are changed, defenses, and marks that a victim is trained with."""
    most = setup.budgets[-1]
    for answers in ANSWERS:
        for seed in COPIES[:3]:
            for name in removals(setup):
                yield f"removal {name} {answers} {seed}", partial(removed, name=name, answers=answers, seed=seed)
        for sybils in (1, 10, 100):
            yield f"marked answers {sybils} {answers}", partial(served, sybils=sybils, answers=answers)
        for name in trainings(setup):
            yield f"marked answers, {name} {answers}", partial(served, answers=answers, name=name)
        for sybils in (1, 10, 100):
            yield f"unsure answers {sybils} {answers}", partial(served, sybils=sybils, answers=answers, marked=UNSURE)
        for name in trainings(setup):
            yield f"unsure answers, {name} {answers}", partial(served, answers=answers, name=name, marked=UNSURE)
        yield f"copy by another network {answers}", partial(copied, queries=most, answers=answers, network=setup.other)
        for seed in COPIES[:3]:
            for name in dict.fromkeys((setup.network, *STUDENTS)):
                about = f"student {name} {answers} {seed}"
                yield about, partial(student, network=name, answers=answers, seed=seed)
    yield "innocent students", innocent_students
    for marked in (ANY, UNSURE):
        yield f"honest cost of {'unsure' if marked.margin else 'marked'} answers", partial(cost, marked=marked)
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
def victim_answers(setup: Setup, model: nn.Module) -> Tensor:
    """Return the answers (N, K) of a victim to the test inputs."""
    return inference.answers(model, setup.images.test)


def measured(setup: Setup, suspect: nn.Module, model: nn.Module | None = None) -> Row:
    """Return what a suspect is worth."""
    p, labels = inference.answers(suspect, setup.images.test), setup.images.test.labels
    return {
        "data": setup.data,
        "accuracy": metrics.accuracy(p, labels),
        "fidelity": metrics.label_kept(p, victim_answers(setup, model or victim(setup))),
        "controls": len(controls(setup)),
    }


def judged(
    setup: Setup, suspect: nn.Module, evidence: Sequence[Mark], model: nn.Module | None = None, without: str = ""
) -> Row:
    """Return what a claim says of a suspect beside the controls, but one, by each mark alone and all together."""
    labels = [control_labels(setup, mark) for mark in evidence]
    names = [name for name in controls(setup) if name != without]
    row, policy = measured(setup, suspect, model), setup.trial.policy
    for mark, known in zip(evidence, labels, strict=True):
        alone = {name: [known[name]] for name in names}
        row[mark.method] = _result(judge(suspect, [mark], alone, policy))
    together = {name: [known[name] for known in labels] for name in names}
    row["together"] = _result(judge(suspect, evidence, together, policy))
    if setup.foreign:
        trained = {name: known for name, known in together.items() if name not in setup.foreign}
        row["beside trained controls"] = _result(judge(suspect, evidence, trained, policy))
    return row


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
    setup: Setup,
    *,
    queries: int,
    answers: str,
    seed: int = COPIES[0],
    network: str = "",
    defense: str = "",
    pool: str = "pool",
) -> Row:
    copy, _ = stolen(setup, service(setup, defense), queries, answers, seed, network, pool)
    about = {"kind": "copy", "queries": queries, "answers": answers, "seed": seed, "defense": defense, "pool": pool}
    return about | {"network": network or setup.network} | judged(setup, copy, marks(setup))


def file(setup: Setup, *, name: str) -> Row:
    """Return what a claim says of the victim's own file, after a removal by that name or as it is."""
    model, row = victim(setup), {"kind": "file", "removal": name}
    if not name:
        return row | judged(setup, model, marks(setup))
    pool = setup.images.pool.take(slice(setup.budgets[-1]), part="of the file's owner")
    inputs = Split.of(pool.values, labels_of(model, pool.inputs()).numpy(), domain=pool.domain)
    changed = removals(setup)[name].remove(model, inputs, seed=attacker_seed(COPIES[0]))
    return row | judged(setup, changed, marks(setup))


def innocent(setup: Setup, *, name: str) -> Row:
    """Return what a claim says of a control, beside all others."""
    return {"kind": "innocent", "innocent": name} | judged(setup, controls(setup)[name], marks(setup), without=name)


def removed(setup: Setup, *, name: str, answers: str, seed: int) -> Row:
    copy, inputs = stolen(setup, Service(victim(setup)), setup.budgets[-1], answers, seed)
    before = metrics.stealer_accuracy(copy, setup.images.test)
    changed = removals(setup)[name].remove(copy, inputs, seed=attacker_seed(seed + 1))
    about = {"kind": "removal", "removal": name, "answers": answers, "seed": seed, "before": before}
    return about | judged(setup, changed, marks(setup))


def student(setup: Setup, *, network: str, answers: str, seed: int) -> Row:
    """Return what a claim says of a copy, or of a student of it in another network."""
    copy, inputs = stolen(setup, Service(victim(setup)), setup.budgets[-1], answers, seed)
    suspect = copy
    if network != setup.network:
        suspect = Distilled(network, setup.copy).remove(copy, inputs, seed=attacker_seed(seed + 1))
    about = {"kind": "student", "network": network, "answers": answers, "seed": seed}
    return about | judged(setup, suspect, student_marks(setup))


def innocent_students(setup: Setup) -> Row:
    """Return how many innocents beside the controls would be claimed: in the network of students, or students."""
    images, pool, counts = setup.images, setup.images.pool, {}
    network, teachers = networks.get(setup.other, images), [*controls(setup).values()]
    for i in range(FRESH):
        inputs = Split.of(pool.values, labels_of(teachers[4 * i], pool.inputs()).numpy(), domain=pool.domain)
        suspects = {
            "another network": train(network, images.train, training=setup.control, seed=named_seed(f"fresh {i}", 0)),
            "student": Distilled(setup.other, setup.copy).remove(
                teachers[4 * i], inputs, seed=named_seed(f"fresh student {i}", 0)
            ),
        }
        for name, suspect in suspects.items():
            result = judged(setup, suspect, student_marks(setup))["together"]
            counts.setdefault(name, []).append(result)
    return {
        "kind": "innocent students", "data": setup.data, "network": setup.other, "controls": len(controls(setup)),
        "false claims": judged(setup, teachers[0], student_marks(setup))["together"]["false_claims"],
    } | {
        name: {"suspects": len(results), "claimed": sum(each["claimed"] for each in results),
               "log_e": max(each["log_e"] for each in results)}
        for name, results in counts.items()
    }  # fmt: skip


def served(setup: Setup, *, answers: str, sybils: int = 1, name: str = "", marked: Marked = ANY) -> Row:
    """Return what marked answers tell of a copy for which so many accounts asked, trained as usual or by that name."""
    images, most = setup.images, setup.budgets[-1]
    marking = Service(victim(setup), Defense(outputs=[marked]))
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
        "kind": "marked answers", "margin": marked.margin, "sybils": sybils, "training": name, "answers": answers,
        "marked": len(mark),
        "named": sum(part.named for part in result.accounts), "honest accuracy lost": lost,
        **measured(setup, copy), "together": _result(result),
    }  # fmt: skip


def cost(setup: Setup, *, marked: Marked) -> Row:
    """Return the points of accuracy that marked answers cost honest clients, over many keys."""
    test = setup.images.test
    p, x = victim_answers(setup, victim(setup)), test.inputs()
    right, lost, changed = metrics.accuracy(p, test.labels), [], []
    for i in range(KEYS):
        q = replace(marked, key=f"key {i}")(p, x)
        lost.append(100 * (right - metrics.accuracy(q, test.labels)))
        changed.append((q.argmax(-1) != p.argmax(-1)).float().mean().item())
    return {
        "kind": "honest cost", "data": setup.data, "rate": marked.rate, "margin": marked.margin, "inputs": len(test),
        "keys": KEYS, "marked": float(np.mean(changed)), "points": float(np.mean(lost)),
        "deviation": float(np.std(lost, ddof=1)), "most": float(np.quantile(lost, 0.95)),
        "above half a point": float(np.mean(np.array(lost) > 0.5)),
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
    """Return how many of the controls would be claimed, each against all others, and what they are worth."""
    models, test = controls(setup), setup.images.test
    x, own = test.inputs(), labels_of(victim(setup), test.inputs())
    answered = [labels_of(model, x) for model in models.values()]
    accuracies, fidelities = ([(y == known).float().mean().item() for y in answered] for known in (test.labels, own))
    ordinary = OrdinaryInputs().mark(victim(setup), test)
    return {
        "kind": "innocents", "least accuracy": min(accuracies), "greatest accuracy": max(accuracies),
        "least fidelity": min(fidelities), "greatest fidelity": max(fidelities),
        "as good": as_good(ordinary, control_labels(setup, ordinary)),
        **judged(setup, next(iter(models.values())), marks(setup)),
    }  # fmt: skip
