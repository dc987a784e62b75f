"""Lenses: how attackers who know the defense look at its answers. An oracle in, a clearer oracle out.

A lens says what to send for an input and how to read what comes back; it pays for every query it sends.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from feint.errors import BadInput, Refused
from feint.oracle import Oracle, OracleWrapper
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import Transcript


class Suspected(Protocol):
    """A defense, as far as a lens asks what stands before the model and after it."""

    @property
    def inputs(self) -> Sequence[Any]: ...

    @property
    def outputs(self) -> Sequence[Any]: ...


class Lens(ABC):
    """A lens is a frozen dataclass that defines `__call__`.

    Attributes:
        cite: Key of the paper in docs/references.bib.
        upper_bound: Whether it holds what no real attacker has.
        labels_only: Whether it reads the label of an answer and nothing else.
        rereads: Whether it changes what an answer is taken for; False where it changes who asks, and when.
        randomised: Whether it asks copies that are altered at random.
        needs: Fields that are filled with what is known of the defense, each with why a defense may not tell it.
        cost: Queries for each input.
    """

    cite: ClassVar[str]
    upper_bound: ClassVar[bool] = False
    labels_only: ClassVar[bool] = False
    rereads: ClassVar[bool] = True
    randomised: ClassVar[bool] = False
    needs: ClassVar[Mapping[str, str]] = {}
    cost: int = 1

    def incompatible(self, defense: Suspected) -> str | None:
        """Return why this lens cannot be put before the defense; None if it can."""
        return None

    @abstractmethod
    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        """`oracle`, seen through this lens; `progress` is for those that train models of their own.

        Raises `BadInput` where what is left of the budget does not pay for one input.
        """


class PointwiseLens(Lens):
    """A lens that reads the answers to each input by themselves: it defines `send` and `read`."""

    @abstractmethod
    def send(self, x: Tensor) -> Tensor:
        """What to ask for the inputs `x` (N, …): (N · cost, …), all that belongs to an input side by side."""

    @abstractmethod
    def read(self, p: Tensor) -> Tensor:
        """The clearer answers (N, K) that the answers `p` (N · cost, K) to `send(x)` amount to."""

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return LensedOracle(oracle, self)


class LensedOracle(OracleWrapper):
    """An oracle seen through a pointwise lens: its own transcript of clear answers, the bill of the oracle behind."""

    def __init__(self, oracle: Oracle, lens: PointwiseLens) -> None:
        super().__init__(oracle)
        affordable(oracle, lens)
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


def affordable(oracle: Oracle, lens: Lens) -> None:
    """Raise `BadInput` where what is left of the budget does not pay for one input through `lens`."""
    if oracle.left < lens.cost:
        raise BadInput(
            f"{oracle.left} queries left and {lens!r}",
            f"{lens.cost} for each input",
            "raise the budget, or repeat less",
        )
