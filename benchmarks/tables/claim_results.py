"""What a claim says of a suspect of the tables of claims, as the values of a row."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from torch import Tensor, nn

from benchmarks.tables.claimed import Setup, control_labels, controls, victim
from benchmarks.tables.rows import Row
from feint.evaluation import metrics
from feint.models import inference
from feint.ownership import Claim, Mark
from feint.ownership.survival import judge


@cache
def victim_answers(setup: Setup, model: nn.Module) -> Tensor:
    """Return the answers (N, K) of a victim to the test inputs."""
    return inference.answers(model, setup.images.test)


def measured(setup: Setup, suspect: nn.Module, model: nn.Module | None = None) -> Row:
    """Return what a suspect is worth."""
    p, labels = inference.answers(suspect, setup.images.test), setup.images.test.labels
    return {
        "data": setup.data,
        "accuracy": metrics.accuracy(p, labels),
        "fidelity": metrics.label_kept(p, victim_answers(setup, model or victim(setup))),
        "controls": len(controls(setup)),
    }


def judged(
    setup: Setup, suspect: nn.Module, evidence: Sequence[Mark], model: nn.Module | None = None, without: str = ""
) -> Row:
    """Return what a claim says of a suspect beside the controls, but one, by each mark alone and all together."""
    labels = [control_labels(setup, mark) for mark in evidence]
    names = [name for name in controls(setup) if name != without]
    row, policy = measured(setup, suspect, model), setup.trial.policy
    for mark, known in zip(evidence, labels, strict=True):
        alone = {name: [known[name]] for name in names}
        row[mark.method] = result_row(judge(suspect, [mark], alone, policy))
    together = {name: [known[name] for known in labels] for name in names}
    row["together"] = result_row(judge(suspect, evidence, together, policy))
    if setup.foreign:
        trained = {name: known for name, known in together.items() if name not in setup.foreign}
        row["beside trained controls"] = result_row(judge(suspect, evidence, trained, policy))
    return row


def result_row(result: Claim) -> Row:
    return {
        "log_e": float(np.log(result.e_value)),
        "claimed": result.is_evident,
        "asked": result.queries,
        "false_claims": result.false_claims,
        "bound": result.bound,
        "agreed": sum(part.agreed for part in result.evidence),
        "compared": sum(part.compared for part in result.evidence),
        "highest_control": max(part.highest for part in result.evidence),
    }
