"""Claim: is a suspect a copy of a model? By labels alone, beside controls, with a bound on false claims."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from feint.defenses.access.binomial import upper_bound
from feint.errors import BadInput, Failed, FeintError, TimedOut, Unreachable
from feint.oracle import Oracle
from feint.ownership.commitment import Commitment
from feint.ownership.mark import NO_TRUTH, Mark
from feint.ownership.statistics import mean_log_e, paired_log_e

BATCH = 50  # questions of each mark between two looks at the evidence
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
class Evidence:
    """Evidence of one mark.

    Attributes:
        method: Method of the mark.
        asked: Number of its inputs that the suspect answered.
        compared: Number of inputs that count: for mistakes, those that suspect and control both get wrong.
        agreed: On how many of these the suspect gives the mark's label.
        control: Name of the control that comes nearest to the suspect.
        control_agreed: On how many of these that control gives the mark's label.
        wins: Inputs on which the suspect alone agrees.
        losses: Inputs on which this control alone agrees.
        log_e: Logarithm of the e-value, of this control.
        highest: Highest share of the asked inputs on which a control gives the mark's label.
    """

    method: str
    asked: int
    compared: int
    agreed: int
    control: str
    control_agreed: int
    wins: int
    losses: int
    log_e: float
    highest: float


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
        false_claims: Number of controls that would be claimed if they were the suspect.
        bound: Upper bound of the share of innocents that would be claimed, with a confidence of 95 %.
        commitment: The commitment to the marks; None for none.
        appeared: Time at which the suspect appeared, in seconds since the epoch; None where it is not known.
        policy: What the claim has to show.
        reasons: Codes of what speaks against the claim; none for a claim. See `texts.toml`.
        refusal: Why the suspect answered no more, if it did not.
        accounts: Evidence for each account, the most first, where the mark is of marked answers.
    """

    evidence: Sequence[Evidence]
    e_value: float
    queries: int
    controls: int
    false_claims: int
    bound: float
    commitment: Commitment | None
    appeared: float | None
    policy: Policy
    reasons: Sequence[str] = ()
    refusal: str = ""
    accounts: Sequence[AccountEvidence] = ()

    @property
    def named(self) -> list[str]:
        """Names of the accounts whose answers there is evidence that the suspect learned; none without a claim."""
        return [part.account for part in self.accounts if part.named and self.is_copy]

    @property
    def is_evident(self) -> bool:
        """Whether nothing speaks against the claim but the commitment, which a benchmark does not need."""
        return set(self.reasons) <= {"no commitment", "not dated", "late commitment"}

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
        marks: The marks, of one domain.
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
    if not marks or not controls:
        raise BadInput(f"{len(marks)} marks and {len(controls)} controls", "one or more of both", "add some")
    if of_accounts := [mark for mark in marks if mark.accounts]:
        raise BadInput(
            f"marked answers of {len(of_accounts[0].accounts):,} accounts among {len(marks)} marks",
            "marks of a model", "claim by them alone: claim_accounts",
        )  # fmt: skip
    labels: list[list[np.ndarray]] = [[] for _ in marks]
    refusal: FeintError | None = None
    for start in range(0, max(map(len, marks)), BATCH):
        for part, mark in zip(labels, marks, strict=True):
            if refusal is None and start < len(mark):
                answered, refusal = ask_labels(suspect, mark.x[start : start + BATCH], mark.classes)
                part.append(answered)
        if refusal is not None or _mean_log_e(_evidence(labels, marks, controls)) >= -math.log(policy.alpha):
            break
    asked = sum(len(answered) for part in labels for answered in part)
    if refusal is not None and not asked:
        raise refusal
    evidence = _evidence(labels, marks, controls)
    false = sum(_would_be_claimed(name, labels, marks, controls, policy) for name in controls)
    return concluded(evidence, _mean_log_e(evidence), false, len(controls), commitment, appeared, policy, refusal)


def concluded(
    evidence: Sequence[Evidence],
    log_e: float,
    false: int,
    controls: int,
    commitment: Commitment | None,
    appeared: float | None,
    policy: Policy,
    refusal: FeintError | None,
    accounts: Sequence[AccountEvidence] = (),
) -> Claim:
    """Return the claim by this evidence, with what speaks against it; the arguments are attributes of `Claim`."""
    e_value, asked = math.exp(min(log_e, 700)), sum(part.asked for part in evidence)
    bound = upper_bound(false, controls)
    result = Claim(
        evidence, e_value, asked, controls, false, bound, commitment, appeared, policy, (), str(refusal or ""), accounts
    )
    return _with_reasons(result)


def ask_labels(suspect: Oracle, x: Tensor, classes: int) -> tuple[np.ndarray, FeintError | None]:
    """Return the labels (n,) of a suspect for the first n of the inputs `x`, and why it did not answer the rest.

    Raises:
        BadInput: The suspect has another number of classes.
    """
    try:
        p, refusal = suspect.try_ask(x)
    except (Unreachable, TimedOut, Failed) as error:  # a batch is answered whole or not at all
        return np.empty(0, np.int64), error
    if len(p) and p.shape[1] != classes:
        raise BadInput(
            f"a suspect with {p.shape[1]} classes", f"{classes}, as the marked model has",
            "name a model of the same classes",
        )  # fmt: skip
    return (p.argmax(-1).numpy() if len(p) else np.empty(0, np.int64)), refusal


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


def compare(mark: Mark, suspect: np.ndarray, controls: Mapping[str, np.ndarray]) -> Evidence:
    """Return the evidence of a mark: the comparison with the control that comes nearest to the suspect.

    Args:
        mark: The mark.
        suspect: Labels (m,) of the suspect for its first m inputs.
        controls: Labels (n,) of each control.

    Returns:
        The evidence.
    """
    m = len(suspect)
    evidence, highest = None, 0.0
    for name, answered in controls.items():
        counts, agrees, others = _agreement(mark, suspect, answered[:m])
        wins, losses = int((agrees & ~others).sum()), int((others & ~agrees).sum())
        highest = max(highest, float((answered[:m] == mark.labels[:m]).mean()))
        log_e = paired_log_e(wins, losses)
        if evidence is None or log_e < evidence.log_e:
            evidence = Evidence(
                mark.method, m, int(counts.sum()), int(agrees.sum()), name, int(others.sum()), wins, losses, log_e, 0.0
            )
    assert evidence is not None  # `claim` has controls
    return replace(evidence, highest=highest)


def _agreement(mark: Mark, suspect: np.ndarray, control: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which inputs count, and on which of these suspect and control agree with the mark."""
    labels, truth = mark.labels[: len(suspect)], mark.truth[: len(suspect)]
    counts = (truth == NO_TRUTH) | ((suspect != truth) & (control != truth))
    return counts, counts & (suspect == labels), counts & (control == labels)


def _would_be_claimed(
    name: str,
    labels: Sequence[Sequence[np.ndarray]],
    marks: Sequence[Mark],
    controls: Mapping[str, Sequence[np.ndarray]],
    policy: Policy,
) -> bool:
    """Return whether a control would be claimed against the others, by the questions that the suspect was asked."""
    others = {other: answered for other, answered in controls.items() if other != name}
    if not others:
        return True  # nothing to compare with: nothing is known of innocents
    counts = [sum(map(len, part)) for part in labels]
    answered = [[controls[name][i][:count]] for i, count in enumerate(counts)]
    return _mean_log_e(_evidence(answered, marks, others)) >= -math.log(policy.alpha)


def _mean_log_e(evidence: Sequence[Evidence]) -> float:
    return mean_log_e([part.log_e for part in evidence])


def _with_reasons(result: Claim) -> Claim:
    """Return the claim with what speaks against it."""
    marks_without_truth = [part for part in result.evidence if part.method != "same mistakes"]
    checks = {
        "little evidence": result.e_value < 1 / result.policy.alpha,
        "few controls": result.bound > result.policy.most_false,
        "controls agree": any(part.highest >= AGREEING for part in marks_without_truth),
        "no commitment": result.commitment is None,
        "not dated": result.commitment is not None and result.appeared is None,
        "late commitment": result.commitment is not None
        and result.appeared is not None
        and result.commitment.time >= result.appeared,
    }
    reasons = tuple(name for name, holds in checks.items() if holds)
    return replace(result, reasons=reasons)
