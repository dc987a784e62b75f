"""Defended models in ONNX files, as `feint export` writes them, run by onnxruntime without torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from feint._optional import require
from feint.defenses.access.e_process import NewEvidence
from feint.errors import BadInput, DamagedFile, Failed, MissingData, one_line
from feint.models.simplex import on_simplex
from feint.onnx_manifest import Array, Manifest, from_metadata, verify
from feint.recipes.recipe import short_hash
from feint.signature import Pixels

TYPES = {
    np.dtype(np.float32): "tensor(float)",
    np.dtype(np.float64): "tensor(double)",
    np.dtype(np.int64): "tensor(int64)",
    np.dtype(np.uint8): "tensor(uint8)",
}  # of onnxruntime
PROBABILITIES, MOVED, SCORE = "probabilities", "moved", "score"


class ForeignGraph(BadInput):
    """Raised for a file of others that does not take images, or has more than one output that may hold the answers."""


class Outputs(NamedTuple):
    """Outputs of a graph for N rows.

    Attributes:
        rungs: An answer (N, K) for each rung.
        scores: A score (N,) or (N, d) for each detector, or what it reads of them, and a score for the campaign.
        moved: For each rung the L1 distance (N,) of its answers from the undefended ones, where the file has it.
        near: Perceptual codes (N,) of the rows, where detectors read them.
        evidence: Evidence of the request, where it was computed together with that of others, to be stored.
    """

    rungs: list[Array]
    scores: list[Array]
    moved: list[Array] | None
    near: Array | None = None
    evidence: NewEvidence | None = None

    @property
    def arrays(self) -> list[Array]:
        """All arrays, of N rows each."""
        return [*self.rungs, *self.scores, *(self.moved or ()), *([] if self.near is None else [self.near])]

    def part(self, rows: slice) -> "Outputs":
        """Return the outputs of some rows."""
        rungs, scores, moved = ([array[rows] for array in arrays or ()] for arrays in self[:3])
        return Outputs(rungs, scores, moved or None, None if self.near is None else self.near[rows])


def softmax(z: Array) -> Array:
    """Return the rows of logits (N, K) on the simplex."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def identity(p: Array) -> Array:
    """Return rows that are probabilities already."""
    return p


class OnnxModel:
    """Model or output defense in an ONNX file, whose one input takes any batch.

    The input of a file of Feint is that of its domain. A file that Feint did not write is an undefended model
    of images.

    Args:
        path: The file.
        threads: The threads on which it runs.
        output: The name of the output that holds the answers, where a file of others has several.

    Attributes:
        answer: Makes probabilities of the output (N, K) of a file of others: `softmax` where it holds logits.
        digest: Fingerprint of the file.

    Raises:
        MissingData: If there is no such file.
        DamagedFile: If it is no ONNX file, or was changed since Feint wrote it.
        ForeignGraph: If it is a file of others whose inputs or outputs are others.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        threads: int = 1,
        output: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.answer: Callable[[Array], Array] = identity
        self._session = _session(self.path, threads)
        self.digest = short_hash(self.path.read_bytes())
        stored = _stored_manifest(self.path, self._session)
        self.defended = stored is not None  # whether Feint wrote it
        manifest = stored or Manifest()
        self.takes, self.fingerprint = manifest.takes, manifest.fingerprint
        self.version, self.recipe = manifest.version, manifest.recipe
        self.access, self.rungs, self.detectors = manifest.access, manifest.rungs, manifest.detectors
        self.campaign = manifest.campaign
        self.input, self.shape, self.dtype = _input(self.path, self._session, manifest)
        self.domain, self.labels = manifest.domain or Pixels(self.shape), manifest.labels
        shapes = {node.name: node.shape for node in self._session.get_outputs()}
        self._names = _declared(self.path, shapes, manifest) if self.defended else _only(self.path, shapes, output)
        self.classes = int(shapes[self._names[0]][1])

    def run(self, rows: Array) -> Outputs:
        """Return the answers to `rows` (N, …); raise `BadInput` for another shape, `Failed` where onnxruntime fails."""
        if rows.shape[1:] != self.shape:
            raise BadInput(
                f"inputs of shape {rows.shape[1:]}", f"(N, {', '.join(map(str, self.shape))})", "resize them"
            )
        if self.takes == "p" and not on_simplex(rows, 1e-4):
            raise BadInput("rows off the simplex", "undefended probabilities", "apply softmax to logits first")
        try:
            batch = np.ascontiguousarray(rows if len(rows) else np.zeros((1, *self.shape)), self.dtype)
            arrays = [array[: len(rows)] for array in self._session.run(self._names, {self.input: batch})]
        except Exception as error:  # onnxruntime's own exceptions share no other base
            raise Failed("a failure of the model", "an answer", "try again, or tell the operator") from error
        if not self.defended:
            return Outputs([self.answer(arrays[0])], [], None)
        rungs, scores = len(self.rungs), len(self.detectors) + (self.campaign is not None)
        return Outputs(arrays[:rungs], arrays[rungs : rungs + scores], arrays[rungs + scores :] or None)


def numbered(name: str, n: int) -> list[str]:
    """Return `name`, `name_1`, … for n rungs."""
    return [f"{name}_{i}" if i else name for i in range(n)]


def _session(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise MissingData(f"{path}, which is not there", "an ONNX file", "check the path")
    runtime = require("onnxruntime", "serve")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise _damaged(path, error) from error


def _stored_manifest(path: Path, session: Any) -> Manifest | None:
    """Return what Feint wrote into the file, None where it did not write it; raise `DamagedFile`."""
    metadata = session.get_modelmeta().custom_metadata_map
    if "feint.format" not in metadata:
        return None
    try:
        if not verify(path.read_bytes()):
            raise ValueError("changed since it was written")
        return from_metadata(metadata)
    except ValueError as error:
        raise _damaged(path, error) from error


def _input(path: Path, session: Any, manifest: Manifest) -> tuple[str, tuple[int, ...], np.dtype]:
    """Return the one input's name, and the shape and the type of a row of it; raise `BadInput`."""
    nodes = session.get_inputs()
    dtype = np.dtype(np.float32) if manifest.domain is None else manifest.domain.dtype
    fine = len(nodes) == 1 and nodes[0].type == TYPES.get(dtype) and len(nodes[0].shape) > 1
    fine = fine and not isinstance(nodes[0].shape[0], int) and all(isinstance(side, int) for side in nodes[0].shape[1:])
    shape = tuple(nodes[0].shape[1:]) if fine else ()
    expected = manifest.domain.shape if manifest.domain is not None else shape
    if not fine or shape != expected or (not manifest.version and len(shape) != 3):
        inputs = ", ".join(f"{node.name}: {node.type} {node.shape}" for node in nodes)
        raise ForeignGraph(
            f"{path} with {inputs}", f"one {dtype} input (N, C, H, W), any N and all else fixed", "serve it with torch"
        )
    return nodes[0].name, shape, dtype


def _declared(path: Path, shapes: dict[str, list[Any]], manifest: Manifest) -> list[str]:
    """Return the outputs of a file of Feint's, in the order of `Outputs`; raise `DamagedFile`."""
    scores = len(manifest.detectors) + (manifest.campaign is not None)
    names = numbered(PROBABILITIES, len(manifest.rungs)) + [f"{SCORE}_{i}" for i in range(scores)]
    names += numbered(MOVED, len(manifest.rungs)) if MOVED in shapes else []
    if set(names) != set(shapes):
        raise _damaged(path, f"the outputs {', '.join(shapes)}, not {', '.join(names)}")
    return names


def _only(path: Path, shapes: dict[str, list[Any]], output: str | None) -> list[str]:
    """Return the one output (N, K) of a file of others, or the one called `output`; raise `BadInput`."""
    two = [name for name, shape in shapes.items() if len(shape) == 2 and isinstance(shape[1], int)]
    fits = [name for name in two if output in (None, name)]
    if len(fits) != 1:
        outputs = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ForeignGraph(
            f"{path} with the outputs {outputs}", "one output (N, K)", "name the one that holds the answers"
        )
    return fits


def _damaged(path: Path, reason: object) -> DamagedFile:
    return DamagedFile(f"{path} ({one_line(reason, 200)})", "an ONNX file, whole and unchanged", "export it again")
