"""The interface of lenses, through which attackers who know the defense look at its answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from feint.attacks.domains import AttackerMethod
from feint.errors import BadInput, Refused
from feint.oracle import Oracle, OracleWrapper
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import Transcript


class DefenseLike(Protocol):
    """A defense, as far as a lens asks for its steps before and after the model.

    Attributes:
        inputs: Input defenses, before the model.
        outputs: Output defenses, after the model.
    """

    @property
    def inputs(self) -> Sequence[Any]: ...

    @property
    def outputs(self) -> Sequence[Any]: ...


class Lens(AttackerMethod, ABC):
    """Lens, which turns an oracle into a clearer one: a frozen dataclass that defines `__call__`.

    Every query that a lens sends is paid for.

    Attributes:
        cite: Key of the paper in docs/references.bib.
        upper_bound: Whether the lens holds what no real attacker has.
        labels_only: Whether the lens reads the label of an answer and nothing else.
        rereads: Whether the lens changes answers; False if it changes only which account asks, and when.
        randomised: Whether the lens asks copies that are altered at random.
        needs: Fields that are filled from the defense, each with the reason why a defense may not provide it.
        cost: Queries for each input.
    """

    cite: ClassVar[str]
    upper_bound: ClassVar[bool] = False
    labels_only: ClassVar[bool] = False
    rereads: ClassVar[bool] = True
    randomised: ClassVar[bool] = False
    needs: ClassVar[Mapping[str, str]] = {}
    cost: int = 1

    def incompatible(self, defense: DefenseLike) -> str | None:
        """Return why this lens cannot be used against the defense; None if it can."""
        return None

    @abstractmethod
    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        """Return the oracle, seen through this lens.

        Args:
            oracle: The oracle behind.
            progress: Callback for lenses that train models of their own.

        Raises:
            BadInput: If the rest of the budget does not pay for one input.
        """


class PointwiseLens(Lens):
    """Lens that reads the answers to each input by themselves: it defines `send` and `read`."""

    @abstractmethod
    def send(self, x: Tensor) -> Tensor:
        """Return the queries (N · cost, …) for the inputs `x` (N, …); those of one input are neighbours."""

    @abstractmethod
    def read(self, p: Tensor) -> Tensor:
        """Return the clearer answers (N, K) that follow from the answers `p` (N · cost, K) to `send(x)`."""

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return LensedOracle(oracle, self)


class LensedOracle(OracleWrapper):
    """Oracle seen through a pointwise lens, with a transcript of clearer answers and the bill of the oracle behind."""

    def __init__(self, oracle: Oracle, lens: PointwiseLens) -> None:
        super().__init__(oracle)
        require_cost(oracle, lens)
        self._lens, self._transcript = lens, Transcript()

    @property
    def transcript(self) -> Transcript:
        return self._transcript

    @property
    def left(self) -> int:
        return self._oracle.left // self._lens.cost

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        p, refusal = self._oracle.try_ask(self._lens.send(x))
        complete = len(p) // self._lens.cost
        answers = self._lens.read(p[: complete * self._lens.cost]) if complete else p[:0]
        self._transcript.record(x[:complete], answers)
        return answers, refusal

    def keep_answers_only(self) -> None:
        self._oracle.keep_answers_only()
        self._transcript.keep_answers_only()


def require_cost(oracle: Oracle, lens: Lens) -> None:
    """Raise `BadInput` if the rest of the budget does not pay for one input through `lens`."""
    if oracle.left < lens.cost:
        raise BadInput(
            f"{oracle.left} queries left and {lens!r}",
            f"{lens.cost} for each input",
            "raise the budget, or repeat less",
        )


def labels_only_conflict(defense: DefenseLike) -> str | None:
    """Return why a lens that reads probabilities cannot be used against a defense that returns labels."""
    return (
        "its answers are labels only" if any(getattr(step, "labels_only", False) for step in defense.outputs) else None
    )
