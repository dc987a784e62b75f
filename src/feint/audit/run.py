"""The run of an audit: samples, candidates, a plan that fits the minutes, and the rows that come of it."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from feint import victims
from feint.audit.candidates import Candidate, candidates
from feint.audit.notes import Note
from feint.audit.plan import AuditPlan, Size, make_plan, timed
from feint.audit.samples import Samples, gather
from feint.bench.matrix import Matrix
from feint.errors import BadInput
from feint.evaluation.results import Cell, Results
from feint.models.networks import Network
from feint.models.training import Training
from feint.progress import ProgressCallback
from feint.recipes.store import atomic_write


@dataclass(frozen=True)
class AuditRequest:
    """What an owner asks for: where his samples are, and what the audit may take."""

    data: str
    pool: str | None = None
    defenses: tuple[str, ...] = ()
    minutes: float = 10.0
    budgets: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.minutes < float("inf"):
            raise BadInput(f"{self.minutes} minutes", "more than 0", "raise it")


@dataclass(frozen=True)
class Work:
    """What is going to be run: a plan, on these samples, with these candidates."""

    plan: AuditPlan
    samples: Samples
    tried: Mapping[str, Candidate]
    cells: Sequence[Cell]

    @property
    def notes(self) -> tuple[Note, ...]:
        """What is to be said of both."""
        return *self.samples.notes, *self.plan.notes


@dataclass(frozen=True)
class Audit:
    """What a run left: its results, complete or not, and what they were made with."""

    victim: nn.Module
    work: Work
    results: Results
    interrupted: bool = False

    @property
    def missing(self) -> list[Cell]:
        """The cells that have no scores."""
        scored = {(row.defense, row.attack, row.budget, row.seed) for row in self.results if not row.error}
        return [it for it in self.work.cells if (it.defense, it.attack, it.budget, it.seed) not in scored]


def run(
    victim: nn.Module, request: AuditRequest, folder: Path, *, told: Callable[[Work], None], progress: ProgressCallback
) -> Audit:
    """Audit `victim`, keeping everything in `folder`; what is there is not made again. `told` hears what is
    going to be run. Ctrl-C leaves what was finished, as an audit that was `interrupted`; no theft is begun when the
    minutes are over, and the same request continues."""
    started = time.monotonic()
    progress.folder = folder / ".work"
    samples = gather(request.data, request.pool, victims.shape_of(victim))
    classes = victims.classes_of(victim, samples.judge.shape)
    _, answer = timed(victim, samples.judge)
    tried = candidates(request.defenses, victim, samples.fit, folder / "defenses", progress)
    given = {"classes": classes, "minutes": request.minutes, "answer": answer, "budgets": request.budgets}
    key = _key(victim, samples, tried, request)
    spent = time.monotonic() - started
    plan = _kept(folder / "plan.json", key) or make_plan(victim, samples, tried, spent=spent, **given)
    _keep(folder / "plan.json", key, plan)
    matrix = plan.matrix(victim, samples, tried)
    work = Work(plan, samples, tried, matrix.cells())
    told(work)
    interrupted = False
    try:
        until = math.inf if plan.least else started + request.minutes * 60
        results = matrix.run(folder=folder / "rows", progress=progress, until=until)
    except KeyboardInterrupt:
        results, interrupted = _finished(matrix, folder / "rows"), True
    return Audit(victim, work, results, interrupted)


def _finished(matrix: Matrix, rows: Path) -> Results:
    return Results.load(rows).of(map(matrix.fingerprint, matrix.cells()))


def _key(victim: nn.Module, samples: Samples, tried: Mapping[str, Candidate], request: AuditRequest) -> list[Any]:
    """What a plan was made for: with anything else, another one is made."""
    images = [it.fingerprint for it in (samples.fit, samples.judge, samples.pool)]
    return [victims.fingerprint(victim), images, list(tried), request.minutes, list(request.budgets)]


def _kept(file: Path, key: list[Any]) -> AuditPlan | None:
    """The plan that was made before for the same: the speed measured today would make another one of it."""
    try:
        held = json.loads(file.read_text())
        if held["for"] != key:
            return None
        network, size = held["surrogate"], held["size"]
        return AuditPlan(
            Network(network["name"], tuple(network["shape"]), network["classes"]),
            Training(**held["training"]),
            Size(**{**size, "budgets": tuple(size["budgets"])}),
            held["seconds"],
            tuple(Note(*it) for it in held["notes"]),
            held["least"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(file: Path, key: list[Any], plan: AuditPlan) -> None:
    with atomic_write(file) as partial:
        partial.write_text(json.dumps({"for": key, **asdict(plan)}, indent=1))
