"""Claim: is a suspect a copy of a model? By labels alone, beside controls, with a bound on false claims."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from feint.defenses.access.binomial import upper_bound
from feint.errors import BadInput, Failed, FeintError, TimedOut, Unreachable
from feint.oracle import Oracle
from feint.ownership.commitment import Commitment
from feint.ownership.comparison import Evidence, compare, log_e_after
from feint.ownership.mark import Mark
from feint.ownership.mistakes import SameMistakes
from feint.ownership.ordinary import TaskCheck, as_good, check_task, least_as_good, separated
from feint.ownership.plan import ORDINARY, turns
from feint.ownership.statistics import mean_log_e
from feint.ownership.triggers import Triggers

OF_MODELS = SameMistakes.method, Triggers.method  # marks with which a good innocent agrees more than a weak one
FOR_OTHERS = "controls not compared", "no commitment", "not dated", "late commitment"  # a benchmark needs none of it
AGREEING = 0.75  # share of a mark on which no innocent may agree; of digits they agree with up to 0.53 of triggers


@dataclass(frozen=True)
class Policy:
    """What a claim has to show.

    Attributes:
        alpha: Probability of a claim against a suspect that agrees no more often than an innocent control does.
        most_false: Greatest bound on the share of innocents that would be claimed, with a confidence of 95 %. 59
            controls of which none would be claimed give 4.95 %.
        fdr: Expected share of innocents among the accounts that are named, bounded by e-BH; None bounds the probability
            that any is innocent by `alpha` instead, by Holm's procedure.
    """

    alpha: float = 1e-3
    most_false: float = 0.05
    fdr: float | None = None

    def __post_init__(self) -> None:
        if not all(0 < p < 1 for p in (self.alpha, self.most_false, self.alpha if self.fdr is None else self.fdr)):
            raise BadInput(repr(self), "probabilities between 0 and 1", "change it")


@dataclass(frozen=True)
class AccountEvidence:
    """Evidence that a suspect learned the marked answers of one account.

    Attributes:
        account: Name of the account.
        marked: Number of its marked answers that no other account got.
        evidence: Evidence of these; None where nothing was asked.
        named: Whether it is enough, beside that of all other accounts.
    """

    account: str
    marked: int
    evidence: Evidence | None
    named: bool

    @property
    def log_e(self) -> float:
        """Logarithm of the e-value."""
        return self.evidence.log_e if self.evidence else 0.0


@dataclass(frozen=True)
class Claim:
    """Result of a claim.

    Attributes:
        evidence: Evidence of each mark.
        e_value: Mean of the marks' e-values: by how much the evidence multiplied a stake against innocence.
        queries: Number of questions that the suspect answered.
        controls: Number of controls.
        claimed_controls: Names of the controls that would be claimed if they were the suspect.
        bound: Upper bound of the share of innocents that would be claimed, with a confidence of 95 %.
        commitment: The commitment to the marks; None for none.
        appeared: Time at which the suspect appeared, in seconds since the epoch; None where it is not known.
        policy: What the claim has to show.
        reasons: Codes of what speaks against the claim; none for a claim. See `texts.toml`.
        refusal: Why the suspect answered no more, if it did not.
        accounts: Evidence for each account, the most first, where the mark is of marked answers.
        as_good: Number of controls that are as good as the marked model; None where it is not known.
        task: The suspect's answers to ordinary inputs; None where it was not asked about any.
        unanswered: Number of questions of the marks without an answer, each of which counts as one that disagrees.
        alike: Names of the controls that gave the suspect's label to every question about the marks.
        is_model: Whether the suspect's weights are those of the marked model itself.
    """

    evidence: Sequence[Evidence]
    e_value: float
    queries: int
    controls: int
    claimed_controls: Sequence[str]
    bound: float
    commitment: Commitment | None
    appeared: float | None
    policy: Policy
    reasons: Sequence[str] = ()
    refusal: str = ""
    accounts: Sequence[AccountEvidence] = ()
    as_good: int | None = None
    task: TaskCheck | None = None
    unanswered: int = 0
    alike: Sequence[str] = ()
    is_model: bool = False

    @property
    def false_claims(self) -> int:
        """Number of controls that would be claimed if they were the suspect."""
        return len(self.claimed_controls)

    @property
    def named(self) -> list[str]:
        """Names of the accounts whose answers there is evidence that the suspect learned; none without a claim."""
        return [part.account for part in self.accounts if part.named and self.is_copy]

    @property
    def shared(self) -> list[Evidence]:
        """Evidence of the marks on which a control agrees so often that they are not the model's own."""
        return [part for part in self.evidence if part.method != SameMistakes.method and part.highest >= AGREEING]

    @property
    def is_evident(self) -> bool:
        """Whether nothing speaks against the claim but what is needed to convince others, not in a benchmark."""
        return set(self.reasons) <= set(FOR_OTHERS)

    @property
    def is_copy(self) -> bool:
        """Whether there is evidence that the suspect is a copy."""
        return not self.reasons

    @property
    def p_value(self) -> float:
        """Probability of this much evidence, or more, for an innocent, at any time that one stops asking."""
        return min(1.0, 1 / self.e_value) if self.e_value > 0 else 1.0


def claim(
    suspect: Oracle,
    marks: Sequence[Mark],
    controls: Mapping[str, Sequence[np.ndarray]],
    *,
    commitment: Commitment | None = None,
    appeared: float | None = None,
    policy: Policy | None = None,
) -> Claim:
    """Ask a suspect about marks until there is evidence enough, or nothing more to ask.

    Args:
        suspect: The suspect; only its labels are used.
        marks: The marks, of one domain; ordinary inputs among them judge the controls and the suspect's task.
        controls: For each control the labels (n,) that it gives to the inputs of each mark.
        commitment: The commitment to these marks.
        appeared: Time at which the suspect appeared.
        policy: What the claim has to show.

    Returns:
        The claim. Where the suspect answers no more, one by what it answered; its refusal is raised where it answered
        nothing.

    Raises:
        BadInput: There are no marks or no controls, or the suspect has other classes.
    """
    policy = policy or Policy()
    marks, controls, ordinary, known = separated(marks, controls)
    if not marks or not controls:
        raise BadInput(f"{len(marks)} marks and {len(controls)} controls", "one or more of both", "add some")
    if of_accounts := [mark for mark in marks if mark.accounts]:
        raise BadInput(
            f"marked answers of {len(of_accounts[0].accounts):,} accounts among {len(marks)} marks",
            "marks of a model", "claim by them alone: claim_accounts",
        )  # fmt: skip
    task, good, refusal, most = None, None, None, suspect.left
    if ordinary is not None:
        answered, refusal = ask_labels(suspect, ordinary.x[:ORDINARY], ordinary.classes)
        task, good = check_task(ordinary, answered, known), as_good(ordinary, known)
        most -= min(ORDINARY, len(ordinary))
    ends = turns(marks, most)
    labels: list[list[np.ndarray]] = [[] for _ in marks]
    if refusal is None and not (task and task.is_other_task):
        refusal = _ask_in_turns(suspect, marks, controls, policy, ends, labels)
    if refusal is not None and not suspect.asked:
        raise refusal
    evidence = _evidence(labels, marks, controls)
    false = [name for name in controls if _would_be_claimed(name, marks, controls, policy, ends)]
    log_e, count = _mean_log_e(evidence, len(marks)), len(controls)
    joined = [np.concatenate([np.empty(0, np.int64), *part]) for part in labels]
    missing = sum(int((part == mark.classes).sum()) for mark, part in zip(marks, joined, strict=True))
    return concluded(
        evidence, log_e, false, count, commitment, appeared, policy, refusal, as_good=good, task=task,
        unanswered=missing, alike=alike(joined, controls),
    )  # fmt: skip


def _ask_in_turns(
    suspect: Oracle,
    marks: Sequence[Mark],
    controls: Mapping[str, Sequence[np.ndarray]],
    policy: Policy,
    ends: Sequence[Sequence[int]],
    labels: Sequence[list[np.ndarray]],
) -> FeintError | None:
    """Append the suspect's labels, a batch of each mark in turn, until they are evidence enough or it refuses."""
    for counts in ends:
        for part, mark, count in zip(labels, marks, counts, strict=True):
            answered, refusal = ask_labels(suspect, mark.x[sum(map(len, part)) : count], mark.classes)
            part.append(answered)
            if refusal is not None:
                return refusal
        if _mean_log_e(_evidence(labels, marks, controls), len(marks)) >= -math.log(policy.alpha):
            break
    return None


def concluded(
    evidence: Sequence[Evidence],
    log_e: float,
    false: Sequence[str],
    controls: int,
    commitment: Commitment | None,
    appeared: float | None,
    policy: Policy,
    refusal: FeintError | None,
    accounts: Sequence[AccountEvidence] = (),
    as_good: int | None = None,
    task: TaskCheck | None = None,
    unanswered: int = 0,
    alike: Sequence[str] = (),
) -> Claim:
    """Return the claim by this evidence, with what speaks against it; the arguments are attributes of `Claim`."""
    e_value = math.exp(min(log_e, 700))
    asked = sum(part.asked for part in evidence) - unanswered + (task.asked if task else 0)
    bound, why = upper_bound(len(false), controls), str(refusal or "")
    result = Claim(
        evidence, e_value, asked, controls, false, bound, commitment, appeared, policy, (), why, accounts, as_good,
        task, unanswered, alike,
    )  # fmt: skip
    return _with_reasons(result)


def alike(labels: Sequence[np.ndarray], controls: Mapping[str, Sequence[np.ndarray]]) -> list[str]:
    """Return the names of the controls that gave these labels (m,), one or more, to the first m inputs of each mark."""
    asked = any(map(len, labels))
    return [
        name for name, known in controls.items()
        if asked and all((part == each[: len(part)]).all() for part, each in zip(labels, known, strict=True))
    ]  # fmt: skip


def ask_labels(suspect: Oracle, x: Tensor, classes: int) -> tuple[np.ndarray, FeintError | None]:
    """Return the labels (n,) of a suspect for the first n of the inputs `x`, and why it did not answer the rest.

    A question that a recorded suspect was not asked has the answer NaN, and the label K, which is that of no class.

    Raises:
        BadInput: The suspect has another number of classes.
    """
    x = x[: suspect.left]  # the owner's own budget is no refusal of the suspect
    if not len(x):
        return np.empty(0, np.int64), None
    try:
        p, refusal = suspect.try_ask(x)
    except (Unreachable, TimedOut, Failed) as error:  # a batch is answered whole or not at all
        return np.empty(0, np.int64), error
    if len(p) and p.shape[1] != classes:
        raise BadInput(
            f"a suspect with {p.shape[1]} classes", f"{classes}, as the marked model has",
            "name a model of the same classes",
        )  # fmt: skip
    if not len(p):
        return np.empty(0, np.int64), refusal
    return torch.where(p.isnan().any(-1), classes, p.argmax(-1)).numpy(), refusal


def _evidence(
    labels: Sequence[Sequence[np.ndarray]], marks: Sequence[Mark], controls: Mapping[str, Sequence[np.ndarray]]
) -> list[Evidence]:
    """Return the evidence of each mark of which something was asked."""
    joined = [np.concatenate([np.empty(0, np.int64), *part]) for part in labels]
    return [
        compare(mark, suspect, {name: answered[i] for name, answered in controls.items()})
        for i, (mark, suspect) in enumerate(zip(marks, joined, strict=True))
        if len(suspect)
    ]


def _would_be_claimed(
    name: str,
    marks: Sequence[Mark],
    controls: Mapping[str, Sequence[np.ndarray]],
    policy: Policy,
    ends: Sequence[Sequence[int]],
) -> bool:
    """Return whether a control would be claimed against the others, at the end of any turn as a suspect is."""
    others = {other: answered for other, answered in controls.items() if other != name}
    if not others:
        return True  # nothing to compare with: nothing is known of innocents
    asked = np.array(ends, np.int64).reshape(-1, len(marks))
    paths = [
        log_e_after(mark, controls[name][i], {other: known[i] for other, known in others.items()}, asked[:, i])
        for i, mark in enumerate(marks)
    ]
    return any(mean_log_e(logs) >= -math.log(policy.alpha) for logs in zip(*paths, strict=True))


def _mean_log_e(evidence: Sequence[Evidence], marks: int) -> float:
    """Return the logarithm of the mean e-value of so many marks; one of which nothing was asked has an e-value of 1."""
    return mean_log_e([*(part.log_e for part in evidence), *[0.0] * (marks - len(evidence))])


def _with_reasons(result: Claim) -> Claim:
    """Return the claim with what speaks against it."""
    is_other_task = result.task is not None and result.task.is_other_task
    checks = {
        "other task": is_other_task,
        "nothing asked": not result.evidence and not is_other_task,
        "is a control": bool(result.alike),
        "little evidence": bool(result.evidence) and result.e_value < 1 / result.policy.alpha,
        "few controls": result.bound > result.policy.most_false,
        "weak controls": result.as_good is not None and result.as_good < least_as_good(result.controls),
        "controls not compared": result.as_good is None and any(part.method in OF_MODELS for part in result.evidence),
        "controls agree": bool(result.shared),
        "no commitment": result.commitment is None,
        "not dated": result.commitment is not None and result.appeared is None,
        "late commitment": result.commitment is not None
        and result.appeared is not None
        and result.commitment.time >= result.appeared,
    }
    reasons = tuple(name for name, holds in checks.items() if holds)
    return replace(result, reasons=reasons)
