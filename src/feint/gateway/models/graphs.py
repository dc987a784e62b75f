"""A defended model in an ONNX file, as `feint export` writes it, run by onnxruntime: nothing here needs torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from feint._optional import require
from feint.errors import BadInput, DamagedFile, Failed, MissingData, one_line
from feint.gateway.models import imprint
from feint.gateway.models.imprint import Array, Imprint
from feint.probabilities import on_simplex

PROBABILITIES, MOVED, SCORE = "probabilities", "moved", "score"


class Outputs(NamedTuple):
    """What a graph says of N rows: an answer (N, K) for each rung, a score (N,) for each detector, and for each rung
    how far its answers are from the undefended ones in L1, (N,), where the file tells."""

    rungs: list[Array]
    scores: list[Array]
    moved: list[Array] | None


def softmax(z: Array) -> Array:
    """The rows of logits (N, K) on the simplex."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def as_they_are(p: Array) -> Array:
    """The rows of a file whose output is probabilities already."""
    return p


class Exported:
    """The ONNX file at `path`, with one float32 input of any batch, run on `threads` threads.

    A file of others is an undefended model: `answer` makes probabilities of its one output (N, K), or of the one called
    `output`: `softmax` where it holds logits. Raises `MissingData`, `DamagedFile` or `BadInput`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        threads: int = 1,
        output: str | None = None,
        answer: Callable[[Array], Array] = as_they_are,
    ) -> None:
        self.path, self._answer = Path(path), answer
        self._session = _session(self.path, threads)
        found = _imprint(self.path, self._session)
        self.defended = found is not None  # whether Feint wrote it
        about = found or Imprint()
        self.takes, self.fingerprint = about.takes, about.fingerprint
        self.version, self.recipe = about.version, about.recipe
        self.access, self.rungs, self.detectors = about.access, about.rungs, about.detectors
        self.input, self.shape = _input(self.path, self._session)
        there = {it.name: it.shape for it in self._session.get_outputs()}
        self._names = _declared(self.path, there, about) if self.defended else _only(self.path, there, output)
        self.classes = int(there[self._names[0]][1])

    def run(self, rows: Array) -> Outputs:
        """The answers to `rows` (N, …). Raises `BadInput` for another shape, `Failed` where onnxruntime fails."""
        if rows.shape[1:] != self.shape:
            raise BadInput(
                f"inputs of shape {rows.shape[1:]}", f"(N, {', '.join(map(str, self.shape))})", "resize them"
            )
        if self.takes == "p" and not on_simplex(rows, 1e-4):
            raise BadInput("rows off the simplex", "undefended probabilities", "apply softmax to logits first")
        try:
            batch = np.ascontiguousarray(rows if len(rows) else np.zeros((1, *self.shape)), np.float32)
            found = [it[: len(rows)] for it in self._session.run(self._names, {self.input: batch})]
        except Exception as error:  # onnxruntime's own exceptions share no other base
            raise Failed("a failure of the model", "an answer", "try again, or tell the operator") from error
        if not self.defended:
            return Outputs([self._answer(found[0])], [], None)
        rungs, detectors = len(self.rungs), len(self.detectors)
        return Outputs(found[:rungs], found[rungs : rungs + detectors], found[rungs + detectors :] or None)


def numbered(name: str, n: int) -> list[str]:
    """`name`, `name_1`, … for n rungs."""
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


def _imprint(path: Path, session: Any) -> Imprint | None:
    """What Feint wrote into the file; None where it did not write it. Raises `DamagedFile`."""
    metadata = session.get_modelmeta().custom_metadata_map
    if "feint.format" not in metadata:
        return None
    try:
        if not imprint.whole(path.read_bytes()):
            raise ValueError("changed since it was written")
        return imprint.read(metadata)
    except ValueError as error:
        raise _damaged(path, error) from error


def _input(path: Path, session: Any) -> tuple[str, tuple[int, ...]]:
    """The one input's name and the shape of a row of it. Raises `BadInput`."""
    given = session.get_inputs()
    fine = len(given) == 1 and given[0].type == "tensor(float)" and len(given[0].shape) > 1
    if not fine or isinstance(given[0].shape[0], int) or not all(isinstance(it, int) for it in given[0].shape[1:]):
        said = ", ".join(f"{it.name}: {it.type} {it.shape}" for it in given)
        raise BadInput(f"{path} with {said}", "one float32 input (N, …), any N and all else fixed", "export it so")
    return given[0].name, tuple(given[0].shape[1:])


def _declared(path: Path, there: dict[str, list[Any]], about: Imprint) -> list[str]:
    """The outputs of a file of Feint's, in the order of `Outputs`. Raises `DamagedFile`."""
    names = numbered(PROBABILITIES, len(about.rungs)) + [f"{SCORE}_{i}" for i in range(len(about.detectors))]
    names += numbered(MOVED, len(about.rungs)) if MOVED in there else []
    if set(names) != set(there):
        raise _damaged(path, f"the outputs {', '.join(there)}, not {', '.join(names)}")
    return names


def _only(path: Path, there: dict[str, list[Any]], output: str | None) -> list[str]:
    """The one output (N, K) of a file of others, or the one called `output`. Raises `BadInput`."""
    fits = [it for it, shape in there.items() if len(shape) == 2 and isinstance(shape[1], int) and output in (None, it)]
    if len(fits) != 1:
        said = ", ".join(f"{name} {shape}" for name, shape in there.items())
        raise BadInput(f"{path} with the outputs {said}", "one output (N, K)", "name the one that holds the answers")
    return fits


def _damaged(path: Path, reason: object) -> DamagedFile:
    said = one_line(reason, 200)
    return DamagedFile(f"{path} ({said})", "an ONNX file, whole and unchanged", "export it again")
