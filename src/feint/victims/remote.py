"""Remote predictors, like servers, as victims."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from feint.errors import DamagedFile, Refused, Unreachable
from feint.recipes.recipe import short_hash
from feint.recipes.store import atomic_write
from feint.signature import Domain
from feint.transcript import checksums

BATCH_SIZE = 500  # inputs in a request

Ask = Callable[
    [Tensor], tuple[Tensor, Refused | None]
]  # an oracle's try_ask: answers (n, K) and the refusal of the others


class FromAnswers(nn.Module):
    """Adapter of a remote predictor that returns probabilities: returns their logarithms, without a gradient.

    Every input is sent once, and its answer is cached: a defense in front of the adapter costs no further query. A
    predictor whose answers vary therefore looks deterministic. A call raises the predictor's refusal. After an
    `Unreachable` every call raises the same error at once, instead of waiting again.

    Args:
        ask: Function of inputs (N, …) to answers (n, K) and a refusal or None, like `Oracle.try_ask`.
        name: Name of the predictor, whose digest is in the `state_dict`.
        domain: Domain of the inputs.
        classes: Number K of classes.
        folder: Directory in which the answers are stored as well; None keeps them in memory.

    Attributes:
        asked: Number of inputs with an answer, now or in an earlier process.
        gone: The `Unreachable` of the predictor, or None.
    """

    digest: Tensor

    def __init__(self, ask: Ask, *, name: str, domain: Domain, classes: int, folder: Path | None = None) -> None:
        super().__init__()
        self._ask, self.classes = ask, classes
        self.domain = domain
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
        marks = checksums(x)
        first = {mark: row for row, mark in enumerate(marks.tolist()) if mark not in self._known}
        for rows in torch.tensor(sorted(first.values()), dtype=torch.long).split(BATCH_SIZE):
            self._fetch(x[rows], marks[rows])
        p = torch.stack([self._known[mark] for mark in marks.tolist()])
        return p.clamp_min(torch.finfo(p.dtype).tiny).log()

    def _fetch(self, x: Tensor, marks: Tensor) -> None:
        """Send inputs, and cache the answers."""
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
            f"{file} ({error})", "answers that Feint stored", "delete it: these inputs are sent again"
        ) from error
