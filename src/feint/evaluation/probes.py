"""Facts about a theft that only the moment of its making tells, and that `checks` judges the row by."""

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from feint.attacks import Attack, Lens, LensedAttack
from feint.data import Split
from feint.evaluation.metrics import kl
from feint.oracle import Oracle
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import Transcript
from feint.victims import predict

MOST = 2000  # rows of a transcript that are looked at


class TranscriptProbe(Lens):
    """A lens that changes nothing: behind it stands what the attack itself saw, through all of its own lenses."""

    seen: Oracle | None = None

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        self.seen = oracle
        return oracle

    def through(self, attack: Attack) -> LensedAttack:
        """`attack` with this lens nearest to it."""
        inner, lenses = (attack.attack, attack.lenses) if isinstance(attack, LensedAttack) else (attack, ())
        return LensedAttack(inner, (self, *lenses))


def of(attack: Attack, surrogate: nn.Module, witness: TranscriptProbe, test: Split) -> dict[str, float]:
    """The scores `overlap` and, where it can be told, `explained`."""
    share = None if witness.seen is None else explained(surrogate, witness.seen.transcript)
    return {"overlap": overlap(attack, test)} | ({} if share is None else {"explained": share})


def explained(surrogate: nn.Module, transcript: Transcript) -> float | None:
    """How much of what the thief read his surrogate reproduces: 1 for all of it, 0 for no more than the mean answer.

        1 − mean KL(p ‖ surrogate) / mean KL(p ‖ mean p)

    for the answers p as he read them, or for their labels alone where that is more, since some attacks sharpen what
    they read. Of up to 2,000 rows evenly spread. None where the inputs were not kept, or all answers are the same.
    """
    if transcript.light or not len(transcript):
        return None
    rows = torch.linspace(0, len(transcript) - 1, min(MOST, len(transcript))).long()
    x, p = transcript.x[rows], transcript.p[rows]
    q = torch.cat([predict(surrogate, batch) for batch in x.split(500)])
    labels = torch.zeros_like(p).scatter_(-1, p.argmax(-1, keepdim=True), 1.0)
    shares = [_share(answers, q) for answers in (p, labels)]
    return max((it for it in shares if it is not None), default=None)


def _share(p: Tensor, q: Tensor) -> float | None:
    told = kl(p, p.double().mean(0).expand_as(p))
    return 1 - kl(p, q) / told if told > 1e-12 else None


def overlap(attack: object, test: Split) -> int:
    """How many inputs of `test` are, to the bit, in a split that the attack owns, its lenses' included."""
    own = _digests(test)
    found = np.zeros(len(own), bool)
    for split in set(splits(attack)):
        found |= np.isin(own, _digests(split))
    return int(found.sum())


def splits(recipe: object) -> Iterator[Split]:
    """All splits within a recipe."""
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
    """64 bits (N,) that stand for each image and its shape: 0.1 s for 50,000 of CIFAR, once a process."""
    head = repr(split.shape).encode()
    made = (hashlib.blake2b(head + image.tobytes(), digest_size=8).digest() for image in split.images)
    return np.frombuffer(b"".join(made), np.uint64)
