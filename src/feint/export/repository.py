"""Model repository of Triton, and manifest of KServe."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from feint.errors import BadInput, NotExportable
from feint.export.write import Written
from feint.recipes import store

MAX_BATCH = 1024  # rows, which Triton's configuration requires

CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {max_batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ {shape} ] }} ]
output [ {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {classes} ] }} ]
"""

MANIFEST = """\
# storageUri names the directory that holds {name}/: change it to yours.
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    model:
      modelFormat:
        name: onnx
      protocolVersion: v2
      runtime: kserve-tritonserver
      storageUri: pvc://models/
"""


def triton(folder: Path | str, make: Callable[[Path], Written]) -> Written:
    """Write the model repository NAME/config.pbtxt and NAME/1/model.onnx of Triton.

    Args:
        folder: New directory, whose last part is NAME.
        make: Writes the ONNX file to a path, like a partial `feint.export.onnx`.

    Returns:
        The files.

    Raises:
        BadInput: If the directory exists.
        NotExportable: For access rules, which Triton does not enforce; and as raised by `make`.
    """
    folder = Path(folder)
    if folder.exists():
        raise BadInput(f"{folder}, which exists", "a new directory, named as the model", "choose another")
    with store.atomic_write(folder) as partial:
        written = make(partial / "1" / "model.onnx")
        if written.beside:
            rules = ", ".join(map(repr, written.beside))
            raise NotExportable(
                f"{rules}, which this server would not enforce", "outputs alone",
                "leave them out here, and enforce them in Feint's gateway in front of it",
            )  # fmt: skip
        shape = ", ".join(map(str, written.input[1]))
        values = {"name": folder.name, "max_batch": MAX_BATCH, "input": written.input[0], "classes": written.classes}
        (partial / "config.pbtxt").write_text(CONFIG.format(**values, shape=shape))
    return replace(written, path=folder / "1" / "model.onnx", along=(folder / "config.pbtxt",))


def kserve(folder: Path | str, make: Callable[[Path], Written]) -> Written:
    """Write the same model repository, and beside it NAME.yaml of KServe: an InferenceService that Triton runs.

    Args:
        folder: New directory, whose last part is NAME.
        make: Writes the ONNX file to a path, like a partial `feint.export.onnx`.

    Returns:
        The files.

    Raises:
        BadInput: For a name that Kubernetes does not take; further errors as of `triton`.
    """
    folder = Path(folder)
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", folder.name):
        raise BadInput(f"the name {folder.name!r}", "small letters, digits and dashes, a letter first", "rename it")
    written = triton(folder, make)
    manifest = folder.with_suffix(".yaml")
    with store.atomic_write(manifest) as partial:
        partial.write_text(MANIFEST.format(name=folder.name))
    return replace(written, along=(*written.along, manifest))
