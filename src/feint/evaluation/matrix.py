"""The matrix: attacks × defenses × budgets × seeds on one victim, a row for every cell."""

import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from feint import victims
from feint.attacks import Attack
from feint.data import Split
from feint.errors import BadInput
from feint.evaluation import memory, metrics
from feint.evaluation.provenance import provenance
from feint.evaluation.results import Results, Row
from feint.recipe import to_table
from feint.service import Defense, Service
from feint.watch import SILENT, Watch


@dataclass(frozen=True)
class Cell:
    """One cell: a theft, or without an attack the utility of a defense."""

    defense: str
    attack: str = ""
    budget: int = 0
    seed: int = 0


class Matrix:
    """Every attack on every defense of `victim` with every budget and seed, judged on `test`.

    `attacks` and `defenses` have names of your choice. Seeds are the outermost loop: a matrix that is interrupted has
    a first look at everything.
    """

    def __init__(
        self,
        victim: nn.Module,
        test: Split,
        *,
        attacks: Mapping[str, Attack],
        defenses: Mapping[str, Defense],
        budgets: Sequence[int],
        seeds: Iterable[int] = range(3),
    ) -> None:
        if "" in attacks or "" in defenses:
            raise BadInput("an attack or a defense without a name", "a name for each", "give it one")
        self.victim, self.test = victim, test
        self.attacks, self.defenses = dict(attacks), dict(defenses)
        self.budgets, self.seeds = list(budgets), list(seeds)
        self._victim_fingerprint = victims.fingerprint(victim)

    def cells(self) -> list[Cell]:
        """All cells, in the order in which they are run."""
        utilities = [Cell(defense) for defense in self.defenses]
        thefts = [
            Cell(defense, attack, budget, seed)
            for seed in self.seeds
            for budget in self.budgets
            for defense in self.defenses
            for attack in self.attacks
        ]
        return utilities + thefts

    def recipe(self, cell: Cell) -> dict[str, Any]:
        """Everything that the row of `cell` depends on, as plain values."""
        attack = {"attack": to_table(self.attacks[cell.attack]), "budget": cell.budget} if cell.attack else {}
        return {
            "victim": self._victim_fingerprint,
            "test": to_table(self.test),
            "defense": to_table(self.defenses[cell.defense]),
            "seed": cell.seed,
            **attack,
        }

    def fingerprint(self, cell: Cell) -> str:
        """16 hexadecimal digits that stand for the cell's recipe."""
        return hashlib.sha256(json.dumps(self.recipe(cell), sort_keys=True).encode()).hexdigest()[:16]

    def run(
        self,
        *,
        folder: Path | str | None = None,
        map: Callable[[Callable[[Cell], Row], Iterable[Cell]], Iterable[Row]] = map,
        watch: Watch = SILENT,
    ) -> Results:
        """The rows of all cells. Those in `folder` are not run again, and new ones are written there as they end.

        `map` may run cells elsewhere, as long as it returns their rows in order.
        """
        results = Results.load(folder) if folder is not None else Results()
        cells = {self.fingerprint(cell): cell for cell in self.cells()}
        missing = [cell for fingerprint, cell in cells.items() if fingerprint not in results]
        watch.step("cells", len(cells) - len(missing), len(cells))
        for done, row in enumerate(map(functools.partial(self.row, watch=watch), missing), start=1):
            results.add(row, folder)
            watch.step("cells", len(cells) - len(missing) + done, len(cells))
        return results.of(cells)

    @functools.cached_property
    def _clean(self) -> Tensor:
        """The victim's undefended answers to the test set."""
        return victims.answers(self.victim, self.test)

    def row(self, cell: Cell, *, watch: Watch = SILENT) -> Row:
        """Run one cell."""
        started = time.perf_counter()
        memory.forget_peak()
        service = Service(self.victim, self.defenses[cell.defense])
        if cell.attack:
            oracle = service.oracle(client="thief", budget=cell.budget)
            stolen = victims.answers(self.attacks[cell.attack].steal(oracle, seed=cell.seed, watch=watch), self.test)
            scores = {
                "stealer_accuracy": metrics.accuracy(stolen, self.test.labels),
                "fidelity": metrics.label_kept(stolen, self._clean),
                "n_test": len(self.test),
            }
        else:
            scores = metrics.utility(service, self.test, clean=self._clean)
        return Row(
            fingerprint=self.fingerprint(cell),
            defense=cell.defense,
            attack=cell.attack,
            budget=cell.budget,
            seed=cell.seed,
            scores={name: round(score, 6) for name, score in scores.items()},
            asked=service.ledger.queries if cell.attack else 0,  # as counted at the victim, over all of its clients
            seconds=round(time.perf_counter() - started, 3),
            recipe=self.recipe(cell),
            provenance=provenance(),
            peak_mb=None if math.isnan(peak := memory.peak_mb()) else round(peak),
        )
