"""Timing: the distance to the boundary, read from the time that an answer takes."""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from feint.attacks.lenses.lens import DefenseLike, Lens, require_cost
from feint.errors import BadRecipe, Refused
from feint.oracle import Oracle, OracleWrapper
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.transcript import Transcript


@dataclass(frozen=True)
class Timing(Lens):
    """The label, with a confidence that rises with the time of the answer.

        target = (1 − u) · label + u · uniform,   u = most · (1 − rank of the time)

    Against APMSA (Zhang et al., IEEE TIFS 2023; not a method of that paper, which describes the defense), which walks
    to the boundary: an input near it is answered soon. One input is asked at a time, timed by the attacker, and the
    shortest of `repeats` times counts, since other work only ever adds to a time. Ranks are among all inputs asked so
    far; the transcript is read anew with those of all. Against a defense that takes constant time it is label
    smoothing.

    Times are measured: two runs are not the same bit for bit, and a run that continues from a transcript has no times
    for its earlier queries.

    Args:
        repeats: Queries for each input, 1 or more.
        most: Largest share of the uniform answer, from 0 (labels alone) to 1.
    """

    cite: ClassVar[str] = "zhang2023apmsa"
    repeats: int = 1
    most: float = 0.5

    def __post_init__(self) -> None:
        if self.repeats < 1 or not 0 <= self.most <= 1:
            raise BadRecipe(repr(self), "1 repeat or more, and most from 0 (labels alone) to 1", "change it")

    def incompatible(self, defense: DefenseLike) -> str | None:
        return None if defense.inputs else "every answer takes the same time"

    @property
    def cost(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.repeats

    def __call__(self, oracle: Oracle, *, progress: ProgressCallback = NO_PROGRESS) -> Oracle:
        return _TimedOracle(oracle, self)


class _TimedOracle(OracleWrapper):
    """Oracle that times each input, and reads the targets from the ranks of the times."""

    def __init__(self, oracle: Oracle, lens: Timing) -> None:
        super().__init__(oracle)
        require_cost(oracle, lens)
        self._lens, self._raw, self._view = lens, Transcript(), Transcript()
        self._seconds: list[float] = []

    @property
    def transcript(self) -> Transcript:
        if len(self._view) != len(self._raw):
            count = len(self._raw)
            self._view = self._raw.reread(lambda p: self._read(p, self._seconds[:count]))
        return self._view

    @property
    def left(self) -> int:
        return self._oracle.left // self._lens.repeats

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        if not len(x):
            return self._oracle.try_ask(x)
        refusal, answers = None, []
        for row in x.split(1):
            p, seconds, refusal = self._ask_timed(row)
            if refusal is not None:
                break
            self._raw.record(row, p)
            self._seconds.append(seconds)
            answers.append(p)
        return self._read(torch.cat(answers), self._seconds) if answers else x.new_empty(0, 0), refusal

    def keep_answers_only(self) -> None:
        self._oracle.keep_answers_only()
        self._raw.keep_answers_only()

    def _ask_timed(self, row: Tensor) -> tuple[Tensor, float, Refused | None]:
        """Return the answer to one input, the seconds of its fastest query, and the refusal if there was one."""
        p, fastest = row, float("inf")
        for _ in range(self._lens.repeats):
            started = time.perf_counter()
            p, refusal = self._oracle.try_ask(row)
            fastest = min(fastest, time.perf_counter() - started)
            if refusal is not None:
                return p, fastest, refusal
        return p, fastest, None

    def _read(self, p: Tensor, seconds: list[float]) -> Tensor:
        """Return the targets for the last answers `p` (N, K) among those that took these `seconds`."""
        rank = torch.tensor(seconds).argsort().argsort().to(p) + 0.5
        doubt = self._lens.most * (1 - rank[-len(p) :, None] / len(seconds))
        return (1 - doubt) * F.one_hot(p.argmax(-1), p.shape[-1]).to(p) + doubt / p.shape[-1]
