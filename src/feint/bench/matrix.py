"""The matrix of cells of one victim: defenses × attacks × lenses × budgets × seeds."""

import functools
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from feint import victims
from feint.attacks import Attack
from feint.bench import executor
from feint.bench.cache import CachedService, is_cacheable
from feint.bench.cells import Lenses, cells, through
from feint.data import Split
from feint.defense import Ladder
from feint.errors import BadInput
from feint.evaluation import checks, memory, metrics, probes
from feint.evaluation.decisions import check_threshold
from feint.evaluation.provenance import provenance
from feint.evaluation.results import FORMAT, Cell, Results, Row
from feint.evaluation.training_time import TrainingSpeed
from feint.evaluation.transfer import Springboard
from feint.models.cache import cache_directory
from feint.oracle import CountingOracle
from feint.ownership.survival import SurvivalTest
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.query import Answer, Query
from feint.recipes.recipe import fingerprint, to_table
from feint.runners import Runner
from feint.service import Defense, Service

Defended = Defense | Ladder | Service  # a service for a boundary defense, which has retrained the victim


class Matrix:
    """All attacks through all lenses on all defenses of a victim, with all budgets and seeds.

    Seeds are the outermost loop, so that an interrupted matrix has rows of everything with the first seeds.

    Args:
        victim: The undefended model.
        test: Test set of surrogates and defenses.
        attacks: Attacks by names of your choice. Each is run as it is, and through each lens.
        defenses: Defenses by names of your choice.
        budgets: Queries of the attacks.
        seeds: Seeds of the attacks.
        lenses: Lenses by names of your choice, the first nearest to the attack.
        against: More attacks for single defenses, by the defense's name; these are run without the lenses.
        name: Name of the victim, where there are several.
        only: Regular expression. Only cells whose “victim, defense, attack, budget” matches are run, and the utility
            of their defenses.
        springboard: Downstream attacks that are run with every surrogate.
        threshold: The owner's threshold: the probability from which on an input counts as positive.
        fitted_on: Data that defenses were fitted on, by their names; those that learn nothing have none.
        ownership: Claims against every surrogate, by the defense that it was stolen from.
        most_seeds: Number of the first seeds that are run on single defenses, by the defense's name.
        defense_budgets: Budgets in place of `budgets` for single defenses, by the defense's name.

    Raises:
        BadInput: An attack, a lens or a defense has an empty name, or the threshold is no probability.
    """

    def __init__(
        self,
        victim: nn.Module,
        test: Split,
        *,
        attacks: Mapping[str, Attack],
        defenses: Mapping[str, Defended],
        budgets: Sequence[int],
        seeds: Iterable[int] = range(3),
        lenses: Lenses | None = None,
        against: Mapping[str, Mapping[str, Attack]] | None = None,
        name: str = "",
        only: str = "",
        springboard: Springboard | None = None,
        threshold: float | None = None,
        fitted_on: Mapping[str, Sequence[Split]] | None = None,
        ownership: Mapping[str, SurvivalTest] | None = None,
        most_seeds: Mapping[str, int] | None = None,
        defense_budgets: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        if any("" in names for names in (attacks, defenses, lenses or {})):
            raise BadInput("an attack, a lens or a defense without a name", "a name for each", "give it one")
        check_threshold(threshold)
        self.name, self.victim, self.test, self.only = name, victim, test, only
        self.defenses = dict(defenses)
        everywhere = through(attacks, lenses or {})
        self.attacks = {name: {**everywhere, **(against or {}).get(name, {})} for name in defenses}
        self.budgets, self.seeds, self.springboard = list(budgets), list(seeds), springboard
        self.threshold, self.fitted_on, self.ownership = threshold, fitted_on or {}, ownership or {}
        self.most_seeds, self.defense_budgets = dict(most_seeds or {}), dict(defense_budgets or {})
        self._victim_fingerprint = victims.fingerprint(victim)

    def cells(self) -> list[Cell]:
        """Return all cells, in the order in which they are run."""
        return cells(
            self.name,
            self.attacks,
            self.budgets,
            self.seeds,
            only=self.only,
            most_seeds=self.most_seeds,
            defense_budgets=self.defense_budgets,
        )

    def recipe(self, cell: Cell) -> dict[str, Any]:
        """Return everything that the row of a cell depends on, as plain values."""
        defended, theft = self.defenses[cell.defense], {}
        judged = {} if self.threshold is None else {"threshold": self.threshold}  # as the springboard below
        if cell.attack:
            theft = {"attack": to_table(self.attacks[cell.defense][cell.attack]), "budget": cell.budget}
            if self.springboard is not None:  # left out where None, so that older fingerprints stay
                theft["springboard"] = to_table(self.springboard)
            if cell.defense in self.ownership:
                theft["ownership"] = to_table(self.ownership[cell.defense].trial)
        if isinstance(defended, Service):
            line = {"defense": to_table(defended.defense), "model": victims.fingerprint(defended.model)}
        else:
            line = {"defense": to_table(defended)}
        return {
            "victim": self._victim_fingerprint,
            "test": to_table(self.test),
            **judged,
            **line,
            "seed": cell.seed,
            **theft,
        }

    def fingerprint(self, cell: Cell) -> str:
        """Return the fingerprint of a cell's recipe, 16 hexadecimal digits."""
        return fingerprint(self.recipe(cell))

    def run(
        self,
        *,
        folder: Path | str | None = None,
        map: Runner = map,
        progress: ProgressCallback = NO_PROGRESS,
        until: float = math.inf,
    ) -> Results:
        """Run all cells. See `feint.bench.executor.run`."""
        return executor.run([self], folder=folder, map=map, progress=progress, until=until)

    @functools.cached_property
    def _clean(self) -> Tensor:
        """The victim's undefended answers to the test set."""
        return victims.answers(self.victim, self.test)

    def row(self, cell: Cell, *, progress: ProgressCallback = NO_PROGRESS) -> Row:
        """Run one cell. Within `models.cache.cached_in`, answers to batches are cached as well (`CachedService`)."""
        started = time.perf_counter()
        memory.reset_peak()
        service = self._service(cell)
        speed = TrainingSpeed(progress)
        if cell.attack:
            scores, phases = self._theft(cell, service, speed)
        else:
            scores = metrics.utility(service, self.test, clean=self._clean, threshold=self.threshold)
            phases = {}
        seconds = time.perf_counter() - started
        row = self._row(
            cell,
            scores={name: round(score, 6) for name, score in scores.items()},
            asked=service.ledger.queries if cell.attack else 0,  # as counted at the victim, over all of its clients
            seconds=round(seconds, 3),
            phases={name: round(elapsed, 3) for name, elapsed in phases.items()},
            trained_per_second=None if speed.per_second is None else round(speed.per_second),
        )
        return replace(row, flags=[str(flag) for flag in checks.row_flags(row)])

    def surrogate(self, cell: Cell, *, progress: ProgressCallback = NO_PROGRESS) -> nn.Module:
        """Return the surrogate of a theft; within `models.cache.cached_in`, one that was trained before is loaded."""
        service = _cached(self._service(cell))
        oracle = CountingOracle(service, budget=cell.budget, client="attacker")
        return self.attacks[cell.defense][cell.attack].steal(oracle, seed=cell.seed, progress=progress)

    def _service(self, cell: Cell) -> Service:
        """Return the defended victim of a cell, with a ledger of its own."""
        defended = self.defenses[cell.defense]
        if not isinstance(defended, Service):
            defended = Service(self.victim, defended)
        return Service(defended.model, defended.defense)

    def failed(self, cell: Cell, error: str) -> Row:
        """Return the row of a cell that has no scores because of an error."""
        return self._row(cell, scores={}, asked=0, seconds=0.0, phases={}, error=error)

    def _theft(
        self, cell: Cell, service: Service, progress: ProgressCallback
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores of a theft, and its seconds by phase."""
        attack = self.attacks[cell.defense][cell.attack]
        clock = _TimedService(_cached(service))
        started = time.perf_counter()
        probe = probes.TranscriptProbe()
        surrogate = probe.through(attack).steal(
            CountingOracle(clock, budget=cell.budget, client="attacker"), seed=cell.seed, progress=progress
        )
        learned = time.perf_counter()
        stolen = victims.answers(surrogate, self.test)
        scores = {
            **metrics.theft(metrics.StolenAnswers(stolen, self._clean, self.test.labels, self.threshold)),
            "n_test": len(self.test),
            **probes.scores(attack, surrogate, probe, self.test),
        }
        if fitted_on := self.fitted_on.get(cell.defense):
            scores["leak"] = probes.leak(attack, fitted_on)
        if self.springboard is not None:
            scores |= self.springboard.scores(surrogate, service, self.test)
        if cell.defense in self.ownership:
            scores |= self.ownership[cell.defense].scores(surrogate, service)
        judging = time.perf_counter() - learned
        return scores, {"asking": clock.seconds, "learning": learned - started - clock.seconds, "judging": judging}

    def _row(self, cell: Cell, **measured: Any) -> Row:
        return Row(
            fingerprint=self.fingerprint(cell),
            defense=cell.defense,
            attack=cell.attack,
            budget=cell.budget,
            seed=cell.seed,
            recipe=self.recipe(cell),
            provenance=provenance(),
            peak_mb=None if math.isnan(peak := memory.peak_mb()) else round(peak),
            victim=self.name,
            format=FORMAT,
            **measured,
        )


def _cached(service: Service) -> Service | CachedService:
    """Return the service with a cache of its answers, where there is a directory for it and it may have one."""
    folder = cache_directory() if is_cacheable(service) else None
    return service if folder is None else CachedService(service, folder / "answers")


class _TimedService:
    """A service that counts the seconds of its answers."""

    def __init__(self, service: Service | CachedService) -> None:
        self._service, self.seconds = service, 0.0

    def __call__(self, query: Query) -> Answer:
        started = time.perf_counter()
        try:
            return self._service(query)
        finally:
            self.seconds += time.perf_counter() - started
