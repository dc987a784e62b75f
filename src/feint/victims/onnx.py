"""A model in an ONNX file on the line, run by onnxruntime."""

import hashlib
import re
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from feint._optional import require
from feint.errors import BadInput, DamagedFile, MissingData, one_line

ELSEWHERE = re.compile(
    rb"\n\x08location\x12(.)", re.DOTALL
)  # a tensor whose bytes lie in a file of their own, in protobuf


class _Graph(NamedTuple):
    """What is known of the one input and the one output; None is any number."""

    input: str
    batch: int | None
    shape: tuple[int, int, int] | None
    output: str
    classes: int | None


class FromONNX(nn.Module):
    """An ONNX file as a model: one input (N, C, H, W) float32 in [0, 1], one output (N, K) of logits, or, within
    `FromProbabilities`, of probabilities. There is no gradient.

    A file with a fixed N is run on so many inputs at a time, the last of them repeated. `shape` is None where the file
    takes any height and width. Its `state_dict` holds a digest of the file and of the files that hold its tensors.
    Raises `MissingData`, `DamagedFile`, or `BadInput` for other inputs and outputs.
    """

    digest: Tensor

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingData(f"{self.path}, which is not there", "an ONNX file", "check the path")
        require("onnxruntime", "onnx")
        self.graph = _read(self.path, self._session)
        self.shape = self.graph.shape
        self.register_buffer("digest", torch.frombuffer(bytearray(_digest(self.path)), dtype=torch.uint8))
        self.classes = self.graph.classes or self._probed()

    @cached_property
    def _session(self) -> Any:
        """What runs the file; with as many threads as torch has."""
        runtime = require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors: what exporters leave behind is no concern of an audit
        try:
            return runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no other base
            raise DamagedFile(
                f"{self.path} ({_line(error)})", "an ONNX file that onnxruntime can run", "export it again"
            ) from error

    def forward(self, x: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(x.detach().cpu().numpy(), np.float32)
        if not len(x):
            return torch.zeros(0, self.classes)
        if self.shape not in (None, tuple(x.shape[1:])):
            raise BadInput(
                f"inputs of shape {tuple(x.shape[1:])}", f"{self.shape}, which {self.path} takes", "resize them"
            )
        size = self.graph.batch or len(pixels)
        return torch.cat([self._run(pixels[start : start + size], size) for start in range(0, len(pixels), size)])

    def _run(self, pixels: np.ndarray, size: int) -> Tensor:
        """The outputs (n, K) for up to `size` inputs, repeated where the file wants exactly so many."""
        padded = pixels if len(pixels) == size else np.resize(pixels, (size, *pixels.shape[1:]))
        try:
            (out,) = self._session.run([self.graph.output], {self.graph.input: padded})
        except Exception as error:  # as above
            raise BadInput(
                f"inputs of shape {pixels.shape[1:]} ({_line(error)})", f"inputs that {self.path} takes", "resize them"
            ) from error
        return torch.from_numpy(np.array(out[: len(pixels)]))

    def _probed(self) -> int:
        """The number of classes of a file that does not say it."""
        if self.shape is None:
            raise BadInput(
                f"{self.path}, which says neither its input's size nor its classes", "one of them",
                "export it with a fixed size",
            )  # fmt: skip
        return self._run(np.zeros((1, *self.shape), np.float32), self.graph.batch or 1).shape[-1]

    def __getstate__(self) -> dict[str, Any]:
        """What a pickle carries: the session is opened again on the other side."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}


def _read(path: Path, session: Any) -> _Graph:
    """The one image input and the one float output (N, K) of a session. Raises `BadInput`."""
    given = session.get_inputs()
    outputs = [it for it in session.get_outputs() if it.type == "tensor(float)" and len(it.shape) == 2]
    if len(given) != 1 or given[0].type != "tensor(float)" or len(given[0].shape) != 4 or len(outputs) != 1:
        said = ", ".join(f"{it.name}: {it.type} {it.shape}" for it in [*given, *session.get_outputs()])
        raise BadInput(
            f"{path} with {said}", "one input (N, C, H, W) and one output (N, K), both float32",
            "export the model by itself, from pixels to logits",
        )  # fmt: skip
    batch, *shape = (it if isinstance(it, int) and it > 0 else None for it in given[0].shape)
    known = tuple(it for it in shape if it is not None)
    classes = outputs[0].shape[1]
    return _Graph(
        given[0].name,
        batch,
        (known[0], known[1], known[2]) if len(known) == 3 else None,
        outputs[0].name,
        classes if isinstance(classes, int) and classes > 0 else None,
    )


def _digest(path: Path) -> bytes:
    """SHA-256 of the file and of all files beside it that hold tensors of it."""
    content = path.read_bytes()
    found = hashlib.sha256(content)
    names = {content[it.end() : it.end() + it[1][0]] for it in ELSEWHERE.finditer(content)}
    for beside in sorted(path.parent / name.decode(errors="replace") for name in names if b"\0" not in name):
        if beside.is_file():
            with beside.open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.digest()


def _line(error: Exception) -> str:
    return one_line(error, 200)
