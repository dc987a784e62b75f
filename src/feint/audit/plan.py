"""Plan of an audit: as many attacks, seeds and budgets as fit into its minutes, by speeds measured here."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from feint.attacks import Attack, KnockoffNets, Recovered, Surrogate, Tuned
from feint.attacks.lenses.recovered import restorer
from feint.audit.attacker import Attacker, AttackerChoice
from feint.audit.candidates import LABELS, NONE, SHARPENED, Candidate, adaptive_lenses, labels_only
from feint.audit.samples import Samples
from feint.bench.cells import through
from feint.bench.matrix import Matrix
from feint.data import Split
from feint.data.remarks import Remark
from feint.defense import Defense, Ladder
from feint.models.networks import Network
from feint.models.training import Training
from feint.victims import FromAnswers

BUDGETS = 100, 500, 2000, 5000, 10_000
TUNED = 3.7  # cost of a tuned attack, in trainings of KnockoffNets (feint.attacks.Tuned)
PLANNED = 0.75  # share of the minutes for attacks; the rest is for fitting, judging and the report
OVERHEAD = 0.5  # seconds of a cell beside answers and trainings: scores, keys, files, the defense itself
TOO_SLOW = "attacker too slow"  # name of the note
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
        attacker: Attacker, whose training was timed.
        restorer: Seconds in which D-DAE trains the restorer that undoes a defense.
    """

    answer: float
    attacker: Attacker
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
        tried: Share of the answers set aside that each network gave in the trials, by its name.
        baselines: The same of answers that need no training, by name.
        least: Whether this is the smallest plan, which is run whole even if it takes longer than the minutes.
    """

    surrogate: Network
    training: Training
    size: Size
    seconds: float
    notes: tuple[Remark, ...]
    tried: Mapping[str, float]
    baselines: Mapping[str, float]
    least: bool = False

    @property
    def attacker(self) -> str:
        """Name of the surrogate."""
        return Surrogate(self.surrogate, self.training).name

    @property
    def hurried(self) -> bool:
        """Whether a stronger attacker was tried and left out, since no plan with it fits into the minutes."""
        return any(note.phrase == TOO_SLOW for note in self.notes)

    def minutes_for(self, seeds: int) -> float:
        """Return the minutes for which this plan would fit with so many seeds."""
        return self.seconds * seeds / self.size.seeds / PLANNED / 60

    def matrix(
        self,
        victim: nn.Module,
        samples: Samples,
        candidates: Mapping[str, Candidate],
        *,
        threshold: float | None = None,
    ) -> Matrix:
        """Return the matrix of this plan's cells."""
        copies = not isinstance(victim, FromAnswers)  # a model elsewhere is asked about samples and pool alone
        defenses = {NONE: Defense()} | {name: candidate.defense for name, candidate in candidates.items()}
        return Matrix(
            victim,
            samples.judge,
            attacks={},
            against={name: self.attacks(defense, samples.pool, copies=copies) for name, defense in defenses.items()},
            defenses=defenses,
            budgets=self.size.budgets[::-1],  # the strongest theft first
            seeds=range(self.size.seeds),
            threshold=threshold,
        )

    def attacks(self, defense: Defense | Ladder, pool: Split, *, copies: bool = True) -> dict[str, Attack]:
        """Return the attackers of one defense, those with altered `copies` of inputs only where these may be asked."""
        knockoff = KnockoffNets(pool, self.surrogate, self.training)
        tuned: dict[str, Attack] = {"Tuned": Tuned(pool, self.surrogate, self.training)} if self.size.tuned else {}
        if labels_only(defense):
            return {"KnockoffNets": knockoff, **tuned}
        lenses = dict(LABELS)
        if self.size.lenses:
            lenses |= SHARPENED
            lenses |= adaptive_lenses(
                defense, pool, self.surrogate, self.training, thorough=self.size.thorough, copies=copies
            )
        return {**through({"KnockoffNets": knockoff}, lenses), **tuned}


def make_plan(
    samples: Samples,
    candidates: Mapping[str, Candidate],
    choice: AttackerChoice,
    *,
    minutes: float,
    seconds_per_answer: float,
    budgets: Sequence[int] = (),
    spent: float = 0.0,
) -> AuditPlan:
    """Return the largest plan that fits into the `minutes`.

    Args:
        samples: Samples of the audit.
        candidates: Defenses to run, by name.
        choice: Attackers that were tried. A weaker one is planned only where no plan of the best one fits; a longer
            training of the best one's network where the largest budgets fit with it, without the smaller ones if need
            be: how far an attacker gets is known of a strong one only.
        minutes: Time that the whole audit may take.
        seconds_per_answer: Seconds of one answer of the victim, measured here.
        budgets: Budgets that are run in any case, where the pool has so many inputs.
        spent: Seconds of the minutes that have passed.

    Returns:
        The first plan that fits, from rich to poor; the smallest one of the best attacker, marked `least`, where none
        does.
    """
    restoring = restorer_seconds(choice.best.surrogate.network.classes)
    affordable, notes = _budgets(samples.pool, budgets)
    available = (minutes * 60 - spent) * PLANNED

    def plan(attacker: Attacker, size: Size) -> AuditPlan:
        speed = Speed(seconds_per_answer, attacker, restoring)
        return AuditPlan(
            attacker.surrogate.network, attacker.surrogate.training, size, estimate(size, candidates, speed),
            _notes(notes, choice, attacker), choice.tried, choice.baselines,
        )  # fmt: skip

    def plans(attacker: Attacker) -> list[AuditPlan]:
        return [plan(attacker, size) for size in sizes(affordable, budgets)]

    def fitting(options: Iterable[AuditPlan]) -> Iterator[AuditPlan]:
        return (option for option in options if option.seconds <= available)

    def fuller(attacker: Attacker, most: tuple[int, ...]) -> Iterator[AuditPlan]:
        if attacker.name == choice.fullest.name:
            yield from (option for option in plans(choice.fullest) if option.size.budgets == most)
            yield from (plan(choice.fullest, Size(fewer)) for fewer in without_smaller(most, budgets))

    for attacker in dict.fromkeys([choice.best, *choice.attackers]):
        for first in fitting(plans(attacker)):
            return next(fitting(fuller(attacker, first.size.budgets)), first)
    least = min(plans(choice.best), key=lambda option: option.seconds)
    return replace(least, notes=(*least.notes, Remark("plan least", {"minutes": f"{minutes:g}"})), least=True)


def _notes(notes: Sequence[Remark], choice: AttackerChoice, attacker: Attacker) -> tuple[Remark, ...]:
    """Return the notes on budgets, and on networks that were not tried or are too slow."""
    agreements = {"agreement": f"{attacker.agreement:.1%}", "better": f"{choice.best.agreement:.1%}"}
    slow = Remark(TOO_SLOW, {"name": attacker.name, "best": choice.best.name, **agreements})
    untried = Remark("attackers not tried", {"names": ", ".join(choice.left_out)})
    unlearned = Remark("attacker learned nothing", {"agreement": f"{choice.best.agreement:.1%}"})
    shortened = Remark("training shortened", {"times": f"{choice.fullest.inputs / attacker.inputs:.1f}"})
    raised = (
        (slow, attacker.name != choice.best.name),
        (shortened, attacker.name == choice.fullest.name and attacker.inputs < choice.fullest.inputs),
        (untried, choice.left_out),
        (unlearned, not choice.learned),
    )
    return *notes, *(note for note, applies in raised if applies)


def _budgets(pool: Split, wanted: Sequence[int]) -> tuple[tuple[int, ...], list[Remark]]:
    """Return the budgets for which the pool has enough inputs, and a note on each wanted one for which it has not."""
    most = len(pool)
    affordable = sorted({budget for budget in (*BUDGETS, *wanted) if budget <= most} or {most})
    if most < BUDGETS[2]:
        affordable = sorted({*affordable, most})
    size = {"pool": f"{most:,}", "noun": pool.domain.noun}
    skipped = [budget for budget in wanted if budget > most]
    return tuple(affordable), [Remark("budget not tried", {"budget": f"{budget:,}", **size}) for budget in skipped]


def sizes(affordable: tuple[int, ...], wanted: Sequence[int]) -> Iterable[Size]:
    """Return all sizes, the best first: large budgets come before lenses, and three seeds before anything else.

    Args:
        affordable: Budgets for which the pool has enough inputs, ascending.
        wanted: Budgets that every size includes if they are affordable.
    """
    fixed = {budget for budget in wanted if budget in affordable}
    prefixes = [tuple(sorted({*affordable[:count], *fixed})) for count in range(len(affordable), 0, -1)]
    steps = [budgets for budgets in dict.fromkeys(prefixes) if len(budgets) >= min(3, len(affordable))] or [affordable]
    poorest = list(dict.fromkeys([*steps, tuple(sorted({*affordable[:2], *fixed}))]))
    return [
        *(
            Size(budgets, 3, **dict.fromkeys(extras, True))
            for budgets in poorest
            for extras in (("lenses", "tuned", "thorough"), ("lenses", "tuned"), ("lenses",), ())
        ),
        *(Size(budgets) for budgets in poorest),
    ]


def without_smaller(affordable: tuple[int, ...], wanted: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield the budgets without the smallest, without the two smallest, and so on down to the `wanted`, or two."""
    left, fewest = list(affordable), 1 if set(wanted) & set(affordable) else 2
    for budget in affordable:
        if budget not in wanted and len(left) > fewest:
            left.remove(budget)
            yield tuple(left)


def estimate(size: Size, candidates: Mapping[str, Candidate], speed: Speed) -> float:
    """Return the estimated seconds of all thefts.

    Attackers who read the same answers are trained once: one who reads labels only costs nothing more behind a defense.
    """
    defended = [candidate for candidate in candidates.values() if not labels_only(candidate.defense)]
    trainings = 2 + size.lenses + len(defended) * (1 + 2 * size.lenses + 4 * size.thorough)
    if size.tuned:
        trainings += TUNED * (2 + len(defended))  # of labels too
    training = sum(speed.attacker.seconds_for(budget) for budget in size.budgets)
    queries = sum(size.budgets) * (1 + len(candidates))
    restorers = size.thorough * len(size.budgets) * len(defended)
    rows = trainings + len(candidates)  # cells, of which those with equal answers share a training
    overhead = OVERHEAD * rows * len(size.budgets)
    return overhead + size.seeds * (
        training * trainings + queries * speed.answer + overhead + restorers * speed.restorer
    )


def restorer_seconds(classes: int) -> float:
    """Measure the seconds in which D-DAE trains its restorer, which do not depend on the surrogate."""
    p = torch.full((TIMED_STEPS, classes), 1 / classes)
    restorer(p, p, steps=1)
    started = time.perf_counter()
    restorer(p, p, steps=TIMED_STEPS)
    return (time.perf_counter() - started) * Recovered.steps / TIMED_STEPS
