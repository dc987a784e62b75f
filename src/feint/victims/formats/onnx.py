"""ONNX files, run by onnxruntime."""

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from feint._optional import require
from feint.errors import BadInput, DamagedFile, MissingData, one_line
from feint.victims.outputs import label_text
from feint.victims.raw import Metadata, RawModel, TensorSpec

# In protobuf, a tensor whose bytes are in another file; the last byte is the length of that file's name.
EXTERNAL_DATA = re.compile(rb"\n\x08location\x12(.)", re.DOTALL)
# The same of a node's operator that draws at random. A Dropout may be one that is exported for training.
RANDOM = re.compile(rb'".(Random(Normal|Uniform)(Like)?|Multinomial|Bernoulli|Dropout)', re.DOTALL)
TYPES = {"float": "float32", "double": "float64"}  # all other names are NumPy's
LABELS = (
    "classlabels_strings",
    "classlabels_int64s",
    "classlabels_ints",
)  # attributes of the classifiers of ai.onnx.ml
REGRESSORS = "LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor"  # of ai.onnx.ml
NAMES = ("names", "class_names", "classes", "labels")  # metadata in which exporters write names of classes
FAILURES = {  # of onnxruntime, by a pattern of its error: what the file has, and the remedy
    r"Opset (\d+) is under development.* till opset (\d+)": (
        "operators of opset {0}, where onnxruntime has {1}",
        "export it for opset {1}; or onnx.version_converter.convert_version(model, {1})",
    ),
    r"IR version: (\d+), max supported IR version: (\d+)": (
        "IR version {0}, where onnxruntime has {1}", "upgrade onnxruntime; or set model.ir_version = {1}, and save it",
    ),
    r"(\S+?)\(-?\d+\) is not a registered": (
        "the operator {0}, which onnxruntime does not have",
        "export it without; or run it with its library in a function: package.module:function",
    ),
}  # fmt: skip
READABLE = re.compile(  # types that are arrays, and ZipMap's
    r"(optional\()?tensor\((float|double|float16|u?int(8|16|32|64)|bool|string)\)\)?|seq\(map\(.*"
)
TASKS = {"detect": "detection", "segment": "segmentation", "pose": "pose estimation", "obb": "detection"}


class OnnxFile(RawModel):
    """ONNX file: any inputs and outputs. Dictionaries of scores (ZipMap) are returned as arrays (N, K).

    Args:
        path: The file.

    Raises:
        MissingData: There is no such file, or onnxruntime is not installed.
        DamagedFile: onnxruntime cannot run the file.
    """

    exportable: ClassVar[bool] = True

    def __init__(self, path: Path | str) -> None:
        self.path, self.place = Path(path), str(path)
        if not self.path.is_file():
            raise MissingData(f"{self.path}, which is not there", "an ONNX file", "check the path")
        require("onnxruntime", "onnx")
        session = self._session
        self.metadata = _metadata(self.path)
        self.inputs = tuple(map(_spec, session.get_inputs()))
        outputs = [node for node in session.get_outputs() if READABLE.fullmatch(node.type)]
        unread = [node for node in session.get_inputs() if not READABLE.fullmatch(node.type)]
        if unread or not outputs:
            listed = ", ".join(f"{node.name}: {node.type}" for node in unread or session.get_outputs())
            raise BadInput(
                f"{path} with {listed}", "tensors of numbers or strings",
                "let its graph begin and end with such tensors, cast from and to float32",
            )  # fmt: skip
        self._maps = {node.name for node in outputs if node.type.startswith("seq(map")}
        classes = len(self.metadata.classes) or None
        self.outputs = tuple(
            TensorSpec(node.name, "float32", (None, classes)) if node.name in self._maps else _spec(node)
            for node in outputs
        )
        content = self.path.read_bytes()
        self.digest = _digest(content, self.path.parent)
        self.repeatable = not RANDOM.search(content)

    @cached_property
    def _session(self) -> Any:
        """Session of onnxruntime, with as many threads as torch has."""
        runtime = require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # errors are raised, and an audit does not report warnings about the exporter
        try:
            return runtime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exceptions share no other base
            if "locale" in str(error):
                raise MissingData(
                    f"no locale en_US.UTF-8, by which {self.path} lowers letters", "it", "run locale-gen en_US.UTF-8"
                ) from error
            raise _failure(self.path, str(error)) from error

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        names = [spec.name for spec in self.outputs]
        try:
            values = self._session.run(names, {name: np.ascontiguousarray(array) for name, array in arrays.items()})
        except Exception as error:  # as above
            shapes = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
            raise BadInput(
                f"{shapes} ({one_line(error, 200)})", f"inputs that {self.place} takes", "check their size and values"
            ) from error
        return {
            name: _scores(value, self.metadata.classes) if name in self._maps else value
            for name, value in zip(names, values, strict=True)
        }

    def __getstate__(self) -> dict[str, Any]:
        """A pickle has no session: the receiving process opens one."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}


def _failure(path: Path, text: str) -> DamagedFile:
    """Return the error for a file that onnxruntime cannot open."""
    for pattern, (cause, remedy) in FAILURES.items():
        if match := re.search(pattern, text, re.DOTALL):
            return DamagedFile(
                f"{path} with {cause.format(*match.groups())}", "an ONNX file that onnxruntime can run",
                remedy.format(*match.groups()),
            )  # fmt: skip
    return DamagedFile(f"{path} ({one_line(text, 200)})", "an ONNX file that onnxruntime can run", "export it again")


def _spec(node: Any) -> TensorSpec:
    kind = re.sub(r"^tensor\((.*)\)$", r"\1", node.type)
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape or ())
    return TensorSpec(node.name, TYPES.get(kind, kind), shape)


def _scores(rows: list[dict[Any, float]], classes: tuple[str, ...]) -> np.ndarray:
    """Return dictionaries of scores as an array (N, K), in the order of `classes` or, if unknown, of their keys."""
    texts = [{label_text(key): score for key, score in row.items()} for row in rows]
    order = classes or tuple(texts[0])
    return np.array([[row[name] for name in order] for row in texts], np.float32)


def _metadata(path: Path) -> Metadata:
    """Return names of classes and the task, from the classifiers in the graph or from the exporter's metadata."""
    onnx = require("onnx", "onnx")
    model = onnx.load(path, load_external_data=False)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    classes = _labels(model.graph.node) or _names(properties)
    task = TASKS.get(properties.get("task", ""))
    return Metadata(classes, task="regression" if task is None and _is_regression(model.graph) else task)


def _labels(nodes: Iterable[Any]) -> tuple[str, ...]:
    """Return the labels of the last classifier of ai.onnx.ml in a graph; a ZipMap is the last one if there is one."""
    attributes = [attribute for node in nodes for attribute in node.attribute if attribute.name in LABELS]
    if not attributes:
        return ()
    last = attributes[-1]
    return tuple(label_text(label) for label in (last.strings or last.ints))


def _is_regression(graph: Any) -> bool:
    """Return whether all outputs of a graph are values of regressors, as they are."""
    regressors = [node for node in graph.node if node.op_type in REGRESSORS and _transform(node) == "NONE"]
    return {output.name for output in graph.output} <= {name for node in regressors for name in node.output}


def _transform(node: Any) -> str:
    """Return what a node of ai.onnx.ml makes of its values."""
    return next((a.s.decode() for a in node.attribute if a.name == "post_transform"), "NONE")


def _names(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return names of classes that an exporter wrote as a list or dictionary, in Python or JSON."""
    for key in NAMES:
        text = properties.get(key, "")
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(text)
            except (ValueError, SyntaxError):
                continue
            if isinstance(value, dict) and sorted(map(int, value)) == list(range(len(value))):
                value = [name for _, name in sorted((int(i), name) for i, name in value.items())]
            if isinstance(value, list):
                return tuple(map(str, value))
    return ()


def _digest(content: bytes, folder: Path) -> str:
    """Return the SHA-256 of the content of a file and of all files with tensors of it, in its folder."""
    digest = hashlib.sha256(content)
    names = {content[match.end() : match.end() + match[1][0]] for match in EXTERNAL_DATA.finditer(content)}
    for beside in sorted(folder / name.decode(errors="replace") for name in names if b"\0" not in name):
        if beside.is_file():
            with beside.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
