"""What of a service goes into a graph, what rides beside it, and what can do neither."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from feint import onnx_manifest
from feint.defense import Defense, Ladder
from feint.errors import BadInput, NotExportable
from feint.export.tracing import SERVE, Parts
from feint.gateway.backends.onnx_model import MOVED, PROBABILITIES, SCORE, numbered
from feint.recipes import recipe as recipes
from feint.recipes import store

MARTINGALE = "inputs", "won", "weights", "alpha", "block"  # the fields of `feint.martingale.Martingale`


@dataclass(frozen=True)
class ExportPlan:
    """The `recipe` that a file stands for, the `parts` of its graph, and the access rules that stay outside of it."""

    recipe: Defense | Ladder
    parts: Parts

    @property
    def names(self) -> list[str]:
        """What the outputs of the graph are called."""
        scores = [f"{SCORE}_{i}" for i in range(len(self.parts.scores))]
        moved = numbered(MOVED, len(self.parts.rungs)) if self.parts.moved else []
        return numbered(PROBABILITIES, len(self.parts.rungs)) + scores + moved

    @property
    def rules(self) -> tuple[Any, ...]:
        """Every access rule of the recipe, in the order in which clients meet them."""
        rungs = self.recipe.rungs if isinstance(self.recipe, Ladder) else ()
        return *self.recipe.access, *(rule for rung in rungs for rule in rung.access)

    def metadata(self, *, takes: str, fingerprint: str) -> dict[str, str]:
        """The metadata of the file."""
        learned = {
            name: tensor.numpy() for rule in self.rules for name, tensor in store.weights_of(rule).items()
        } | _martingales(self.recipe)
        table = recipes.to_table(self.recipe)
        return onnx_manifest.to_metadata(takes=takes, fingerprint=fingerprint, recipe=table, learned=learned)


def make_plan(defense: Defense | Ladder, *, gateway: bool, rung: int | None) -> ExportPlan:
    """The plan for one file. Raises `NotExportable`, or `BadInput` for a rung that there is not."""
    if rung is not None:
        defense = _rung(defense, rung)
    if isinstance(defense, Ladder) and not gateway:
        raise NotExportable(
            f"a ladder of {len(defense.rungs)} rungs", "one defense: only Feint's gateway knows on which rung a client "
            "stands", f"export one with --rung 0 … {len(defense.rungs) - 1}, or all --for gateway",
        )  # fmt: skip
    rungs = defense.rungs if isinstance(defense, Ladder) else (defense,)
    plan = ExportPlan(defense, Parts(rungs, _scores(defense), moved=gateway))
    for step in [step for it in rungs for step in it.inputs]:
        raise NotExportable(f"{step!r}, an input defense", "defenses that look at answers", SERVE)
    for rule in plan.rules:
        if not getattr(rule, "servable", False):
            raise NotExportable(f"{rule!r}", "an access rule that runs without torch (servable = True)", SERVE)
    return plan


def _rung(defense: Defense | Ladder, rung: int) -> Defense:
    """One rung of a ladder, with everybody's rules before its own."""
    rungs = defense.rungs if isinstance(defense, Ladder) else (defense,)
    if not 0 <= rung < len(rungs):
        raise BadInput(f"rung {rung}", f"0 to {len(rungs) - 1}", "count from 0")
    chosen = rungs[rung]
    return replace(chosen, access=(*defense.access, *chosen.access)) if isinstance(defense, Ladder) else chosen


def _scores(defense: Defense | Ladder) -> tuple[Any, ...]:
    """What the detectors look at."""
    detectors: tuple[Any, ...] = tuple(defense.detectors) if isinstance(defense, Ladder) else ()
    for detector in detectors:
        if not getattr(detector, "exportable", False):
            raise NotExportable(f"{detector!r}", "a detector that needs one number a query, as SequentialTest", SERVE)
    return tuple(detector.score for detector in detectors)


def _martingales(defense: Defense | Ladder) -> dict[str, np.ndarray]:
    """What each detector bets, as arrays."""
    detectors: tuple[Any, ...] = tuple(defense.detectors) if isinstance(defense, Ladder) else ()
    martingales = [it.martingale() for it in detectors]
    return {
        f"detector_{i}/{name}": np.asarray(getattr(it, name)) for i, it in enumerate(martingales) for name in MARTINGALE
    }
