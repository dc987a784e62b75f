"""The interface of lenses that learn: a suspected defense, and an oracle whose answers pass a fitted decoder."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np
from torch import Tensor, nn

from feint.attacks.lenses.lens import DefenseLike, Lens, labels_only_conflict, require_cost
from feint.attacks.probing import require_probabilities
from feint.attacks.surrogates import logits
from feint.data import Split
from feint.errors import Refused
from feint.fitting import FitContext
from feint.oracle import Oracle, OracleWrapper
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.signature import Domain
from feint.transcript import Transcript

Decoder = Callable[[Tensor], Tensor]  # answers (N, K) to clearer ones


class Simulation(Protocol):
    """A suspected defense before a model of the attacker."""

    def answer(self, x: Tensor) -> Tensor:
        """Return the defended answers (N, K) to the inputs `x` (N, …)."""
        ...

    def perturb(self, p: Tensor, x: Tensor) -> Tensor:
        """Return what the output defenses make of the clean answers `p` (N, K) to `x` (N, …)."""
        ...


class Simulator(Protocol):
    """A suspected defense that can be put before any model, such as `feint.service.SuspectedDefense`."""

    def on(self, context: FitContext) -> Simulation:
        """Return the defense before the model of the context, fitted to it."""
        ...


class FittedLens(Lens):
    """Lens that fits a decoder to the `first` answers: it defines `fit_decoder`."""

    needs: ClassVar[Mapping[str, str]] = {"rehearsal": "it has no input or output defense that could be rehearsed"}
    first: int

    def incompatible(self, defense: DefenseLike) -> str | None:
        return labels_only_conflict(defense)

    @abstractmethod
    def fit_decoder(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """Fit a decoder to answers.

        Args:
            x: Inputs (N, …).
            p: Answers (N, K) to them.
            progress: Callback for the trainings.

        Returns:
            The decoder, from answers (n, K) to clearer ones (n, K).
        """

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return FittedOracle(oracle, self, self.first, lambda x, p: self.fit_decoder(x, p, progress=progress))


class FittedOracle(OracleWrapper):
    """Oracle whose answers pass a decoder fitted to the `first` of them.

    `try_ask` returns answers as they are until there are so many. The transcript is decoded as a whole when its answers
    are read; with a decoder fitted to fewer answers, if there are no more.
    """

    def __init__(self, oracle: Oracle, lens: Lens, first: int, fit: Callable[[Tensor, Tensor], Decoder]) -> None:
        super().__init__(oracle)
        require_cost(oracle, lens)
        self._first, self._fit, self._raw, self._view = first, fit, Transcript(), Transcript()
        self._fitted: Decoder | None = None
        self._fitted_on, self._answers_only = 0, False

    @property
    def transcript(self) -> Transcript:
        if len(self._view) != len(self._raw):
            self._view = self._raw.reread(lambda p: self._decoder()(p))
        return self._view

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        p, refusal = self._oracle.try_ask(x)
        self._raw.record(x[: len(p)], p)
        return (self._decoder()(p) if len(p) and len(self._raw) >= self._first else p), refusal

    def keep_answers_only(self) -> None:
        self._oracle.keep_answers_only()
        self._answers_only = True
        if self._fitted_on == self._first:
            self._raw.keep_answers_only()

    def _decoder(self) -> Decoder:
        count = min(len(self._raw), self._first)
        if self._fitted is None or self._fitted_on != count:
            x, p = self._raw.x[:count], self._raw.p[:count]
            require_probabilities(p, "HardLabels reads them as they are")
            self._fitted, self._fitted_on = self._fit(x, p), count
            if self._answers_only and count == self._first:  # until here the inputs were needed
                self._raw.keep_answers_only()
        return self._fitted


def labelled_split(x: Tensor, labels: Tensor, domain: Domain) -> Split:
    """Return inputs `x` (N, …) of a domain and labels (N,) as a split."""
    return Split.of(domain.encode(x.cpu().numpy()), labels.numpy(), domain=domain, name="asked")


def random_subset(pool: Split, count: int, seed: int) -> Split:
    """Draw `count` rows of the pool with their labels: inputs of another task, for defenses that need outliers."""
    rows = np.random.default_rng(seed).permutation(len(pool))[:count]
    return pool.take(rows, part="drawn")


def clean_answers(model: nn.Module, x: Tensor) -> Tensor:
    """Return the probabilities (N, K) of a model of the attacker."""
    return logits(model, x).float().softmax(-1)
