"""Facts about a theft that only its run can measure, for the checks of its row."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from feint.attacks import Attack, Lens, LensedAttack
from feint.data import Split
from feint.models.simplex import share_explained
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import Transcript
from feint.victims import predict

MOST = 2000  # rows of a transcript that `explained` uses
PART = 1000  # inputs that are decoded at once
Readings = Callable[[Tensor], tuple[Tensor, ...]]  # of answers (N, K)


class TranscriptProbe(Lens):
    """A lens that changes nothing and records the oracle that the attack reads, behind all of its lenses.

    Attributes:
        oracle: The recorded oracle; None before the attack has run.
    """

    oracle: Oracle | None = None

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        self.oracle = oracle
        return oracle

    def through(self, attack: Attack) -> LensedAttack:
        """Return `attack` with this lens nearest to it."""
        inner, lenses = (attack.attack, attack.lenses) if isinstance(attack, LensedAttack) else (attack, ())
        return LensedAttack(inner, (self, *lenses))


def scores(attack: Attack, surrogate: nn.Module, probe: TranscriptProbe, test: Split) -> dict[str, float]:
    """Return the scores `overlap` and, where it has a value, `explained`."""
    share = None if probe.oracle is None else explained(surrogate, probe.oracle.transcript, attack.readings)
    return {"overlap": overlap(attack, test)} | ({} if share is None else {"explained": share})


def explained(surrogate: nn.Module, transcript: Transcript, readings: Readings = lambda p: (p,)) -> float | None:
    """Compute how much of the answers that the attacker read is reproduced by their surrogate.

        1 − mean KL(p ‖ surrogate) / mean KL(p ‖ mean p)

    for the answers p as the attacker read them, for what the attack may have made of these before it learned, or for
    their labels alone: the largest of these shares.

    Args:
        surrogate: The attacker's model.
        transcript: The queries and the answers as the attack read them; up to 2,000 rows, evenly spread, are used.
        readings: What the attack may have made of answers (`Attack.readings`).

    Returns:
        1 for all of the answers, 0 for no more than the mean answer. None if the transcript has no inputs, or all
        answers are equal.
    """
    if transcript.light or not len(transcript):
        return None
    rows = torch.linspace(0, len(transcript) - 1, min(MOST, len(transcript))).long()
    x, p = transcript.x[rows], transcript.p[rows]
    q = torch.cat([predict(surrogate, batch) for batch in x.split(500)])
    labels = torch.zeros_like(p).scatter_(-1, p.argmax(-1, keepdim=True), 1.0)
    shares = [share_explained(answers, q) for answers in (*readings(p), labels)]
    return max((share for share in shares if share is not None), default=None)


def overlap(attack: object, test: Split) -> int:
    """Count the inputs of `test` that are, as queries, in a split of the attack or of its lenses."""
    digests = _digests(test)
    shared = np.zeros(len(digests), bool)
    for split in set(splits(attack)):
        shared |= np.isin(digests, _digests(split))
    return int(shared.sum())


def leak(attack: Attack, fitted_on: Sequence[Split]) -> float:
    """Return the share of the attacker's pool that is, as queries, in the data that a defense was fitted on."""
    pool = getattr(attack.attack if isinstance(attack, LensedAttack) else attack, "pool", None)
    if pool is None or not fitted_on:
        return 0.0
    return float(np.isin(_digests(pool), np.concatenate([_digests(split) for split in fitted_on])).mean())


def splits(recipe: object) -> Iterator[Split]:
    """Yield all splits within a recipe."""
    if isinstance(recipe, Split):
        yield recipe
    elif isinstance(recipe, (tuple, list)):
        for item in recipe:
            yield from splits(item)
    elif is_dataclass(recipe) and not isinstance(recipe, type):
        for field in fields(recipe):
            yield from splits(getattr(recipe, field.name))


@lru_cache(maxsize=8)
def _digests(split: Split) -> np.ndarray:
    """Return a 64 bit digest (N,) of the mark of each input and of its shape."""
    head, digests = repr((type(split.domain).__name__, split.shape)).encode(), list[bytes]()
    for start in range(0, len(split), PART):
        x = split.domain.decode(split.values[start : start + PART])
        digests += [hashlib.blake2b(head + row, digest_size=8).digest() for row in split.domain.mark(x)]
    return np.frombuffer(b"".join(digests), np.uint64)
