"""Run of an audit: samples, candidates, a plan that fits the minutes, and the rows of its cells."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from feint import victims
from feint.audit.candidates import Candidate, load_candidates
from feint.audit.plan import AuditPlan, Size, make_plan, time_answers
from feint.audit.samples import Note, Samples, load_samples
from feint.bench.matrix import Matrix
from feint.errors import BadInput
from feint.evaluation.results import Cell, Results
from feint.models.cache import cached_in
from feint.models.networks import VOCABULARY
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.recipes.recipe import from_table, to_table
from feint.recipes.store import atomic_write


@dataclass(frozen=True)
class AuditRequest:
    """Request of a model's owner.

    Attributes:
        data: Data set, directory or file of labelled samples.
        pool: The same of the images about which attackers ask, None for the default.
        defenses: Sources of the candidates, the short list where there are none.
        minutes: Time that the audit may take.
        budgets: Numbers of queries that are run in any case.
    """

    data: str
    pool: str | None = None
    defenses: tuple[str, ...] = ()
    minutes: float = 10.0
    budgets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.minutes < float("inf"):
            raise BadInput(f"{self.minutes} minutes", "more than 0", "raise it")


@dataclass(frozen=True)
class AuditSetup:
    """Setup of a run: a plan with its samples, its candidates by name, and its cells."""

    plan: AuditPlan
    samples: Samples
    candidates: Mapping[str, Candidate]
    cells: Sequence[Cell]

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes on samples and plan."""
        return *self.samples.notes, *self.plan.notes


@dataclass(frozen=True)
class Audit:
    """Outcome of a run: the victim, the setup, and the results, complete or not."""

    victim: nn.Module
    setup: AuditSetup
    results: Results
    interrupted: bool = False

    @property
    def missing(self) -> list[Cell]:
        """Cells without scores."""
        scored = {(row.defense, row.attack, row.budget, row.seed) for row in self.results if not row.error}
        return [cell for cell in self.setup.cells if (cell.defense, cell.attack, cell.budget, cell.seed) not in scored]


def run(
    victim: nn.Module,
    request: AuditRequest,
    folder: Path,
    *,
    on_setup: Callable[[AuditSetup], None],
    progress: ProgressCallback,
) -> Audit:
    """Audit `victim`. The same request in the same folder continues: finished cells are not run again.

    No theft is begun when the minutes are over. Ctrl-C ends the run as well, with `interrupted` set.

    Args:
        victim: Model to audit.
        request: Samples, candidates and time.
        folder: Directory of rows, plan and fitted defenses.
        on_setup: Called with the setup before the first theft.
        progress: Callback of the trainings and the cells.

    Returns:
        The outcome.
    """
    with cached_in(folder / ".work"):
        return _run(victim, request, folder, on_setup, progress)


def _run(
    victim: nn.Module,
    request: AuditRequest,
    folder: Path,
    on_setup: Callable[[AuditSetup], None],
    progress: ProgressCallback,
) -> Audit:
    started = time.monotonic()
    samples = load_samples(request.data, request.pool, victims.domain_of(victim))
    classes = victims.classes_of(victim, samples.judge.domain)
    answer_seconds = time_answers(victim, samples.judge)
    candidates = load_candidates(request.defenses, victim, samples.fit, folder / "defenses", progress)
    key = _plan_key(victim, samples, candidates, request)
    spent = time.monotonic() - started
    plan = _load_plan(folder / "plan.json", key) or make_plan(
        victim, samples, candidates, classes=classes, minutes=request.minutes, seconds_per_answer=answer_seconds,
        budgets=request.budgets, spent=spent,
    )  # fmt: skip
    _save_plan(folder / "plan.json", key, plan)
    matrix = plan.matrix(victim, samples, candidates)
    setup = AuditSetup(plan, samples, candidates, matrix.cells())
    on_setup(setup)
    interrupted = False
    try:
        until = math.inf if plan.least else started + request.minutes * 60
        results = matrix.run(folder=folder / "rows", progress=progress, until=until)
    except KeyboardInterrupt:
        results, interrupted = _finished_rows(matrix, folder / "rows"), True
    return Audit(victim, setup, results, interrupted)


def _finished_rows(matrix: Matrix, rows: Path) -> Results:
    return Results.load(rows).of(map(matrix.fingerprint, matrix.cells()))


def _plan_key(
    victim: nn.Module, samples: Samples, candidates: Mapping[str, Candidate], request: AuditRequest
) -> list[Any]:
    """Return the inputs of a plan: a stored plan with other inputs is made anew."""
    images = [split.fingerprint for split in (samples.fit, samples.judge, samples.pool)]
    return [victims.fingerprint(victim), images, list(candidates), request.minutes, list(request.budgets)]


def _load_plan(file: Path, key: list[Any]) -> AuditPlan | None:
    """Return the stored plan for `key`, None where there is none: speeds measured today would give another plan."""
    try:
        stored = json.loads(file.read_text())
        if stored["for"] != key:
            return None
        size = stored["size"]
        return AuditPlan(
            from_table(stored["surrogate"], VOCABULARY),
            Training(**stored["training"]),
            Size(**{**size, "budgets": tuple(size["budgets"])}),
            stored["seconds"],
            tuple(Note(*note) for note in stored["notes"]),
            stored["least"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save_plan(file: Path, key: list[Any], plan: AuditPlan) -> None:
    with atomic_write(file) as partial:
        partial.write_text(json.dumps({"for": key, **asdict(plan), "surrogate": to_table(plan.surrogate)}, indent=1))
