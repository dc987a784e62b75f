"""Base of the detectors whose evidence is an e-process, and the form in which a ladder has them."""

import functools
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from feint.defense import Bound, Detector, bind
from feint.defenses.access.e_process import EProcess
from feint.defenses.scores import Score
from feint.errors import BadInput
from feint.fitting import Fittable, learned_by
from feint.ledger import Account, Ledger
from feint.query import Query
from feint.recipes.store import Weights


class EProcessDetector(Fittable):
    """Detector whose evidence is the logarithm of an e-process, in units of log(1/alpha).

    A graph holds its `ranked_score`, and a service runs its `martingale` beside it, with or without torch. Detectors
    of this kind can be combined: the mean of e-processes is one.
    """

    exportable: ClassVar[bool] = True

    @property
    @abstractmethod
    def ranked_score(self) -> Score:
        """Statistic of each query: a function of inputs and logits that returns (N,) or (N, d)."""

    @property
    @abstractmethod
    def columns(self) -> int:
        """Number d of columns of the statistics; 1 for (N,)."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes that the detector was fitted to; `NotFitted` is raised before."""

    @abstractmethod
    def martingale(self) -> EProcess:
        """Return the e-process over the statistics, as arrays."""

    @functools.cached_property
    def process(self) -> EProcess:
        """The e-process of `martingale`, made once: a detector is asked about every query."""
        return self.martingale()

    def bind(self, model: nn.Module, ledger: Ledger) -> Detector:
        """Return the detector on the line, whose score may read what the model computes for the logits anyway."""
        score = self.ranked_score
        return BoundDetector(self, bind(score, model, ledger)) if isinstance(score, Bound) else self

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Bet on each input.

        `NotFitted` is raised without calibration, and `BadInput` for logits of another number of classes.

        Args:
            query: The query.
            z: The model's undefended logits, (N, K).
            account: The client's account.

        Returns:
            The largest evidence so far, also within this query.
        """
        return self.observe_with(self.ranked_score, query, z, account)

    def observe_with(self, score: Any, query: Query, z: Tensor, account: Account) -> float:
        """Bet on each input as `observe` does, with `score` in place of the detector's own, to which it is bound."""
        return self.process.observe(self.statistics(score, query, z), query, account)

    def statistics(self, score: Any, query: Query, z: Tensor) -> np.ndarray:
        """Return the statistics of a query's inputs, (N,) or (N, d), by a score of its inputs and logits (N, K).

        Raises:
            BadInput: The logits are of another number of classes than the detector was fitted to.
        """
        if z.shape[-1] != self.classes:
            raise BadInput(f"logits of {z.shape[-1]} classes", f"the {self.classes} fitted to", "fit it to this victim")
        return score(query.x, z).cpu().numpy()


class CalibratedDetector(EProcessDetector):
    """Detector that stores what it learned of benign inputs, "classes" among it, in `benign`."""

    benign: Weights | None

    @property
    def learned(self) -> Mapping[str, Tensor]:
        """What was learned of benign inputs, by name; `NotFitted` is raised before that."""
        return learned_by(self, self.benign, "a calibrated test")

    @property
    def columns(self) -> int:
        return 1

    @property
    def classes(self) -> int:
        return int(self.learned["classes"])


@dataclass(frozen=True)
class BoundDetector:
    """Detector on a line.

    Attributes:
        detector: The detector.
        score: Its statistic, bound to the model.
    """

    detector: EProcessDetector
    score: Any

    def observe(self, query: Query, z: Tensor, account: Account) -> float:
        """Bet on each input, as `EProcessDetector.observe`."""
        return self.detector.observe_with(self.score, query, z, account)
