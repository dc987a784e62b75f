"""What an attacker keeps: every input that was answered, and its answer.

An interrupted attack starts again and is answered from the transcript that it left: row i answers its i-th query. It
computes that query anew, from surrogates trained on the recorded answers, and so the last bits of the input may differ
where the processor, the number of threads or a library does. The rule: a query is the recorded one where it differs
from that by no more than `NEAR`, or its sketch by no more than `NEAR_SKETCH`. The attack then learns from the recorded
input, which is the one that was answered. Anything else is an error before a query is sent: nothing is paid for twice.
"""

from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from feint.errors import BadInput, DamagedFile
from feint.recipes.store import atomic_write

NEAR = 1 / 510  # mean absolute difference from a recorded input: half of one of 256 levels
NEAR_SKETCH = 0.01  # greatest difference between sketches; those of two images differ by 0.3 or so
SKETCH = 2  # numbers in a sketch


def checksums(x: Tensor) -> Tensor:
    """A number (N,) int64 for each input of `x` (N, …) float32, which any changed bit changes."""
    bits = x.detach().contiguous().flatten(1).view(torch.int32).long()
    odd = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=torch.Generator().manual_seed(0)) * 2 + 1
    return (bits * odd).sum(1)


def sketches(x: Tensor) -> Tensor:
    """Sketches (N, 2) float32 of the inputs `x` (N, …) float32: sums over all features, each with a random sign.

    The root mean square of the difference between two inputs is the deviation of that between their sketches, so that a
    last bit changes a sketch as little as the input.
    """
    rows = x.detach().cpu().flatten(1).double()
    drawn = torch.randint(2, (rows.shape[1], SKETCH), generator=torch.Generator().manual_seed(0)).double()
    return (rows @ (2 * drawn - 1) / max(rows.shape[1], 1) ** 0.5).float()


def _joined(parts: list[Tensor]) -> Tensor:
    """The parts as one tensor, which takes their place: asked for again, nothing is copied."""
    if len(parts) > 1:
        parts[:] = [torch.cat(parts)]
    return parts[0]


class Transcript:
    """Every input that was answered, and its answer, in the order of asking.

    An attack that asks millions of inputs and never looks back at them calls `keep_answers_only`: then a sketch, two
    numbers, stands for each input, and is enough to continue an attack that was interrupted.
    """

    def __init__(self) -> None:
        self._x: list[Tensor] = []
        self._p: list[Tensor] = []
        self._later: Callable[[], Tensor] | None = None
        self._count = 0
        self.light = False

    def keep_answers_only(self) -> None:
        """From now on a sketch stands for each input."""
        self._x, self.light = [sketches(x) for x in self._x] if not self.light else self._x, True

    def record(self, x: Tensor, p: Tensor) -> None:
        """Add the inputs `x` (N, …) and their answers `p` (N, K)."""
        if len(p):
            self._x.append(sketches(x) if self.light else x.detach())
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

    def remembered(self, x: Tensor, start: int) -> tuple[Tensor, Tensor] | None:
        """The recorded inputs and answers from row `start` on, as many as `x` has rows or as there are.

        None where the transcript has ended; of a transcript of answers only, the inputs are those of `x`. Raises
        `BadInput` where the recorded inputs are not `x`, by the rule at the top of this module.
        """
        if start >= len(self):
            return None
        rows = slice(start, start + len(x))
        recorded, answered = _joined(self._x)[rows], self.p[rows]
        x = x[: len(answered)]
        if (other := _differing(recorded, x, sketched=self.light)) is not None:
            raise BadInput(
                f"another attack's transcript, or another machine's: query {start + other + 1} is not the recorded one",
                "the transcript that this attack left, with the same recipe, seed, processor and threads",
                "continue where it began, or delete it and steal again",
            )
        return (x if self.light else recorded), answered

    def save(self, path: Path) -> None:
        """Write it as safetensors, whole or not at all."""
        tensors = {"sketches" if self.light else "x": _joined(self._x), "p": self.p}
        with atomic_write(path) as partial:
            safetensors.torch.save_file({name: it.contiguous() for name, it in tensors.items()}, partial)

    @classmethod
    def load(cls, path: Path) -> "Transcript":
        """Read what `save` wrote. Raises `DamagedFile`."""
        transcript = cls()
        try:
            tensors = safetensors.torch.load_file(path)
            transcript.light = "sketches" in tensors
            transcript._x, transcript._p = [tensors["sketches" if transcript.light else "x"]], [tensors["p"]]
            transcript._count = len(tensors["p"])
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise DamagedFile(f"{path} ({error})", "a transcript with x and p", "delete it and steal again") from error
        return transcript


def _differing(recorded: Tensor, x: Tensor, *, sketched: bool) -> int | None:
    """The first row in which the inputs `x` are not the recorded ones, by their values or by their sketches."""
    values = sketches(x) if sketched else x
    if values.shape != recorded.shape:
        return 0
    apart = (values - recorded).abs().flatten(1)
    far = (apart.amax(1) > NEAR_SKETCH) if sketched else (apart.mean(1) > NEAR)
    return int(far.int().argmax()) if far.any() else None
