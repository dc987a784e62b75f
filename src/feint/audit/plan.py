"""How much an audit runs: as much as fits into its minutes, by what was measured here."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from feint import victims
from feint.attacks import Attack, KnockoffNets, Recovered, Tuned
from feint.attacks.lenses.recovered import restorer
from feint.audit.candidates import LABELS, NONE, SHARP, Candidate, labels_only, made_for
from feint.audit.notes import Note
from feint.audit.samples import Samples
from feint.bench.matrix import Matrix, through
from feint.data import Split
from feint.defense import Defense, Ladder
from feint.errors import BadInput
from feint.evaluation.training_time import MEASURED, images_seen, seconds_per_image
from feint.models.networks import Classifier, Network
from feint.models.training import Training

BUDGETS = 100, 500, 2000, 5000, 10_000
TRAINING = Training(epochs=20, least_steps=600, batch_size=32, learning_rate=0.05)  # as in bench.demo: the best tried
SMALL = "mlp", "lenet", "resnet20"  # what a thief trains who knows nothing of the network, from quick to slow
TUNED = 3.7  # trainings of KnockoffNets that tuning one costs (feint.attacks.Tuned)
SPARE = 0.75  # of the minutes that is planned: the rest is for fitting, judging and the report
STEPS = 10  # of the restorer that is timed: a step takes 3 ms with 10 classes, and 150 with 1,000


@dataclass(frozen=True)
class Size:
    """How much is run: budgets and seeds, and whether lenses, tuning, and lenses that train models are."""

    budgets: tuple[int, ...]
    seeds: int = 1
    lenses: bool = False
    tuned: bool = False
    thorough: bool = False


@dataclass(frozen=True)
class Speed:
    """Seconds, measured here: of an answer of the victim, of an image in a surrogate's training, by network, and of
    what D-DAE learns to undo a defense with."""

    answer: float
    trained: Mapping[str, float]
    restored: float


@dataclass(frozen=True)
class AuditPlan:
    """What is run, on what surrogate, and how many seconds it should take; `least` where less would say nothing."""

    surrogate: Network
    training: Training
    size: Size
    seconds: float
    notes: tuple[Note, ...]
    least: bool = False

    def matrix(self, victim: nn.Module, samples: Samples, tried: Mapping[str, Candidate]) -> Matrix:
        """The cells of this plan."""
        defenses = {NONE: Defense()} | {name: it.defense for name, it in tried.items()}
        return Matrix(
            victim,
            samples.judge,
            attacks={},
            against={name: self.attacks(it, samples.pool) for name, it in defenses.items()},
            defenses=defenses,
            budgets=self.size.budgets,
            seeds=range(self.size.seeds),
        )

    def attacks(self, defense: Defense | Ladder, pool: Split) -> dict[str, Attack]:
        """The attackers of one defense. One that answers with labels alone is asked as it is: all lenses read it so."""
        knockoff = KnockoffNets(pool, self.surrogate, self.training)
        tuned: dict[str, Attack] = {"Tuned": Tuned(pool, self.surrogate, self.training)} if self.size.tuned else {}
        if labels_only(defense):
            return {"KnockoffNets": knockoff, **tuned}
        lenses = dict(LABELS)
        if self.size.lenses:
            lenses |= SHARP
            lenses |= made_for(defense, pool, self.surrogate, self.training, thorough=self.size.thorough)
        return {**through({"KnockoffNets": knockoff}, lenses), **tuned}


def make_plan(
    victim: nn.Module,
    samples: Samples,
    tried: Mapping[str, Candidate],
    *,
    classes: int,
    minutes: float,
    answer: float,
    budgets: Sequence[int] = (),
    spent: float = 0.0,
) -> AuditPlan:
    """The largest plan that fits into the `minutes`, of which so many seconds are `spent`, for a victim that takes
    `answer` seconds for one; `budgets` are run in any case, where the pool has so many images."""
    shape = samples.judge.shape
    networks = [Network(name, shape, classes) for name in _networks(victim, shape)]
    training = replace(TRAINING, crop=2 if min(shape[1:]) >= 24 else 0)
    rows = torch.arange(MEASURED)
    x, labels = samples.fit.inputs(rows % len(samples.fit)), rows % classes
    seconds = {network.name: seconds_per_image(network, x, labels, training) for network in networks}
    speed = Speed(answer, seconds, restoring(classes))
    known, notes = _budgets(len(samples.pool), budgets)
    available = (minutes * 60 - spent) * SPARE
    options = [
        AuditPlan(network, training, size, estimate(size, tried, training, speed, network.name), tuple(notes))
        for size in sizes(known, budgets)
        for network in networks
    ]
    fitting = [it for it in options if it.seconds <= available]
    if fitting:
        return fitting[0]
    least = min(options, key=lambda it: it.seconds)
    return replace(least, notes=(*notes, Note("plan least", {"minutes": f"{minutes:g}"})), least=True)


def _networks(victim: nn.Module, shape: tuple[int, int, int]) -> list[str]:
    """The networks that a thief might train, the victim's own first, where it is known and can be trained."""
    own = (
        [victim.network.name] if isinstance(victim, Classifier) and next(victim.parameters(), None) is not None else []
    )
    small = SMALL[:1] if min(shape[1:]) < 16 else SMALL[:2] if shape[0] == 1 else SMALL
    return list(dict.fromkeys([*own, *reversed(small)]))


def _budgets(pool: int, wanted: Sequence[int]) -> tuple[tuple[int, ...], list[Note]]:
    """The budgets that the pool pays for, and what is to be said of those that it does not."""
    known = sorted({it for it in (*BUDGETS, *wanted) if it <= pool} or {pool})
    if pool < BUDGETS[2]:
        known = sorted({*known, pool})
    lost = [it for it in wanted if it > pool]
    notes = [Note("budget not tried", {"budget": f"{it:,}", "pool": f"{pool:,}"}) for it in lost]
    return tuple(known), notes


def sizes(known: tuple[int, ...], wanted: Sequence[int]) -> Iterable[Size]:
    """All sizes, the richest first: more seeds and attacks go before larger budgets, since one theft says little."""
    fixed = {it for it in wanted if it in known}
    steps = [tuple(sorted({*known[:count], *fixed})) for count in range(len(known), 0, -1)]
    steps = list(dict.fromkeys(it for it in steps if len(it) >= min(3, len(known)))) or [known]
    two = tuple(sorted({*known[:2], *fixed}))
    rich = [Size(it, 3, lenses=True, tuned=True, thorough=True) for it in steps]
    middle = [Size(it, 3, lenses=True, tuned=True) for it in steps] + [Size(it, 3, lenses=True) for it in steps]
    poor = [Size(it, 1, lenses=True) for it in [*steps, two]] + [Size(it) for it in [*steps, two]]
    return [*rich, *middle, *poor]


def estimate(size: Size, tried: Mapping[str, Candidate], training: Training, speed: Speed, network: str) -> float:
    """Seconds of all thefts. Thieves who read the same are trained once: labels only cost nothing behind a defense."""
    defended = [it for it in tried.values() if not labels_only(it.defense)]
    readings = 2 + size.lenses + len(defended) * (1 + 2 * size.lenses + 4 * size.thorough)
    if size.tuned:
        readings += TUNED * (2 + len(defended))  # of labels too
    images = sum(images_seen(training, budget) for budget in size.budgets)
    asked = sum(size.budgets) * (1 + len(tried))
    restored = size.thorough * len(size.budgets) * len(defended)
    return size.seeds * (images * readings * speed.trained[network] + asked * speed.answer + restored * speed.restored)


def restoring(classes: int) -> float:
    """Seconds that D-DAE's restorer takes to learn, whatever the surrogate is."""
    p = torch.full((STEPS, classes), 1 / classes)
    restorer(p, p, steps=1)
    started = time.perf_counter()
    restorer(p, p, steps=STEPS)
    return (time.perf_counter() - started) * Recovered.steps / STEPS


def timed(victim: nn.Module, images: Split) -> tuple[torch.Tensor, float]:
    """The victim's answers to `images`, and the seconds that one took. Raises `BadInput` for labels it cannot give."""
    started = time.perf_counter()
    p = victims.answers(victim, images)
    seconds = (time.perf_counter() - started) / len(images)
    if int(images.labels.max()) >= p.shape[1] or int(images.labels.min()) < 0:
        raise BadInput(
            f"labels up to {int(images.labels.max())} and answers of {p.shape[1]} classes",
            "labels that the model can give", "check the order of the classes",
        )  # fmt: skip
    return p, seconds
