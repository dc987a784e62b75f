"""What lenses that learn share: a suspected defense, by value, and an oracle whose answers are read anew."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from feint.attacks.lenses.lens import Lens, Suspected, affordable
from feint.attacks.probing import require_probabilities
from feint.attacks.surrogates import logits
from feint.data import Split
from feint.errors import BadInput, Refused
from feint.fitting import FitContext
from feint.oracle import Oracle, OracleWrapper
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import Transcript

Decoder = Callable[[Tensor], Tensor]  # answers (N, K) to clearer ones


class Simulation(Protocol):
    """A suspected defense before a model of the attacker's own."""

    def answer(self, x: Tensor) -> Tensor: ...

    def perturb(self, p: Tensor, x: Tensor) -> Tensor: ...


class Simulator(Protocol):
    """A suspected defense, which can be put before any model. `feint.service.SuspectedDefense` is one."""

    def on(self, context: FitContext) -> Simulation: ...


class FittedLens(Lens):
    """A lens that learns how to read from the `first` answers: it defines `study`."""

    needs: ClassVar[Mapping[str, str]] = {"rehearsal": "it has no input or output defense that could be rehearsed"}
    first: int

    def incompatible(self, defense: Suspected) -> str | None:
        return (
            "its answers are labels only" if any(getattr(it, "labels_only", False) for it in defense.outputs) else None
        )

    @abstractmethod
    def study(self, x: Tensor, p: Tensor, *, progress: ProgressCallback = NO_PROGRESS) -> Decoder:
        """What reads answers, learned from the answers `p` (N, K) to the inputs `x` (N, …)."""

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return FittedOracle(oracle, self, self.first, lambda x, p: self.study(x, p, progress=progress))


class FittedOracle(OracleWrapper):
    """An oracle whose answers are read with what was learned from the `first` of them.

    `try_ask` returns answers as they are until so many have come. The transcript is read anew as a whole, when its
    answers are looked at; with what fewer answers teach, where there are no more.
    """

    def __init__(self, oracle: Oracle, lens: Lens, first: int, learn: Callable[[Tensor, Tensor], Decoder]) -> None:
        super().__init__(oracle)
        affordable(oracle, lens)
        self._first, self._learn, self._raw, self._view = first, learn, Transcript(), Transcript()
        self._known: Decoder | None = None
        self._learned_from, self._light = 0, False

    @property
    def transcript(self) -> Transcript:
        if len(self._view) != len(self._raw):
            self._view = self._raw.reread(lambda p: self._reader()(p))
        return self._view

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        p, refusal = self._oracle.try_ask(x)
        self._raw.record(x[: len(p)], p)
        return (self._reader()(p) if len(p) and len(self._raw) >= self._first else p), refusal

    def keep_answers_only(self) -> None:
        self._oracle.keep_answers_only()
        self._light = True
        if self._learned_from == self._first:
            self._raw.keep_answers_only()

    def _reader(self) -> Decoder:
        count = min(len(self._raw), self._first)
        if self._known is None or self._learned_from != count:
            x, p = self._raw.x[:count], self._raw.p[:count]
            require_probabilities(p, "HardLabels reads them as they are")
            self._known, self._learned_from = self._learn(x, p), count
            if self._light and count == self._first:  # until here the inputs were needed
                self._raw.keep_answers_only()
        return self._known


def same_classes(p: Tensor, classes: int, whose: str) -> None:
    """Raise `BadInput` unless the answers `p` (N, K) are of as many classes."""
    if p.shape[1] != classes:
        raise BadInput(
            f"answers of {p.shape[1]} classes and {whose} of {classes}", "the same number", "change the lens"
        )


def labelled(x: Tensor, labels: Tensor) -> Split:
    """Inputs `x` (N, C, H, W) in [0, 1] and labels (N,) as a split."""
    return Split.of(x.mul(255).round().to(torch.uint8).numpy(), labels.numpy(), name="asked")


def part(pool: Split, count: int, seed: int) -> Split:
    """`count` rows of the pool, with the labels of its own classes: inputs of another task, for what needs outliers."""
    rows = np.random.default_rng(seed).permutation(len(pool))[:count]
    return Split.of(pool.images[rows], pool.arrays[1][rows], name=pool.name, part="drawn")


def clean(model: nn.Module, x: Tensor) -> Tensor:
    """The answers (N, K) of a model of one's own."""
    return logits(model, x).float().softmax(-1)
