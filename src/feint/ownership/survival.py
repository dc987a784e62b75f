"""Claims against the copies of a benchmark: which marks survive a theft, and what is done to a copy afterwards."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import nn

from feint.data import Dataset
from feint.defenses.served_mark import ROWS
from feint.errors import BadInput, BadRecipe
from feint.models.networks import Classifier, Network
from feint.models.training import Training
from feint.ownership.accounts import claim_accounts
from feint.ownership.carried import marked_by_account
from feint.ownership.claim import Claim, Policy, claim
from feint.ownership.controls import plan_controls, train_controls
from feint.ownership.mark import Mark
from feint.ownership.mistakes import SameMistakes
from feint.ownership.rehearsal import rehearse
from feint.ownership.selection import Rehearsal, labels_of
from feint.ownership.triggers import OF_STUDENTS, Triggers
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.service import Service

BUDGET = 1000  # questions of a claim


@dataclass(frozen=True)
class ClaimTrial:
    """Recipe of claims against copies: the marks, the controls, and what a claim has to show.

    Attributes:
        controls: Number of innocent controls.
        rehearsals: Number of copies and of innocents by which the marks are chosen.
        least: Least number of mistakes.
        training: Training of the controls with the model's own network; by default an attacker's.
        policy: What a claim has to show.
        students: Whether networks that learned the answers of copies are rehearsed, too.

    Raises:
        BadRecipe: There are fewer than two controls, or a number below 0.
    """

    controls: int = 60
    rehearsals: int = 8
    least: int = 5
    training: Training | None = None
    policy: Policy = Policy()
    students: bool | None = None  # as False, in the tables of trials that were run without

    def __post_init__(self) -> None:
        if self.controls < 2 or self.rehearsals < 0 or self.least < 1:
            raise BadRecipe(repr(self), "controls ≥ 2, rehearsals ≥ 0 and least ≥ 1", "change it")

    def trained_controls(
        self, out: Path, network: Network, images: Dataset, *, progress: ProgressCallback = NO_PROGRESS
    ) -> dict[str, Classifier]:
        """Return the controls by name, those that the directory does not have trained now."""
        plans = plan_controls(self.controls, network, self.training)
        made = train_controls(out, plans, images.train, images.pool, progress=progress)
        return {place.name: model for place, model in made}

    def marks(
        self,
        model: nn.Module,
        images: Dataset,
        *,
        rehearsal: Rehearsal | None = None,
        progress: ProgressCallback = NO_PROGRESS,
    ) -> tuple[Mark, ...]:
        """Return the marks of a model that change nothing of it, of held-out inputs; without those of too few.

        Args:
            model: The model.
            images: Data of its task.
            rehearsal: Models by which the marks' inputs are chosen; trained now by default.
            progress: Progress callback.

        Returns:
            The marks.
        """
        count, students = self.rehearsals, bool(self.students)
        rehearsal = rehearsal or rehearse(model, images.train, images.pool, count, students=students, progress=progress)
        marks = []
        for kind in (SameMistakes(least=self.least), OF_STUDENTS if students else Triggers()):
            try:
                marks.append(kind.mark(model, images.test, rehearsal))
            except BadInput:  # too few mistakes or blends: the rows have no score of that mark
                continue
        return tuple(marks)


def judge(
    suspect: nn.Module, marks: Sequence[Mark], answers: Mapping[str, Sequence[np.ndarray]], policy: Policy
) -> Claim:
    """Return the claim against a suspect that is at hand; without a commitment, which a benchmark does not need.

    Args:
        suspect: Module from inputs to logits.
        marks: The marks.
        answers: For each control the labels (n,) that it gives to the inputs of each mark.
        policy: What the claim has to show.

    Returns:
        The claim.
    """
    return claim(Service(suspect).oracle(client="owner", budget=BUDGET), marks, answers, policy=policy)


@dataclass(frozen=True)
class SurvivalTest:
    """Claims against the copies of a model behind one defense.

    Attributes:
        trial: Recipe of the claims.
        marks: Marks of the model.
        controls: Innocent controls by name.
    """

    trial: ClaimTrial
    marks: Sequence[Mark]
    controls: Mapping[str, nn.Module]

    @cached_property
    def answers(self) -> dict[str, list[np.ndarray]]:
        """Labels of each control for the inputs of each mark."""
        return {
            name: [labels_of(control, mark.x).numpy() for mark in self.marks] for name, control in self.controls.items()
        }

    def scores(self, copy: nn.Module, service: Service) -> dict[str, float]:
        """Return the scores of a copy, by their names in `feint.evaluation.metrics`.

        Args:
            copy: The copy.
            service: The service that was stolen from, with the accounts of the theft in its ledger.

        Returns:
            The scores; without those of marks that the model does not have.
        """
        return self._by_model(copy) | self._by_account(copy, service)

    def _by_model(self, copy: nn.Module) -> dict[str, float]:
        if not self.marks:
            return {}
        policy = self.trial.policy
        result = judge(copy, self.marks, self.answers, policy)
        scores = {
            "claimed": float(result.is_evident), "claim_log_e": math.log10(result.e_value),
            "claim_asked": float(result.queries), "claim_bound": result.bound,
        }  # fmt: skip
        for i, mark in enumerate(self.marks):
            alone = judge(copy, [mark], {name: [known[i]] for name, known in self.answers.items()}, policy)
            scores[f"claimed_{mark.method.replace(' ', '_')}"] = float(alone.is_evident)
        return scores

    def _by_account(self, copy: nn.Module, service: Service) -> dict[str, float]:
        """Return the scores by the answers that the service marked for the accounts of the theft."""
        rows = {client: service.ledger[client].rows(ROWS).array for client in service.ledger.clients}
        if service.domain is None or not any(map(len, rows.values())):
            return {}
        mark = marked_by_account(rows, service.domain, next(iter(self.marks)).classes)
        known = {name: labels_of(control, mark.x).numpy() for name, control in self.controls.items()}
        oracle = Service(copy).oracle(client="owner", budget=BUDGET)
        result = claim_accounts(oracle, mark, known, policy=self.trial.policy)
        named = sum(part.named for part in result.accounts)
        return {"claimed_marked_answers": float(result.is_evident), "claim_named": named / len(rows)}
