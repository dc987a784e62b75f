"""Lenses: how attackers who know the defense look at its answers. An oracle in, a clearer oracle out.

A lens says what to send for an input and how to read what comes back; it pays for every query it sends.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from feint.errors import BadRecipe, Refused
from feint.oracle import Oracle, Relay
from feint.transcript import Transcript


class Lens(ABC):
    """A lens is a frozen dataclass that defines `__call__`."""

    cite: ClassVar[str]
    cost: int = 1  # queries for each input

    @abstractmethod
    def __call__(self, oracle: Oracle) -> Oracle:
        """`oracle`, seen through this lens."""


class Pointwise(Lens):
    """A lens that reads the answers to each input by themselves: it defines `send` and `read`."""

    @abstractmethod
    def send(self, x: Tensor) -> Tensor:
        """What to ask for the inputs `x` (N, …): (N · cost, …), all that belongs to an input side by side."""

    @abstractmethod
    def read(self, p: Tensor) -> Tensor:
        """The clearer answers (N, K) that the answers `p` (N · cost, K) to `send(x)` amount to."""

    def __call__(self, oracle: Oracle) -> Oracle:
        return Lensed(oracle, self)


class Lensed(Relay):
    """An oracle seen through a pointwise lens: its own transcript of clear answers, the bill of the oracle behind."""

    def __init__(self, oracle: Oracle, lens: Pointwise) -> None:
        super().__init__(oracle)
        self._lens, self._clear = lens, Transcript()

    @property
    def transcript(self) -> Transcript:
        return self._clear

    @property
    def left(self) -> int:
        return self._oracle.left // self._lens.cost

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        p, refusal = self._oracle.try_ask(self._lens.send(x))
        complete = len(p) // self._lens.cost
        clear = self._lens.read(p[: complete * self._lens.cost]) if complete else p[:0]
        self._clear.record(x[:complete], clear)
        return clear, refusal

    def keep_answers_only(self) -> None:
        self._oracle.keep_answers_only()
        self._clear.keep_answers_only()


@dataclass(frozen=True)
class HardLabels(Pointwise):
    """The label alone, as a one-hot row: what no defense that keeps the label can take away.

    The argmax attack on label-preserving defenses (Orekondy et al., ICLR 2020, §5.2).
    """

    cite: ClassVar[str] = "orekondy2020prediction"

    def send(self, x: Tensor) -> Tensor:
        return x

    def read(self, p: Tensor) -> Tensor:
        return F.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)


@dataclass(frozen=True)
class Averaged(Pointwise):
    """The mean of the answers to `repeats` askings of the same input: noise drawn anew for each query averages out.

    The n-query attack on randomised defenses (Tang et al., USENIX Security 2024).
    """

    cite: ClassVar[str] = "tang2024modelguard"
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise BadRecipe(f"repeats={self.repeats}", "1 or more", "change it")

    @property
    def cost(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.repeats

    def send(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.repeats, 0)

    def read(self, p: Tensor) -> Tensor:
        return p.unflatten(0, (-1, self.repeats)).mean(1)
