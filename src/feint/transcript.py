"""Transcript of an attack: every answered input, and its answer.

An interrupted attack starts again and is answered from its transcript: row i answers the i-th query. It computes
that query again, from surrogates trained on the recorded answers. The last bits of the input may therefore differ where
the processor, the number of threads or a library does. An image counts as the recorded one where it differs by no more
than `NEAR`, or its sketch by no more than `NEAR_SKETCH`; any other input where its mark (`feint.signature`) is the
same. The attack then learns from the recorded input, since that one was answered. Any other query is an error before it
is sent: nothing is paid for twice.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from feint.errors import BadInput, DamagedFile
from feint.query import TYPES
from feint.recipes.store import atomic_write
from feint.signature import mark

NEAR = 1 / 510  # mean absolute difference from a recorded input: half of one of 256 levels
NEAR_SKETCH = 0.01  # greatest difference between sketches; those of two images differ by 0.3 or so
SKETCH = 2  # numbers in a sketch


def checksums(x: Tensor) -> Tensor:
    """Return checksums (N,) int64 of the inputs `x` (N, …); every bit counts."""
    rows = x.detach().contiguous().flatten(1)
    bits = (rows.int() if rows.element_size() < 4 else rows.view(torch.int32)).long()
    odd = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=torch.Generator().manual_seed(0)) * 2 + 1
    return (bits * odd).sum(1)


def sketches(x: Tensor) -> Tensor:
    """Return sketches (N, 2) float32 of the inputs `x` (N, …).

    Those of images are scaled sums of all features with random signs: the root mean square difference of two images is
    the standard deviation of the difference of their sketches, so that a last bit changes a sketch as little as the
    image. Those of other inputs are hashes of their marks.
    """
    if not _has_levels(x):
        digests = b"".join(hashlib.blake2b(code, digest_size=4 * SKETCH).digest() for code in mark(x.cpu().numpy()))
        return torch.from_numpy(np.frombuffer(digests, np.uint32).reshape(-1, SKETCH).astype(np.float32) / 2**32)
    rows = x.detach().cpu().flatten(1).double()
    drawn = torch.randint(2, (rows.shape[1], SKETCH), generator=torch.Generator().manual_seed(0)).double()
    return (rows @ (2 * drawn - 1) / max(rows.shape[1], 1) ** 0.5).float()


def _has_levels(x: Tensor) -> bool:
    """Return whether inputs of this type have levels, as images do: their values are compared with a tolerance."""
    return TYPES[x.dtype].levels > 0


def _joined(parts: list[Tensor]) -> Tensor:
    """Return the parts as one tensor, which replaces them in the list: the next call copies nothing."""
    if len(parts) > 1:
        parts[:] = [torch.cat(parts)]
    return parts[0]


class Transcript:
    """Answered inputs and their answers, in the order of the queries.

    An attack that sends millions of inputs and never reads them again calls `keep_answers_only`. A sketch of two
    numbers then replaces each input, which is enough to continue an interrupted attack.

    Attributes:
        light: Whether sketches replace the inputs.
        source: Who answered; "" where nobody said so.
    """

    def __init__(self, source: str = "") -> None:
        self._x: list[Tensor] = []
        self._p: list[Tensor] = []
        self._later: Callable[[], Tensor] | None = None
        self._count = 0
        self.light, self.source = False, source

    def keep_answers_only(self) -> None:
        """Replace each input, recorded or future, by its sketch."""
        self._x, self.light = [sketches(x) for x in self._x] if not self.light else self._x, True

    def record(self, x: Tensor, p: Tensor) -> None:
        """Append the inputs `x` (N, …) and their answers `p` (N, K)."""
        if len(p):
            self._x.append(sketches(x) if self.light else x.detach())
            self._p.append(p.detach())
            self._count += len(p)

    def __len__(self) -> int:
        return self._count

    @property
    def x(self) -> Tensor:
        """Inputs (N, …).

        Raises:
            BadInput: The transcript is light: it has sketches instead.
        """
        if self.light:
            raise BadInput("a transcript that kept answers only", "the inputs", "take the answers as they come")
        return _joined(self._x)

    @property
    def p(self) -> Tensor:
        """Answers (N, K)."""
        if self._later is not None:
            self._p, self._later = [self._later()], None
        return _joined(self._p)

    def reread(self, read: Callable[[Tensor], Tensor]) -> "Transcript":
        """Return a view with the same inputs and the answers `read(p)` (N, K), computed once, at their first use."""
        view, count = Transcript(), self._count
        view._x, view._count, view.light = list(self._x), count, self.light
        view._later = lambda: read(self.p[:count])
        return view

    def remembered(self, x: Tensor, start: int) -> tuple[Tensor, Tensor] | None:
        """Return the recorded inputs and answers to the queries `x` (N, …).

        Args:
            x: Queries of the repeated attack.
            start: Row of the transcript at which they begin.

        Returns:
            Inputs (n, …) and answers (n, K) with n ≤ N rows, as far as the transcript goes, or None at its end. A light
            transcript returns the inputs of `x`.

        Raises:
            BadInput: The recorded inputs are not `x`, by the rule of this module.
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
        """Write the transcript as safetensors, atomically."""
        tensors = {"sketches" if self.light else "x": _joined(self._x), "p": self.p}
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        with atomic_write(path) as partial:
            safetensors.torch.save_file(whole, partial, {"source": self.source})

    @classmethod
    def load(cls, path: Path, source: str = "") -> "Transcript":
        """Return the transcript that `save` wrote.

        Args:
            path: The file.
            source: Who must have answered; "" takes the answers of anybody.

        Returns:
            The transcript.

        Raises:
            DamagedFile: The file is missing, truncated or foreign.
            BadInput: Somebody else answered.
        """
        transcript = cls()
        try:
            tensors = safetensors.torch.load_file(path)
            with safetensors.safe_open(path, "pt") as file:
                transcript.source = (file.metadata() or {}).get("source", "")
            transcript.light = "sketches" in tensors
            transcript._x, transcript._p = [tensors["sketches" if transcript.light else "x"]], [tensors["p"]]
            transcript._count = len(tensors["p"])
        except (OSError, KeyError, safetensors.SafetensorError) as error:
            raise DamagedFile(f"{path} ({error})", "a transcript with x and p", "delete it and ask again") from error
        if source and transcript.source != source:
            raise BadInput(
                f"{path}, answers of {transcript.source or 'nobody who is named'}", f"those of {source}",
                "a new directory: answers of two are never mixed",
            )  # fmt: skip
        return transcript

    def extend(self, path: Path, earlier: "Transcript | None") -> None:
        """Write the transcript, unless it is no more than a part of an earlier one in the same file."""
        if len(self) > (len(earlier) if earlier is not None else 0):
            self.save(path)


def _differing(recorded: Tensor, x: Tensor, *, sketched: bool) -> int | None:
    """Return the first row in which `x` differs from the recorded values or sketches, or None."""
    values = sketches(x) if sketched else x
    if values.shape != recorded.shape or values.dtype != recorded.dtype:
        return 0
    if not (sketched or _has_levels(x)):
        pairs = zip(mark(values.cpu().numpy()), mark(recorded.cpu().numpy()), strict=True)
        return next((row for row, (one, other) in enumerate(pairs) if one != other), None)
    apart = (values - recorded).abs().flatten(1)
    far = (apart.amax(1) > NEAR_SKETCH) if sketched else (apart.mean(1) > NEAR)
    return int(far.int().argmax()) if far.any() else None
