"""Claims on digits, Fashion-MNIST and CIFAR-10: copies, what attackers do to them, and innocents, by each mark."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from benchmarks.tables.claim_results import judged
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
    trainings,
    victim,
)
from benchmarks.tables.false_triggers import transferable
from benchmarks.tables.marked_answers import KINDS, UNSURE, cost, served, shared
from benchmarks.tables.rows import Jobs, Row
from feint import train
from feint.attacks.seeds import attacker_seed
from feint.data import Split
from feint.defenses.boundary import MarginWatermark
from feint.evaluation import metrics
from feint.models import networks
from feint.models.seeds import named_seed
from feint.ownership import Distilled, Mark, OrdinaryInputs, Triggers, plan_controls, trained_mark
from feint.ownership.ordinary import as_good
from feint.ownership.rehearsal import rehearse
from feint.ownership.selection import labels_of
from feint.progress import ProgressCallback
from feint.service import Service

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
        for name, (kind, marked) in itertools.product(("", *trainings(setup)), KINDS.items()):
            about = f"{kind} answers shared{', ' if name else ''}{name} {answers}"
            yield about, partial(shared, answers=answers, name=name, marked=marked)
    yield "innocent students", innocent_students
    yield "rehearsed students", rehearsed
    for kind, marked in KINDS.items():
        yield f"honest cost of {kind} answers", partial(cost, marked=marked)
    for defense in ("MAD-argmax", "top-1"):
        for seed in COPIES[:3]:
            yield (
                f"copy behind {defense} {seed}",
                partial(copied, queries=most, answers="probabilities", seed=seed, defense=defense),
            )
    for answers in ANSWERS:
        for step in (0.0, 1 / 255, 8 / 255):
            yield f"trained mark {step:.4f} {answers}", partial(trained, step=step, answers=answers)


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


def rehearsed(setup: Setup) -> Row:
    """Return on how many triggers models agree by which their owner chose them, and on how many new ones do."""
    images, model = setup.images, victim(setup)
    rehearsal = rehearse(model, images.train, images.pool, setup.rehearsals, students=True)
    (mark,) = (mark for mark in student_marks(setup) if mark.method == Triggers.method)
    plans = plan_controls(setup.innocents, networks.get(setup.network, images), setup.control)
    thefts = [
        stolen(setup, Service(model), setup.budgets[-1], answers, seed)
        for answers in ANSWERS for seed in COPIES[:3]
    ]  # fmt: skip
    moved = Distilled(setup.other, setup.copy)
    models = {
        "rehearsed: copies and their students": rehearsal.copies,
        "rehearsed: innocents and their students": rehearsal.references,
        "new: copies": [copy for copy, _ in thefts],
        "new: students of copies": [moved.remove(*theft, seed=attacker_seed(i)) for i, theft in enumerate(thefts)],
    }
    for plan, control in zip(plans, controls(setup).values(), strict=True):
        models.setdefault(f"controls: {plan.group}", []).append(control)
    shares: dict[tuple[str, str], list[float]] = {}
    for role, group in models.items():
        for each in group:
            agreed = float((labels_of(each, mark.x).numpy() == mark.labels).mean())
            shares.setdefault((role, each.network.name), []).append(agreed)
    return {"kind": "rehearsal", "data": setup.data, "triggers": len(mark), "groups": [
        {"role": role, "network": network, "models": len(each), "least": min(each), "mean": float(np.mean(each)),
         "most": max(each)}
        for (role, network), each in shares.items()
    ]}  # fmt: skip


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


def trained(setup: Setup, *, step: float, answers: str) -> Row:
    """Return what a trained mark tells of a copy; one without a margin is a plain backdoor, which is known to fail."""
    images = setup.images
    assert setup.marking is not None
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
