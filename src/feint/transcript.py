"""What an attacker keeps: every input that was answered, and its answer."""

from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from feint.errors import BadInput, DamagedFile
from feint.recipes.store import atomic_write


def checksums(x: Tensor) -> Tensor:
    """A number (N,) int64 for each input of `x` (N, …) float32, which any changed bit changes."""
    bits = x.detach().contiguous().flatten(1).view(torch.int32).long()
    odd = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=torch.Generator().manual_seed(0)) * 2 + 1
    return (bits * odd).sum(1)


def _joined(parts: list[Tensor]) -> Tensor:
    """The parts as one tensor, which takes their place: asked for again, nothing is copied."""
    if len(parts) > 1:
        parts[:] = [torch.cat(parts)]
    return parts[0]


class Transcript:
    """Every input that was answered, and its answer, in the order of asking.

    An attack that asks millions of inputs and never looks back at them calls `keep_answers_only`: then a checksum
    stands for each input, and is enough to continue an attack that was interrupted.
    """

    def __init__(self) -> None:
        self._x: list[Tensor] = []
        self._p: list[Tensor] = []
        self._later: Callable[[], Tensor] | None = None
        self._count = 0
        self.light = False

    def keep_answers_only(self) -> None:
        """From now on a checksum stands for each input."""
        self._x, self.light = [checksums(x) for x in self._x] if not self.light else self._x, True

    def record(self, x: Tensor, p: Tensor) -> None:
        """Add the inputs `x` (N, …) and their answers `p` (N, K)."""
        if len(p):
            self._x.append(checksums(x) if self.light else x.detach())
            self._p.append(p.detach())
            self._count += len(p)

    def __len__(self) -> int:
        return self._count

    @property
    def x(self) -> Tensor:
        """The inputs, (N, …). Raises `BadInput` where only answers were kept."""
        if self.light:
            raise BadInput("a transcript that kept answers only", "the inputs", "take the answers as they come")
        return _joined(self._x)

    @property
    def p(self) -> Tensor:
        """The answers, (N, K)."""
        if self._later is not None:
            self._p, self._later = [self._later()], None
        return _joined(self._p)

    def reread(self, read: Callable[[Tensor], Tensor]) -> "Transcript":
        """The same inputs, with what `read` makes of the answers (N, K): when they are first looked at, and once."""
        view, count = Transcript(), self._count
        view._x, view._count, view.light = list(self._x), count, self.light
        view._later = lambda: read(self.p[:count])
        return view

    def remembered(self, x: Tensor, start: int) -> Tensor | None:
        """The answers to the inputs `x` where they stand in this transcript from row `start` on, or to as many of them
        as there are; None where there are none. Raises `BadInput` where other inputs stand there."""
        if start >= len(self):
            return None
        rows = slice(start, start + len(x))
        asked, answered = _joined(self._x)[rows], self.p[rows]
        if not torch.equal(asked, (checksums(x) if self.light else x)[: len(asked)]):
            raise BadInput("another attack's transcript", "the one that this attack left", "delete it and steal again")
        return answered

    def save(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        tensors = {"checksums" if self.light else "x": _joined(self._x), "p": self.p}
        with atomic_write(path) as partial:
            safetensors.torch.save_file({name: it.contiguous() for name, it in tensors.items()}, partial)

    @classmethod
    def load(cls, path: Path) -> "Transcript":
        """Read what `save` wrote. Raises `DamagedFile`."""
        transcript = cls()
        try:
            tensors = safetensors.torch.load_file(path)
            transcript.light = "checksums" in tensors
            transcript._x, transcript._p = [tensors["checksums" if transcript.light else "x"]], [tensors["p"]]
            transcript._count = len(tensors["p"])
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise DamagedFile(f"{path} ({error})", "a transcript with x and p", "delete it and steal again") from error
        return transcript
