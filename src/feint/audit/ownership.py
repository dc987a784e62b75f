"""Evidence that a claim of ownership would have: for the copies that an audit trained, by the model's mistakes."""

import math
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from torch import nn

from feint.audit.candidates import NONE
from feint.audit.samples import Samples
from feint.defenses.access.binomial import upper_bound
from feint.errors import BadInput
from feint.models.seeds import named_seed
from feint.models.training import train
from feint.ownership.claim import Policy
from feint.ownership.comparison import Evidence, compare
from feint.ownership.controls import bounded
from feint.ownership.mistakes import SameMistakes
from feint.ownership.selection import labels_of
from feint.progress import ProgressCallback

if TYPE_CHECKING:
    from feint.audit.plan import AuditPlan
    from feint.bench.matrix import Matrix
    from feint.evaluation.results import Results

INNOCENTS = 3  # models that the audit trains for the comparison; a claim needs many more
COPIES = "KnockoffNets", "KnockoffNets, labels only"


@dataclass(frozen=True)
class CopyEvidence:
    """Evidence against one copy.

    Attributes:
        budget: Number of queries that it cost.
        attack: Name of the attack.
        fidelity: Share of the samples on which it gives the model's label.
        evidence: Comparison with the innocent that comes nearest.
    """

    budget: int
    attack: str
    fidelity: float
    evidence: Evidence

    def mistakes_needed(self, alpha: float) -> int | None:
        """Return the number of mistakes with which evidence that grows like this is enough; None if it does not grow.

        The logarithm of the e-value grows in proportion to the questions, where inputs are alike.
        """
        if self.evidence.log_e <= 0:
            return None
        return math.ceil(self.evidence.asked * -math.log(alpha) / self.evidence.log_e)


@dataclass(frozen=True)
class OwnershipOutlook:
    """Evidence that a claim by the model's mistakes would have.

    Attributes:
        mistakes: Number of held-out samples that the model gets wrong.
        samples: Number of held-out samples.
        innocents: Number of innocent models that the copies were compared with.
        copies: Evidence against each copy without a defense, by ascending budget.
        policy: What a claim has to show by default.
    """

    mistakes: int
    samples: int
    innocents: int
    copies: tuple[CopyEvidence, ...]
    policy: Policy = Policy()

    @property
    def controls_needed(self) -> int:
        """Number of controls of which none may be claimed, for the bound on false claims that a claim needs."""
        return next(n for n in count(1) if upper_bound(0, n) <= self.policy.most_false)

    @property
    def strongest(self) -> CopyEvidence:
        """The copy against which there is most evidence."""
        return max(self.copies, key=lambda copy: (copy.evidence.log_e, copy.budget))

    def is_enough(self, copy: CopyEvidence) -> bool:
        """Return whether the evidence against a copy would be enough, with controls and a commitment."""
        return copy.evidence.log_e >= -math.log(self.policy.alpha)


@dataclass(frozen=True)
class NoOutlook:
    """Reason why nothing is known of a claim.

    Attributes:
        reason: Name of a text in texts.toml, or the text of an error.
    """

    reason: str


def outlook(
    victim: nn.Module,
    samples: Samples,
    plan: "AuditPlan",
    matrix: "Matrix",
    results: "Results",
    progress: ProgressCallback,
) -> OwnershipOutlook | NoOutlook:
    """Compare the copies that were trained without a defense with innocent models, by the model's mistakes.

    The copies are loaded from the audit's cache. The innocents are trained on the samples to fit on, and the mistakes
    are those among the samples to judge on: the model is asked nothing new.

    Args:
        victim: The model.
        samples: Samples of the audit.
        plan: Plan of the audit; its surrogate is the innocents' network.
        matrix: Matrix of the thefts.
        results: Rows of the thefts that were run.
        progress: Callback of the trainings.

    Returns:
        The evidence, or why nothing is known.
    """  # fmt: skip
    scored = {(row.defense, row.attack, row.budget, row.seed) for row in results if not row.error}
    cells = [
        cell for cell in matrix.cells()
        if cell.defense == NONE and cell.attack in COPIES and cell.seed == 0
        and (cell.defense, cell.attack, cell.budget, cell.seed) in scored
    ]  # fmt: skip
    if not cells:
        return NoOutlook("claim no copy")
    if plan.surrogate.classes == 2:  # all models that are wrong give the same label
        return NoOutlook("claim two classes")
    try:
        mark = SameMistakes(most=len(samples.judge), least=1).mark(victim, samples.judge)
    except BadInput as error:
        return NoOutlook(str(error))
    training = bounded(plan.training, len(samples.fit))
    seeds = {f"innocent {i}": named_seed(f"innocent {i}", 0) for i in range(INNOCENTS)}
    innocents = {
        name: labels_of(train(plan.surrogate, samples.fit, training=training, seed=seed), mark.x).numpy()
        for name, seed in seeds.items()
    }
    rows = {(row.attack, row.budget): row for row in results if row.defense == NONE and row.seed == 0}
    copies = [
        CopyEvidence(
            cell.budget, cell.attack, rows[cell.attack, cell.budget].scores["fidelity"],
            compare(mark, labels_of(matrix.surrogate(cell, progress=progress), mark.x).numpy(), innocents),
        )
        for cell in sorted(cells, key=lambda cell: (cell.budget, cell.attack))
    ]  # fmt: skip
    return OwnershipOutlook(len(mark), len(samples.judge), len(innocents), tuple(copies))
