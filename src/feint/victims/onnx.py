"""ONNX files as victims, run by onnxruntime."""

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
from feint.signature import Pixels

# In protobuf, a tensor whose bytes are in another file; the last byte is the length of that file's name.
EXTERNAL_DATA = re.compile(rb"\n\x08location\x12(.)", re.DOTALL)


class _Graph(NamedTuple):
    """Names and sizes of the one input and the one output; None is any size."""

    input: str
    batch: int | None
    shape: tuple[int, int, int] | None
    output: str
    classes: int | None


class FromONNX(nn.Module):
    """Adapter of an ONNX file, without a gradient.

    The graph has one input (N, C, H, W) float32 in [0, 1] and one output (N, K) of logits, or of probabilities within
    `FromProbabilities`. A graph with a fixed N runs on batches of that size; inputs are repeated to fill the last one.
    The `state_dict` has a digest of the file and of the files with its tensors.

    Args:
        path: The file.

    Attributes:
        shape: Shape (C, H, W) of an input, or None where the graph takes any height and width.
        domain: Its domain, or None.
        classes: Number K of classes.

    Raises:
        MissingData: There is no such file, or onnxruntime is not installed.
        DamagedFile: onnxruntime cannot run the file.
        BadInput: The graph has other inputs and outputs.
    """

    digest: Tensor

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingData(f"{self.path}, which is not there", "an ONNX file", "check the path")
        require("onnxruntime", "onnx")
        self.graph = _signature(self.path, self._session)
        self.shape = self.graph.shape
        self.domain = None if self.shape is None else Pixels(self.shape)
        self.register_buffer("digest", torch.frombuffer(bytearray(_digest(self.path)), dtype=torch.uint8))
        self.classes = self.graph.classes or self._count_classes()

    @cached_property
    def _session(self) -> Any:
        """Session of onnxruntime, with as many threads as torch has."""
        runtime = require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors only: an audit does not report warnings about the exporter
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
        """Return the outputs (n, K) for n ≤ `size` inputs, which are repeated up to exactly `size`."""
        padded = pixels if len(pixels) == size else np.resize(pixels, (size, *pixels.shape[1:]))
        try:
            (out,) = self._session.run([self.graph.output], {self.graph.input: padded})
        except Exception as error:  # as above
            raise BadInput(
                f"inputs of shape {pixels.shape[1:]} ({_line(error)})", f"inputs that {self.path} takes", "resize them"
            ) from error
        return torch.from_numpy(np.array(out[: len(pixels)]))

    def _count_classes(self) -> int:
        """Return the number of classes of a graph without a fixed K, from its answer to one input."""
        if self.shape is None:
            raise BadInput(
                f"{self.path}, without a fixed input size and number of classes", "one of them",
                "export it with a fixed size",
            )  # fmt: skip
        return self._run(np.zeros((1, *self.shape), np.float32), self.graph.batch or 1).shape[-1]

    def __getstate__(self) -> dict[str, Any]:
        """A pickle has no session: the receiving process opens one."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}


def _signature(path: Path, session: Any) -> _Graph:
    """Return the one image input and the one float output (N, K) of a session, or raise `BadInput`."""
    inputs = session.get_inputs()
    outputs = [node for node in session.get_outputs() if node.type == "tensor(float)" and len(node.shape) == 2]
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4 or len(outputs) != 1:
        nodes = ", ".join(f"{node.name}: {node.type} {node.shape}" for node in [*inputs, *session.get_outputs()])
        raise BadInput(
            f"{path} with {nodes}", "one input (N, C, H, W) and one output (N, K), both float32",
            "export the model by itself, from pixels to logits",
        )  # fmt: skip
    batch, *shape = (size if isinstance(size, int) and size > 0 else None for size in inputs[0].shape)
    known = tuple(size for size in shape if size is not None)
    classes = outputs[0].shape[1]
    return _Graph(
        inputs[0].name,
        batch,
        (known[0], known[1], known[2]) if len(known) == 3 else None,
        outputs[0].name,
        classes if isinstance(classes, int) and classes > 0 else None,
    )


def _digest(path: Path) -> bytes:
    """Return the SHA-256 of the file and of all files beside it with tensors of it."""
    content = path.read_bytes()
    digest = hashlib.sha256(content)
    names = {content[match.end() : match.end() + match[1][0]] for match in EXTERNAL_DATA.finditer(content)}
    for beside in sorted(path.parent / name.decode(errors="replace") for name in names if b"\0" not in name):
        if beside.is_file():
            with beside.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _line(error: Exception) -> str:
    return one_line(error, 200)
