"""Detectors whose e-processes are averaged, so that their promise stays one number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from feint.defense import bind
from feint.defenses.access.detector import EProcessDetector
from feint.defenses.access.mixture import Mixture
from feint.defenses.scores import Score
from feint.errors import BadRecipe
from feint.fitting import FitContext
from feint.ledger import Ledger


@dataclass(frozen=True)
class Combined(EProcessDetector):
    """Weighted mean of detectors' e-processes: an honest client is ever accused with probability at most `alpha`.

    With E_i the e-process of the i-th detector::

        M_t = Σ_i w_i E_i(t),    evidence = log max_t M_t / log(1/alpha),    Σ_i w_i = 1.

    M is an e-process under any dependence among the detectors (Vovk and Wang, Annals of Statistics 2021): its mean at
    any stopping time is at most Σ w_i = 1. A client that one detector of k sees well is accused at most log k nats of
    its evidence later than by that detector alone, and one that several see, when the mean is large enough. A ladder
    with the detectors side by side would wrong honest clients up to k times as often.

    Detectors whose evidence is no e-process, such as `PRADA` and `SEAT`, have no error rate that could be averaged, and
    are refused. The members' own `alpha` are not used; each adds its `delta`.

    Attributes:
        detectors: Detectors whose evidence is an e-process, one or more.
        weights: Weights in the mean, in any unit; None for equal ones.
        alpha: Probability with which an honest client may ever be accused.
    """

    cite: ClassVar[str] = "vovk2021evalues"
    detectors: Sequence[EProcessDetector]
    weights: Sequence[float] | None = None
    alpha: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "detectors", tuple(self.detectors))
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
        for detector in self.detectors:
            if not isinstance(detector, EProcessDetector):
                raise BadRecipe(
                    f"{type(detector).__name__} in a combination",
                    "detectors whose evidence is an e-process, such as SequentialTest: the mean keeps their error rate",
                    "put it beside the combination in the ladder",
                )
            if getattr(detector, "burst", 1) > 1:  # which is no e-process at every time, and has a level of its own
                raise BadRecipe(f"{detector!r} in a combination", "tests with burst=1", "put it into a ladder alone")
        shares = [1.0] * len(self.detectors) if self.weights is None else self.weights
        weighted = len(shares) == len(self.detectors) and all(0 < share < math.inf for share in shares)
        if not (self.detectors and weighted and 0 < self.alpha < 1):
            expected = "a detector or more, a finite weight above 0 for each, and 0 < alpha < 1"
            raise BadRecipe(repr(self), expected, "change it")

    def fit_from(self, context: FitContext) -> Self:
        """Return this combination with every detector fitted to the same inputs; errors are theirs."""
        return replace(self, detectors=[detector.fit_from(context) for detector in self.detectors])

    @property
    def ranked_score(self) -> "SideBySide":
        """The statistics of all detectors, side by side."""
        return SideBySide(tuple(detector.ranked_score for detector in self.detectors))

    @property
    def columns(self) -> int:
        return sum(detector.columns for detector in self.detectors)

    @property
    def classes(self) -> int:
        return self.detectors[0].classes

    def martingale(self) -> Mixture:
        members = tuple(detector.martingale() for detector in self.detectors)
        shares = np.ones(len(members)) if self.weights is None else np.array(self.weights)
        return Mixture(
            members, tuple(detector.columns for detector in self.detectors), shares / shares.sum(), self.alpha
        )


@dataclass(frozen=True)
class SideBySide:
    """Scores as the columns of one tensor.

    Attributes:
        parts: Functions of inputs and logits that return (N,) or (N, d).
    """

    of_probabilities: ClassVar[bool] = False
    parts: tuple[Score, ...]

    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        columns = [part(x, z) for part in self.parts]
        return torch.cat([column if column.ndim == 2 else column[:, None] for column in columns], 1)

    def bind(self, model: nn.Module, ledger: Ledger) -> Any:
        """Return this with every part bound to `model` and `ledger`."""
        return replace(self, parts=tuple(bind(part, model, ledger) for part in self.parts))
