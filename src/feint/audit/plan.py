"""Plan of an audit: as many attacks, seeds and budgets as fit into its minutes, by speeds measured here."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from feint import victims
from feint.attacks import Attack, KnockoffNets, Recovered, Tuned
from feint.attacks.lenses.recovered import restorer
from feint.audit.candidates import LABELS, NONE, SHARPENED, Candidate, adaptive_lenses, labels_only
from feint.audit.samples import Note, Samples
from feint.bench.matrix import Matrix, through
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.errors import BadInput
from feint.evaluation.training_time import MEASURED, inputs_seen, seconds_per_input
from feint.models.networks import Classifier, Network
from feint.models.training import Training

BUDGETS = 100, 500, 2000, 5000, 10_000
TRAINING = Training(epochs=20, least_steps=600, batch_size=32, learning_rate=0.05)  # as in bench.demo, the best tried
SURROGATES = "mlp", "lenet", "resnet20"  # of attackers who do not know the network, from quick to slow
TUNED = 3.7  # cost of a tuned attack, in trainings of KnockoffNets (feint.attacks.Tuned)
PLANNED = 0.75  # share of the minutes for attacks; the rest is for fitting, judging and the report
TIMED_STEPS = 10  # of the restorer: a step takes 3 ms with 10 classes, and 150 with 1,000


@dataclass(frozen=True)
class Size:
    """Size of a run.

    Attributes:
        budgets: Numbers of queries, ascending.
        seeds: Number of seeds of each theft.
        lenses: Whether sharpened answers and the lens made for each defense are run.
        tuned: Whether the tuned attack is run.
        thorough: Whether lenses that train models are run.
    """

    budgets: tuple[int, ...]
    seeds: int = 1
    lenses: bool = False
    tuned: bool = False
    thorough: bool = False


@dataclass(frozen=True)
class Speed:
    """Seconds measured on this machine.

    Attributes:
        answer: Seconds of one answer of the victim.
        image: Seconds of one image in a surrogate's training, by network.
        restorer: Seconds in which D-DAE trains the restorer that undoes a defense.
    """

    answer: float
    image: Mapping[str, float]
    restorer: float


@dataclass(frozen=True)
class AuditPlan:
    """Plan of one run.

    Attributes:
        surrogate: Network that attackers train.
        training: Training of the surrogate.
        size: Size of the run.
        seconds: Estimate of its time.
        notes: Remarks on what was left out.
        least: Whether this is the smallest plan, which is run whole even if it takes longer than the minutes.
    """

    surrogate: Network
    training: Training
    size: Size
    seconds: float
    notes: tuple[Note, ...]
    least: bool = False

    def matrix(self, victim: nn.Module, samples: Samples, candidates: Mapping[str, Candidate]) -> Matrix:
        """Return the matrix of this plan's cells."""
        defenses = {NONE: Defense()} | {name: candidate.defense for name, candidate in candidates.items()}
        return Matrix(
            victim,
            samples.judge,
            attacks={},
            against={name: self.attacks(defense, samples.pool) for name, defense in defenses.items()},
            defenses=defenses,
            budgets=self.size.budgets,
            seeds=range(self.size.seeds),
        )

    def attacks(self, defense: Defense | Ladder, pool: Split) -> dict[str, Attack]:
        """Return the attackers of one defense. All lenses read labels alone alike."""
        knockoff = KnockoffNets(pool, self.surrogate, self.training)
        tuned: dict[str, Attack] = {"Tuned": Tuned(pool, self.surrogate, self.training)} if self.size.tuned else {}
        if labels_only(defense):
            return {"KnockoffNets": knockoff, **tuned}
        lenses = dict(LABELS)
        if self.size.lenses:
            lenses |= SHARPENED
            lenses |= adaptive_lenses(defense, pool, self.surrogate, self.training, thorough=self.size.thorough)
        return {**through({"KnockoffNets": knockoff}, lenses), **tuned}


def make_plan(
    victim: nn.Module,
    samples: Samples,
    candidates: Mapping[str, Candidate],
    *,
    classes: int,
    minutes: float,
    seconds_per_answer: float,
    budgets: Sequence[int] = (),
    spent: float = 0.0,
) -> AuditPlan:
    """Return the largest plan that fits into the `minutes`.

    Args:
        victim: Model to audit.
        samples: Samples of the audit.
        candidates: Defenses to run, by name.
        classes: Number of classes.
        minutes: Time that the whole audit may take.
        seconds_per_answer: Seconds of one answer of the victim, measured here.
        budgets: Budgets that are run in any case, where the pool has so many images.
        spent: Seconds of the minutes that have passed.

    Returns:
        The first plan that fits, from rich to poor; the smallest one, marked `least`, where none does.
    """
    domain, shape = samples.judge.domain, samples.judge.shape
    networks = [Network(name, domain, classes) for name in _networks(victim, shape)]
    training = replace(TRAINING, crop=2 if min(shape[1:]) >= 24 else 0)
    rows = torch.arange(MEASURED)
    x, labels = samples.fit.inputs(rows % len(samples.fit)), rows % classes
    seconds = {network.name: seconds_per_input(network, x, labels, training) for network in networks}
    speed = Speed(seconds_per_answer, seconds, restorer_seconds(classes))
    affordable, notes = _budgets(len(samples.pool), budgets)
    available = (minutes * 60 - spent) * PLANNED
    options = [
        AuditPlan(network, training, size, estimate(size, candidates, training, speed, network.name), tuple(notes))
        for size in sizes(affordable, budgets)
        for network in networks
    ]
    fitting = [option for option in options if option.seconds <= available]
    if fitting:
        return fitting[0]
    least = min(options, key=lambda option: option.seconds)
    return replace(least, notes=(*notes, Note("plan least", {"minutes": f"{minutes:g}"})), least=True)


def _networks(victim: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """Return the networks that attackers might train, first the victim's where it is known and can be trained."""
    small = SURROGATES[:1] if min(shape[1:]) < 16 else SURROGATES[:2] if shape[0] == 1 else SURROGATES
    names: list[str] = [*reversed(small)]
    if isinstance(victim, Classifier) and next(victim.parameters(), None) is not None:
        names.insert(0, victim.network.name)
    return list(dict.fromkeys(names))


def _budgets(pool: int, wanted: Sequence[int]) -> tuple[tuple[int, ...], list[Note]]:
    """Return the budgets for which the pool has enough images, and a note on each wanted one for which it has not."""
    affordable = sorted({budget for budget in (*BUDGETS, *wanted) if budget <= pool} or {pool})
    if pool < BUDGETS[2]:
        affordable = sorted({*affordable, pool})
    skipped = [budget for budget in wanted if budget > pool]
    notes = [Note("budget not tried", {"budget": f"{budget:,}", "pool": f"{pool:,}"}) for budget in skipped]
    return tuple(affordable), notes


def sizes(affordable: tuple[int, ...], wanted: Sequence[int]) -> Iterable[Size]:
    """Return all sizes, the richest first: seeds and attacks come before larger budgets, since one theft shows little.

    Args:
        affordable: Budgets for which the pool has enough images, ascending.
        wanted: Budgets that every size includes if they are affordable.
    """
    fixed = {budget for budget in wanted if budget in affordable}
    prefixes = [tuple(sorted({*affordable[:count], *fixed})) for count in range(len(affordable), 0, -1)]
    steps = [budgets for budgets in dict.fromkeys(prefixes) if len(budgets) >= min(3, len(affordable))] or [affordable]
    poorest = [*steps, tuple(sorted({*affordable[:2], *fixed}))]
    return [
        *(Size(budgets, 3, lenses=True, tuned=True, thorough=True) for budgets in steps),
        *(Size(budgets, 3, lenses=True, tuned=True) for budgets in steps),
        *(Size(budgets, 3, lenses=True) for budgets in steps),
        *(Size(budgets, 1, lenses=True) for budgets in poorest),
        *(Size(budgets) for budgets in poorest),
    ]


def estimate(size: Size, candidates: Mapping[str, Candidate], training: Training, speed: Speed, network: str) -> float:
    """Return the estimated seconds of all thefts.

    Attackers who read the same answers are trained once: one who reads labels only costs nothing more behind a defense.
    """
    defended = [candidate for candidate in candidates.values() if not labels_only(candidate.defense)]
    trainings = 2 + size.lenses + len(defended) * (1 + 2 * size.lenses + 4 * size.thorough)
    if size.tuned:
        trainings += TUNED * (2 + len(defended))  # of labels too
    images = sum(inputs_seen(training, budget) for budget in size.budgets)
    queries = sum(size.budgets) * (1 + len(candidates))
    restorers = size.thorough * len(size.budgets) * len(defended)
    seconds = images * trainings * speed.image[network] + queries * speed.answer + restorers * speed.restorer
    return size.seeds * seconds


def restorer_seconds(classes: int) -> float:
    """Measure the seconds in which D-DAE trains its restorer, which do not depend on the surrogate."""
    p = torch.full((TIMED_STEPS, classes), 1 / classes)
    restorer(p, p, steps=1)
    started = time.perf_counter()
    restorer(p, p, steps=TIMED_STEPS)
    return (time.perf_counter() - started) * Recovered.steps / TIMED_STEPS


def time_answers(victim: nn.Module, images: Split) -> float:
    """Measure the seconds of one answer of the victim to `images`.

    Returns:
        Seconds, the mean over all images.

    Raises:
        BadInput: For labels that the victim cannot answer.
    """
    started = time.perf_counter()
    p = victims.answers(victim, images)
    seconds = (time.perf_counter() - started) / len(images)
    if int(images.labels.max()) >= p.shape[1] or int(images.labels.min()) < 0:
        raise BadInput(
            f"labels up to {int(images.labels.max())} and answers of {p.shape[1]} classes",
            "labels that the model can give", "check the order of the classes",
        )  # fmt: skip
    return seconds
