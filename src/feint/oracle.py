"""The wall: an attack holds an `Oracle`, and nothing else.

It answers, shows the bill and keeps the transcript. 1 query = 1 input, repeats and augmentations included.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from feint.errors import BadInput, DamagedFile, OverBudget, Refused
from feint.store import written


class Transcript:
    """Every input that was answered, and its answer, in the order of asking."""

    def __init__(self) -> None:
        self._x: list[Tensor] = []
        self._p: list[Tensor] = []

    def record(self, x: Tensor, p: Tensor) -> None:
        """Add the inputs `x` (N, …) and their answers `p` (N, K)."""
        if len(p):
            self._x.append(x.detach())
            self._p.append(p.detach())

    def __len__(self) -> int:
        return sum(len(p) for p in self._p)

    @property
    def x(self) -> Tensor:
        """The inputs, (N, …)."""
        return torch.cat(self._x)

    @property
    def p(self) -> Tensor:
        """The answers, (N, K)."""
        return torch.cat(self._p)

    def save(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        with written(path) as partial:
            safetensors.torch.save_file({"x": self.x.contiguous(), "p": self.p.contiguous()}, partial)

    @classmethod
    def load(cls, path: Path) -> "Transcript":
        """Read what `save` wrote. Raises `DamagedFile`."""
        try:
            tensors = safetensors.torch.load_file(path)
            transcript = cls()
            transcript.record(tensors["x"], tensors["p"])
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise DamagedFile(f"{path} ({error})", "a transcript with x and p", "delete it and steal again") from error
        return transcript


class Oracle(Protocol):
    """All that an attacker holds."""

    @property
    def transcript(self) -> Transcript:
        """What was asked so far, and what came back."""
        ...

    @property
    def asked(self) -> int:
        """The bill: queries sent to the victim so far."""
        ...

    @property
    def left(self) -> int:
        """How many more inputs the budget pays for."""
        ...

    def ask(self, x: Tensor) -> Tensor:
        """Answers `p` (N, K) to the inputs `x` (N, …) in [0, 1].

        Raises `Refused` when not all could be answered; those that were are in the transcript.
        """
        ...

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        """Answers to the first rows of `x` that could be had, and the refusal that ended them, if any."""
        ...


class Meter:
    """The oracle that counts: it sends in batches, stops at the budget and keeps every answer.

    `past` is a transcript that the same attack left when it was interrupted: what it holds is paid for
    and is answered from it, so that an attack continues by starting again.
    """

    def __init__(
        self, send: Callable[[Tensor], Tensor], *, budget: int, batch_size: int = 256, past: Transcript | None = None
    ) -> None:
        if budget < 1:
            raise BadInput(f"a budget of {budget} queries", "at least 1", "raise the budget")
        self.budget = budget
        self.transcript = Transcript()
        self._send, self._batch_size = send, batch_size
        self._past = (past.x, past.p) if past is not None and len(past) else None

    @property
    def asked(self) -> int:
        return len(self.transcript)

    @property
    def left(self) -> int:
        return self.budget - self.asked

    def ask(self, x: Tensor) -> Tensor:
        return whole(*self.try_ask(x))

    def try_ask(self, x: Tensor) -> tuple[Tensor, Refused | None]:
        if not len(x):
            return self._send(x), None
        granted, answers, size, refusal = x[: self.left], [], self._batch_size, None
        while len(granted) and refusal is None:
            batch = granted[:size]
            try:
                p = self._remembered(batch)
                p = self._send(batch) if p is None else p
            except OverBudget as error:  # the service's own budget: ask for less until it is used up
                size //= 2
                refusal = None if size else error
                continue
            except Refused as error:
                refusal = error
                continue
            self.transcript.record(batch[: len(p)], p)
            answers.append(p)
            granted = granted[len(p) :]
        if refusal is None and sum(map(len, answers)) < len(x):
            refusal = OverBudget(
                f"{len(x)} more queries after {self.asked - sum(map(len, answers))}",
                f"at most {self.budget} in all",
                "raise the budget, or learn from the transcript",
            )
        return torch.cat(answers) if answers else x.new_empty(0, 0), refusal

    def _remembered(self, x: Tensor) -> Tensor | None:
        """The past answers to the first rows of `x`, or None where there are none."""
        if self._past is None:
            return None
        asked, answered = (it[self.asked : self.asked + len(x)] for it in self._past)
        if not torch.equal(asked, x[: len(asked)]):
            raise BadInput("another attack's transcript", "the one that this attack left", "delete it and steal again")
        return answered if len(answered) else None


def whole(p: Tensor, refusal: Refused | None) -> Tensor:
    """The answers `p` if they are complete; else the refusal is raised."""
    if refusal is not None:
        raise refusal
    return p
