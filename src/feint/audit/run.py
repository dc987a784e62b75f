"""Run of an audit: samples, candidates, a plan that fits the minutes, and the rows of its cells."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from feint import victims
from feint.audit import attacker
from feint.audit.advice import Constant
from feint.audit.candidates import Candidate, load_candidates
from feint.audit.ownership import NoOutlook, OwnershipOutlook, outlook
from feint.audit.plan import AuditPlan, Size, make_plan
from feint.audit.promise import NoPromise, Promise, promise, test_of
from feint.audit.samples import Samples, load_samples
from feint.bench.matrix import Matrix
from feint.data import Split
from feint.data.remarks import Remark
from feint.errors import BadInput, CallLimit
from feint.evaluation.decisions import prevalence
from feint.evaluation.results import Cell, Results
from feint.evaluation.sample_accuracy import SampleAccuracy, check_accuracy
from feint.models.cache import cached_in
from feint.models.networks import VOCABULARY
from feint.models.pretraining import copy_body
from feint.models.stored import Trained, load
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.recipes.recipe import from_table, to_table
from feint.recipes.store import atomic_write
from feint.signature import Domain

CHOOSING = 0.2  # share of the minutes in which attackers are tried


@dataclass(frozen=True)
class AuditRequest:
    """Request of a model's owner.

    Attributes:
        data: Data set, directory or file of labelled samples.
        pool: The same of the inputs about which attackers ask, None for the default.
        defenses: Sources of the candidates, the short list where there are none.
        minutes: Time that the audit may take.
        budgets: Numbers of queries that are run in any case.
        label: Column of the label, None for one of the usual names.
        expected: Accuracy that the model has on the samples, None where the owner does not give it.
        place: Model as the owner named it.
        threshold: Probability from which on an input counts as positive, None where the owner has none.
        outliers: Inputs of another task from which a test of queries may learn, None where the owner names none.
        pretrained: Directory of a network that learned another task, with whose weights attackers may begin, None where
            they all begin with new ones.
    """

    data: str
    pool: str | None = None
    defenses: tuple[str, ...] = ()
    minutes: float = 10.0
    budgets: tuple[int, ...] = ()
    label: str | None = None
    expected: float | None = None
    place: str = "MODEL"
    threshold: float | None = None
    outliers: str | None = None
    pretrained: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.minutes < float("inf"):
            raise BadInput(f"{self.minutes} minutes", "more than 0", "raise it")


@dataclass(frozen=True)
class AuditSetup:
    """Setup of a run: a plan with its samples, its candidates by name, and its cells.

    Attributes:
        plan: The plan.
        samples: Samples of the audit.
        candidates: Candidates by name.
        cells: Cells of the plan.
        accuracy: Accuracy of the model on the samples.
        constant: Scores of a constant answer on the samples that judge.
        classes: Names of the classes.
    """

    plan: AuditPlan
    samples: Samples
    candidates: Mapping[str, Candidate]
    cells: Sequence[Cell]
    accuracy: SampleAccuracy
    constant: Constant
    classes: tuple[str, ...]

    @property
    def notes(self) -> tuple[Remark, ...]:
        """Notes on samples and plan."""
        return *self.samples.notes, *self.plan.notes


@dataclass(frozen=True)
class Audit:
    """Outcome of a run.

    Attributes:
        request: The request.
        victim: The model.
        setup: The setup.
        results: The results, complete or not.
        promise: What may be promised.
        ownership: Evidence that a claim of ownership would have.
        interrupted: Whether the owner ended the run.
    """

    request: AuditRequest
    victim: nn.Module
    setup: AuditSetup
    results: Results
    promise: Promise | NoPromise
    ownership: OwnershipOutlook | NoOutlook
    interrupted: bool = False

    @property
    def missing(self) -> list[Cell]:
        """Cells without scores."""
        scored = {(row.defense, row.attack, row.budget, row.seed) for row in self.results if not row.error}
        return [cell for cell in self.setup.cells if (cell.defense, cell.attack, cell.budget, cell.seed) not in scored]


class Announcements(Protocol):
    """What is said before the first theft."""

    def samples(self, samples: Samples) -> None:
        """Announce the samples, before the model is asked anything."""
        ...

    def accuracy(self, accuracy: SampleAccuracy) -> None:
        """Announce the accuracy of the model on the samples, before anything is planned."""
        ...

    def plan(self, setup: AuditSetup) -> None:
        """Announce the plan."""
        ...


def run(
    victim: nn.Module, request: AuditRequest, folder: Path, *, announce: Announcements, progress: ProgressCallback
) -> Audit:
    """Audit `victim`. The same request in the same folder continues: finished cells are not run again.

    No theft is begun when the minutes are over. Ctrl-C ends the run as well, with `interrupted` set.

    Args:
        victim: Model to audit.
        request: Samples, candidates and time.
        folder: Directory of all results. Rows, plan and fitted defenses are in a directory of the model's fingerprint
            in it, since another model under the same name is another model.
        announce: Called before the first theft.
        progress: Callback of the trainings and the cells.

    Returns:
        The outcome.
    """
    with cached_in(folder / ".work"):
        return _run(victim, request, folder / ".work" / victims.fingerprint(victim), announce, progress)


def _run(
    victim: nn.Module, request: AuditRequest, folder: Path, announce: Announcements, progress: ProgressCallback
) -> Audit:
    started = time.monotonic()
    if request.outliers is not None and isinstance(victim, victims.FromAnswers):
        expected = "a model here, of which features can be read"
        raise BadInput(f"--outliers {request.outliers} for a model elsewhere", expected, "leave --outliers out")
    samples = load_samples(
        request.data, request.pool, victims.domain_of(victim), classes=victims.label_classes(victim),
        label=request.label, outliers=request.outliers,
    )  # fmt: skip
    start = None if request.pretrained is None else _start(request.pretrained, samples.judge.domain)
    announce.samples(samples)
    first = attacker.first_asked(samples.pool)
    _check_ceiling(victim, samples, first)
    accuracy = check_accuracy(
        victim, samples.labelled, expected=request.expected, classes=samples.classes, place=request.place,
        data=request.data, label=request.label,
    )  # fmt: skip
    announce.accuracy(accuracy)
    p = victims.answers(victim, samples.judge)
    asked = time.monotonic()
    answered = victims.answers(victim, first)
    seconds_per_answer = (time.monotonic() - asked) / len(first)
    candidates = load_candidates(request.defenses, victim, samples.fit, folder / "defenses", progress)
    if samples.outliers is not None and test_of(candidates)[0] is not None:
        got = f"--outliers {request.outliers} beside a ladder with a test of its own"
        raise BadInput(got, "one of the two", "leave one out: outliers are for the test that an audit fits")
    promised = promise(victim, samples, candidates, progress)
    key = _plan_key(victim, samples, candidates, request, start)
    plan = _load_plan(folder / "plan.json", key, start)
    if plan is None:
        choice = _choose(victim, first, answered, start, CHOOSING * request.minutes * 60, progress)
        plan = make_plan(
            samples, candidates, choice, minutes=request.minutes, seconds_per_answer=seconds_per_answer,
            budgets=request.budgets, spent=time.monotonic() - started,
        )  # fmt: skip
    _save_plan(folder / "plan.json", key, plan)
    matrix = plan.matrix(victim, samples, candidates, threshold=request.threshold)
    classes = samples.classes
    numbers = tuple(map(str, range(p.shape[1])))
    setup = AuditSetup(
        plan, samples, candidates, matrix.cells(), accuracy, _constant(samples, p),
        classes if len(classes) == p.shape[1] else numbers,
    )  # fmt: skip
    announce.plan(setup)
    interrupted = False
    try:
        until = math.inf if plan.least else started + request.minutes * 60
        results = matrix.run(folder=folder / "rows", progress=progress, until=until)
    except KeyboardInterrupt:
        results, interrupted = _finished_rows(matrix, folder / "rows"), True
    if interrupted:
        claimable: OwnershipOutlook | NoOutlook = NoOutlook("claim interrupted")
    else:
        claimable = outlook(victim, samples, plan, matrix, results, progress)
    return Audit(request, victim, setup, results, promised, claimable, interrupted)


def _check_ceiling(victim: nn.Module, samples: Samples, first: Split) -> None:
    """Raise `CallLimit` where the least that any audit asks would exceed the ceiling, before anything is paid for."""
    if not isinstance(victim, victims.FromAnswers) or victim.recorded or victim.meter.most is None:
        return
    calls = sum(victim.calls(split.inputs()) for split in (samples.fit, samples.judge, first))
    if calls > victim.meter.most:
        raise CallLimit(
            f"{calls:,} {samples.judge.domain.noun} to ask about, {victim.meter.price(calls)}",
            f"at most {victim.meter.most:,} (--max-calls)", "raise it, or bring fewer samples",
        )  # fmt: skip


def _start(place: Path, domain: Domain) -> Trained:
    """Return the network of a directory, before anything is asked of the model."""
    source = load(place)
    copy_body(source, replace(source.network, domain=domain).build())  # which refuses what no attacker can begin with
    return Trained.of(source)


def _choose(
    victim: nn.Module, asked: Split, p: Tensor, start: Trained | None, seconds: float, progress: ProgressCallback
) -> attacker.AttackerChoice:
    """Try attackers on answers (N, K) to inputs that the first theft will ask as well, the pretrained ones first."""
    surrogates = attacker.contenders(victim, asked.domain, p.shape[1])
    if start is not None:
        surrogates = [*attacker.pretrained(surrogates, start), *surrogates]
    with cached_in(None):  # a training from a cache takes no time
        return attacker.choose(surrogates, asked, p, seconds=seconds, progress=progress)


def _constant(samples: Samples, p: Tensor) -> Constant:
    """Return the scores of the most frequent class and of the model's most frequent answer."""
    return Constant(prevalence(samples.judge.labels), prevalence(p.argmax(1)))


def _finished_rows(matrix: Matrix, rows: Path) -> Results:
    return Results.load(rows).of(map(matrix.fingerprint, matrix.cells()))


def _plan_key(
    victim: nn.Module,
    samples: Samples,
    candidates: Mapping[str, Candidate],
    request: AuditRequest,
    start: Trained | None,
) -> list[Any]:
    """Return the inputs of a plan: a stored plan with other inputs is made anew."""
    splits = [split.fingerprint for split in (samples.fit, samples.judge, samples.pool)]
    known = [] if start is None else [victims.fingerprint(start.model)]
    return [victims.fingerprint(victim), splits, list(candidates), request.minutes, list(request.budgets), *known]


def _load_plan(file: Path, key: list[Any], start: Trained | None) -> AuditPlan | None:
    """Return the stored plan for `key`, None where there is none: speeds measured today would give another plan."""
    try:
        stored = json.loads(file.read_text())
        if stored["for"] != key:
            return None
        size, started = stored["size"], start if stored["pretrained"] else None
        return AuditPlan(
            from_table(stored["surrogate"], VOCABULARY),
            replace(Training(**stored["training"]), start=started),
            Size(**{**size, "budgets": tuple(size["budgets"])}),
            stored["seconds"],
            tuple(Remark(*note) for note in stored["notes"]),
            stored["tried"],
            stored["baselines"],
            stored["least"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save_plan(file: Path, key: list[Any], plan: AuditPlan) -> None:
    table = asdict(replace(plan, training=replace(plan.training, start=None)))  # weights are in their own directory
    table |= {"surrogate": to_table(plan.surrogate), "pretrained": plan.training.start is not None}
    with atomic_write(file) as partial:
        partial.write_text(json.dumps({"for": key, **table}, indent=1))
