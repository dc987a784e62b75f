"""Wrong labels for a keyed share of inputs, in numpy: `Marked` in a gateway without torch."""

import hmac
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from feint.defenses import keyed_numbers
from feint.errors import BadInput
from feint.ledger import Account
from feint.signature import domain_like, mark, pack

ROWS = "marked"
PURPOSE = "Marked"
# Of an unsure answer. With the two probabilities exchanged, a copy of Fashion-MNIST by 10,000 probabilities learned 75
# of 136 marks and was no evidence (the nearest of 60 innocents gave 64 of the labels); with nearly all of it, 110.
CERTAIN = 0.9


@dataclass(frozen=True)
class ServedMark:
    """Keyed wrong labels.

    Attributes:
        key: The owner's secret, or its digest where the mark is locked.
        rate: Share of inputs whose answers are marked.
        most: Marked inputs that are stored for each client.
        margin: Largest margin of an answer that is marked, which then gets the label of the second class; None for
            answers of any margin, which get that of any class.
    """

    key: str
    rate: float
    most: int
    margin: float | None = None

    def perturb(self, p: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return answers of which those that are drawn have the label of another class.

        Args:
            p: Answers (N, K).
            x: Their inputs (N, …) of any domain.

        Returns:
            New answers (N, K).
        """
        return self.swapped(p, keyed_numbers.digests(self.key, mark(x), purpose=PURPOSE))

    def swapped(self, p: np.ndarray, digests: np.ndarray) -> np.ndarray:
        """Return the same for inputs with these digests (N, 4)."""
        drawn = keyed_numbers.fractions(digests[:, :2])
        rows, q = np.flatnonzero(drawn[:, 0] < self.rate), p.copy()
        if not len(rows):  # of most batches no answer is marked
            return q
        if self.margin is None:
            q[rows] = keyed_numbers.swap_label(p[rows], drawn[rows, 1])
            return q
        first, second = np.argsort(-p[rows], axis=-1, kind="stable")[:, :2].T
        unsure = p[rows, first] - p[rows, second] < self.margin
        rows, second = rows[unsure], second[unsure]
        q[rows] *= 1 - CERTAIN
        q[rows, second] += CERTAIN
        return q

    def record(self, p: np.ndarray, q: np.ndarray, x: np.ndarray, account: Account) -> None:
        """Store the inputs whose answers were marked, with their labels, in a client's account.

        Args:
            p: Answers (N, K) before.
            q: Answers (N, K) after.
            x: Their inputs (N, …).
            account: The client's account.
        """
        labels = q.argmax(-1)
        marked = np.flatnonzero(p.argmax(-1) != labels)
        if len(marked):
            inputs = pack(domain_like(x).encode(x[marked]))
            account.rows(ROWS).append(np.concatenate([inputs, labels[marked, None]], 1), most=self.most)

    def locked(self) -> Self:
        """Return this mark with the digest of its key in place of the key."""
        return replace(self, key=key_digest(self.key))

    def unlocked(self, key: str) -> Self:
        """Return a locked mark with its key.

        Raises:
            BadInput: It is another key, or none.
        """
        if not key or not hmac.compare_digest(key_digest(key), self.key):
            got = "another key" if key else "no key"
            raise BadInput(
                f"{got} for marked answers", "the key with which the model was exported",
                "set mark_key_file or mark_key_env in the settings of the model",
            )  # fmt: skip
        return replace(self, key=key)


def key_digest(key: str) -> str:
    """Return the digest by which a key is recognised, and which does not tell it."""
    return "digest:" + hmac.new(key.encode(), b"feint's digest of a key", "sha256").hexdigest()[:32]
