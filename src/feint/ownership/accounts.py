"""Claims by account: whose marked answers did a suspect learn?"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from feint.defenses.access.e_bh import e_bh
from feint.errors import BadInput, FeintError
from feint.oracle import Oracle
from feint.ownership.claim import AccountEvidence, Claim, Policy, alike, ask_labels, concluded
from feint.ownership.commitment import Commitment
from feint.ownership.comparison import Evidence, compare
from feint.ownership.mark import Mark
from feint.ownership.plan import BATCH
from feint.ownership.statistics import holm, mean_log_e, paired_log_e

TURN = 5  # questions of an account between two looks at its evidence
NOT_ASKED = -1


def claim_accounts(
    suspect: Oracle,
    mark: Mark,
    controls: Mapping[str, np.ndarray],
    *,
    commitment: Commitment | None = None,
    appeared: float | None = None,
    policy: Policy | None = None,
) -> Claim:
    """Ask a suspect about the marked answers of accounts until it is clear whose it learned, or nothing more to ask.

    Accounts with evidence are asked about first, then those with the most marked answers. An account whose marked
    answers could not name it, even if the suspect repeated all of them, is no hypothesis of the test: its answers count
    for the claim that the suspect is a copy, and are asked last.

    Args:
        suspect: The suspect; only its labels are used.
        mark: Marked answers, of `marked_by_account`.
        controls: For each control the labels (n,) that it gives to the inputs of the mark.
        commitment: The commitment to this mark.
        appeared: Time at which the suspect appeared.
        policy: What the claim has to show.

    Returns:
        The claim, with the evidence of each account. Where the suspect answers no more, one by what it answered; its
        refusal is raised where it answered nothing.

    Raises:
        BadInput: There are no controls, the mark is not of accounts, or the suspect has other classes.
    """
    if not controls or not mark.accounts:
        raise BadInput(
            f"{len(controls)} controls and {len(mark.accounts)} accounts", "one or more of both",
            "add controls: feint controls; or use claim",
        )  # fmt: skip
    policy = policy or Policy()
    inquiry, most = Inquiry(mark, controls, policy), suspect.left
    refusal: FeintError | None = None
    while refusal is None and suspect.left and len(rows := inquiry.next_rows()):
        answered, refusal = ask_labels(suspect, mark.x[rows], mark.classes)
        inquiry.record(rows[: len(answered)], answered)
    if refusal is not None and not len(inquiry.rows):
        raise refusal
    false = [name for name in controls if _would_be_claimed(name, mark, controls, policy, most)]
    missing = int((inquiry.labels == mark.classes).sum())
    return concluded(
        [inquiry.pooled], inquiry.log_e, false, len(controls), commitment, appeared, policy, refusal, inquiry.accounts,
        unanswered=missing,
        alike=alike([inquiry.labels[inquiry.rows]], {name: [known[inquiry.rows]] for name, known in controls.items()}),
    )  # fmt: skip


def _would_be_claimed(name: str, mark: Mark, controls: Mapping[str, np.ndarray], policy: Policy, most: int) -> bool:
    """Return whether a control would be claimed, or an account named, if it were asked as the suspect is."""
    others = {other: answered for other, answered in controls.items() if other != name}
    if not others:
        return True  # nothing to compare with: nothing is known of innocents
    inquiry = Inquiry(mark, others, policy)
    while len(rows := inquiry.next_rows()[: most - len(inquiry.rows)]):
        inquiry.record(rows, controls[name][rows])
    return inquiry.is_evident


class Inquiry:
    """Questions to a suspect about the marked answers of many accounts, and its labels.

    Args:
        mark: Marked answers.
        controls: Labels (n,) of each control.
        policy: What the claim has to show.

    Attributes:
        rows: Rows of the mark that were asked, (m,), in their order.
        labels: The suspect's label (n,) of each row, -1 where it was not asked.
    """

    def __init__(self, mark: Mark, controls: Mapping[str, np.ndarray], policy: Policy) -> None:
        self.mark, self.controls, self.policy = mark, controls, policy
        self.rows, self.labels = np.empty(0, np.int64), np.full(len(mark), NOT_ASKED)
        self._whose = mark.tensors["accounts"].numpy()
        self._of = [np.flatnonzero(self._whose == number) for number in range(len(mark.accounts))]
        self._evidence: list[Evidence | None] = [None] * len(self._of)
        self._floor = -math.log(policy.alpha if policy.fdr is None else policy.fdr)
        self._tested = [i for i, rows in enumerate(self._of) if paired_log_e(len(rows), 0) >= self._floor]

    def next_rows(self) -> np.ndarray:
        """Return the rows to ask next; none when every account is decided, or all rows were asked."""
        enough = self._floor + math.log(2 * max(len(self._tested), 1))  # for Holm, and for the claim by this one alone
        left = {i: rows for i, mine in enumerate(self._of) if len(rows := mine[self.labels[mine] == NOT_ASKED])}
        undecided = [i for i in self._tested if i in left and self._log_e(i) < enough]
        if not undecided and self.log_e >= -math.log(self.policy.alpha):
            return np.empty(0, np.int64)

        def priority(i: int) -> tuple[float, int, int]:
            return -self._log_e(i), len(self._of[i]) - len(left[i]), -len(self._of[i])

        turn = sorted(undecided or left, key=priority)[: BATCH // TURN]
        return np.concatenate([np.empty(0, np.int64), *(left[i][:TURN] for i in turn)])

    def record(self, rows: np.ndarray, labels: np.ndarray) -> None:
        """Add the suspect's labels (m,) for these rows (m,)."""
        self.rows = np.concatenate([self.rows, rows])
        self.labels[rows] = labels
        for i in np.unique(self._whose[rows]).tolist():
            self._evidence[i] = self._compared(self._asked_of(i), self.labels, self.controls)

    @property
    def pooled(self) -> Evidence:
        """Evidence of all questions together."""
        return self._compared(self.rows, self.labels, self.controls)

    @property
    def log_e(self) -> float:
        """Logarithm of the e-value against "the suspect learned nobody's marked answers"."""
        return self._combined(self.pooled.log_e, [self._log_e(i) for i in self._tested]) if len(self.rows) else 0.0

    @property
    def accounts(self) -> list[AccountEvidence]:
        """Evidence of each account, the most first, and which are named."""
        named = self._named([self._log_e(i) for i in self._tested])
        parts = [
            AccountEvidence(name, len(self._of[i]), self._evidence[i], i in named)
            for i, name in enumerate(self.mark.accounts)
        ]
        return sorted(parts, key=lambda part: (-part.log_e, part.account))

    @property
    def is_evident(self) -> bool:
        """Whether there is evidence that the suspect is a copy, or that it learned the answers of an account."""
        return self.log_e >= -math.log(self.policy.alpha) or any(part.named for part in self.accounts)

    def _compared(self, rows: np.ndarray, labels: np.ndarray, controls: Mapping[str, np.ndarray]) -> Evidence:
        """Return the evidence of some rows against a suspect with these labels (n,)."""
        return compare(self.mark.take(rows), labels[rows], {name: known[rows] for name, known in controls.items()})

    def _combined(self, pooled: float, logs: Sequence[float]) -> float:
        """Return the logarithm of the mean of two e-values: of all questions, and the mean of those of the accounts.

        A suspect that learned the answers of one account agrees with the marks of all others less often than innocents
        do, so that the first alone would not find it; and the second alone misses many accounts with few marks each.
        """
        return mean_log_e([pooled, mean_log_e(logs)]) if logs else pooled

    def _named(self, logs: Sequence[float]) -> set[int]:
        """Return the tested accounts that are named by the logarithms of their e-values."""
        e_values = np.exp(np.clip(logs, -700, 700))
        if self.policy.fdr is not None:
            named = e_bh(e_values, self.policy.fdr)
        else:
            named = holm(np.minimum(1 / e_values, 1).tolist(), self.policy.alpha)
        return {number for number, is_named in zip(self._tested, named, strict=True) if is_named}

    def _log_e(self, number: int) -> float:
        evidence = self._evidence[number]
        return evidence.log_e if evidence else 0.0

    def _asked_of(self, number: int) -> np.ndarray:
        rows = self._of[number]
        return rows[self.labels[rows] != NOT_ASKED]
