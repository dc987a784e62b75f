"""Whatever answers to inputs, such as a server, as a model on the line."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from feint.errors import DamagedFile, Refused, Unreachable
from feint.recipes.recipe import short_hash
from feint.recipes.store import atomic_write
from feint.transcript import checksums

AT_ONCE = 500  # inputs in a request

Ask = Callable[[Tensor], tuple[Tensor, Refused | None]]  # an oracle's try_ask: answers as far as they came, and why not


class FromAnswers(nn.Module):
    """What answers inputs (N, C, H, W) with probabilities (N, K), as a model: their logarithms, without a gradient.

    Every input is asked once, and what came back is kept, in `folder` too where there is one: a defense that is tried
    in front costs no query. So an answer that changes from time to time looks as if it did not. `name` stands for what
    is asked, in its `state_dict`; `asked` counts the inputs that were sent, now or before. A refusal is raised, and so
    is `Unreachable`: from then on it is `gone`, and every call raises that at once instead of waiting as long again.
    """

    digest: Tensor

    def __init__(self, ask: Ask, *, name: str, shape: Sequence[int], classes: int, folder: Path | None = None) -> None:
        super().__init__()
        self._ask, self.classes = ask, classes
        channels, height, width = shape
        self.shape = channels, height, width
        self._folder = folder
        self.gone: Unreachable | None = None
        digest = bytearray(hashlib.sha256(name.encode()).digest())
        self.register_buffer("digest", torch.frombuffer(digest, dtype=torch.uint8))
        self._known: dict[int, Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")) if folder is not None else ():
            self._known |= _read(file)
        self.asked = len(self._known)

    def forward(self, x: Tensor) -> Tensor:
        if not len(x):
            return torch.zeros(0, self.classes)
        marks = checksums(x.float())
        first = {mark: row for row, mark in enumerate(marks.tolist()) if mark not in self._known}
        for rows in torch.tensor(sorted(first.values()), dtype=torch.long).split(AT_ONCE):
            self._learn(x[rows], marks[rows])
        p = torch.stack([self._known[mark] for mark in marks.tolist()])
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()

    def _learn(self, x: Tensor, marks: Tensor) -> None:
        """Ask, and keep what came."""
        if self.gone is not None:
            raise self.gone
        if not len(x):
            return
        try:
            p, refusal = self._ask(x)
        except Unreachable as error:
            self.gone = error
            raise
        self.asked += len(p)
        if len(p):
            self._known |= dict(zip(marks.tolist(), p, strict=False))
            self._write(marks[: len(p)], p)
        if refusal is not None:
            raise refusal

    def _write(self, marks: Tensor, p: Tensor) -> None:
        if self._folder is None:
            return
        name = short_hash(marks.numpy().tobytes())
        with atomic_write(self._folder / f"{name}.safetensors") as partial:
            safetensors.torch.save_file({"inputs": marks.contiguous(), "p": p.contiguous()}, partial)


def _read(file: Path) -> dict[int, Tensor]:
    try:
        tensors = safetensors.torch.load_file(file)
        return dict(zip(tensors["inputs"].tolist(), tensors["p"], strict=True))
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise DamagedFile(
            f"{file} ({error})", "answers as Feint keeps them", "delete it: they are asked again"
        ) from error
