"""Plan of an export: the parts of a service for the graph, and the access rules for the metadata."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from feint import onnx_manifest
from feint.defense import Defense, Ladder, draws
from feint.defenses.access import Campaign
from feint.defenses.outputs import Output
from feint.defenses.served_mark import ServedMark
from feint.errors import BadInput, NotExportable
from feint.export.tracing import SERVE, Parts
from feint.gateway.backends.onnx_model import MOVED, PROBABILITIES, SCORE, numbered
from feint.recipes import recipe as recipes
from feint.recipes import store
from feint.recipes.field_types import check_plain_types
from feint.signature import Domain


@dataclass(frozen=True)
class ExportPlan:
    """Plan of one file.

    Attributes:
        recipe: Defense or ladder that the file represents, without keys.
        parts: Rungs and scores of the graph.
    """

    recipe: Defense | Ladder
    parts: Parts

    @property
    def names(self) -> list[str]:
        """Names of the graph's outputs."""
        scores = [f"{SCORE}_{i}" for i in range(len(self.parts.scores))]
        moved = numbered(MOVED, len(self.parts.rungs)) if self.parts.moved else []
        return numbered(PROBABILITIES, len(self.parts.rungs)) + scores + moved

    @property
    def rules(self) -> tuple[Any, ...]:
        """Access rules of the recipe, which stay outside of the graph, in the order in which they apply."""
        rungs = self.recipe.rungs if isinstance(self.recipe, Ladder) else ()
        return *self.recipe.access, *(rule for rung in rungs for rule in rung.access)

    @property
    def marks(self) -> tuple[Any, ...]:
        """Marks of the recipe, which stay outside of the graph, too."""
        return tuple(step for rung in _rungs(self.recipe) for step in rung.outputs if isinstance(step, ServedMark))

    def metadata(
        self, *, takes: str, fingerprint: str, domain: Domain | None = None, labels: Sequence[str] = ()
    ) -> dict[str, str]:
        """Return the metadata of the file: the recipe, learned arrays, the fingerprint, domain and names of classes."""
        learned = {
            name: tensor.numpy() for rule in self.rules for name, tensor in store.weights_of(rule).items()
        } | _martingales(self.recipe)
        table = recipes.to_table(self.recipe)
        return onnx_manifest.to_metadata(
            takes=takes, fingerprint=fingerprint, recipe=table, learned=learned, domain=domain, labels=labels
        )


def make_plan(defense: Defense | Ladder, *, gateway: bool, rung: int | None) -> ExportPlan:
    """Plan one file. `BadRecipe` is raised for an access rule with a value of another type than its field's.

    Args:
        defense: Defense or ladder to export.
        gateway: Whether the file is for Feint's gateway, which runs ladders and needs scores and distances.
        rung: Number of the only rung to export, None for all.

    Returns:
        The plan.

    Raises:
        NotExportable: For a ladder without `gateway`, an input defense, a defense that draws by a key and is not
            one for the gateway at the end, or a rule or detector that needs torch.
        BadInput: For an unknown rung.
    """
    if rung is not None:
        if not 0 <= rung < (count := len(_rungs(defense))):
            raise BadInput(f"rung {rung}", f"0 to {count - 1}", "count from 0")
        defense = _select_rung(defense, rung)
    if isinstance(defense, Ladder) and not gateway:
        raise NotExportable(
            f"a ladder of {len(defense.rungs)} rungs", "one defense: only Feint's gateway knows on which rung a client "
            "stands", f"export one with --rung 0 … {len(defense.rungs) - 1}, or all --for gateway",
        )  # fmt: skip
    rungs = _rungs(defense)
    for step in [step for member in rungs for step in member.inputs]:
        raise NotExportable(f"{step!r}, an input defense", "defenses that look at answers", SERVE)
    traced = [_traced(member, gateway=gateway) for member in rungs]
    plan = ExportPlan(_locked(defense), Parts(traced, _scores(defense), moved=gateway))
    for rule in plan.rules:
        if not getattr(rule, "servable", False):
            raise NotExportable(f"{rule!r}", "an access rule that runs without torch (servable = True)", SERVE)
        check_plain_types(type(rule), vars(rule))  # or the file would be refused where it is read
    return plan


def _rungs(defense: Defense | Ladder) -> tuple[Defense, ...]:
    return tuple(defense.rungs) if isinstance(defense, Ladder) else (defense,)


def _traced(rung: Defense, *, gateway: bool) -> Defense:
    """Return a rung without the output defenses at its end that the gateway applies, or raise `NotExportable`."""
    steps = list(rung.outputs)
    while gateway and steps and _beside(steps[-1]):
        steps.pop()
    for step in filter(draws, steps):  # its text has the key
        got = f"{type(step).__name__} (numbers drawn by HMAC-SHA256)"
        if _beside(step):
            raise NotExportable(got, "the last output defense, for Feint's gateway", "move it, and add --for gateway")
        raise NotExportable(got, "arithmetic that ONNX knows", SERVE)
    return replace(rung, outputs=steps)


def _locked(defense: Defense | Ladder) -> Any:
    """Return a defense in which the steps for the gateway have no key."""
    if isinstance(defense, Ladder):
        return replace(defense, rungs=[_locked(rung) for rung in defense.rungs])
    return replace(defense, outputs=[_beside(step) or step for step in defense.outputs])


def _beside(step: Any) -> ServedMark | None:
    """Return what the gateway applies in the place of an output defense, if it does."""
    return step.beside() if isinstance(step, Output) else None


def _select_rung(defense: Defense | Ladder, rung: int) -> Defense:
    """Return one rung of a ladder, with the ladder's access rules before its own."""
    chosen = _rungs(defense)[rung]
    return replace(chosen, access=(*defense.access, *chosen.access)) if isinstance(defense, Ladder) else chosen


def _scores(defense: Defense | Ladder) -> tuple[Any, ...]:
    """Return the scores of the detectors and of the campaign, or raise `NotExportable`."""
    detectors: tuple[Any, ...] = tuple(defense.detectors) if isinstance(defense, Ladder) else ()
    for detector in detectors:
        if not getattr(detector, "exportable", False):
            raise NotExportable(f"{detector!r}", "a detector that needs one number a query, as SequentialTest", SERVE)
    campaign = defense.campaign if isinstance(defense, Ladder) else None
    pooled = (campaign.test.ranked_score,) if isinstance(campaign, Campaign) else ()
    return (*(detector.ranked_score for detector in detectors), *pooled)


def _martingales(defense: Defense | Ladder) -> dict[str, np.ndarray]:
    """Return the martingales of the detectors and of the campaign as arrays, by name."""
    if not isinstance(defense, Ladder):
        return {}
    detectors: tuple[Any, ...] = tuple(defense.detectors)
    tests = {f"detector_{i}": detector for i, detector in enumerate(detectors)}
    if isinstance(defense.campaign, Campaign):
        tests["campaign"] = defense.campaign.test
    return {
        f"{place}/{name}": array for place, test in tests.items() for name, array in test.martingale().arrays().items()
    }
