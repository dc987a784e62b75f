"""A file as other servers want it: a model repository of Triton's, and a manifest of KServe's beside it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from feint.errors import BadInput, NotExportable
from feint.export.write import Written
from feint.recipes import store

MOST = 1024  # rows in a batch; what Triton wants to know

CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {most}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ {shape} ] }} ]
output [ {{ name: "probabilities" data_type: TYPE_FP32 dims: [ {classes} ] }} ]
"""

MANIFEST = """\
# The directory {name}/ lies in what storageUri names: change it to yours.
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
    """Write NAME/config.pbtxt and NAME/1/model.onnx, where `folder` ends in NAME and `make` writes the file.

    Raises `NotExportable` where there are access rules: nobody would enforce them.
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
                "leave them out here, and put them in Feint's gateway before it",
            )  # fmt: skip
        shape = ", ".join(map(str, written.input[1]))
        said = {"name": folder.name, "most": MOST, "input": written.input[0], "classes": written.classes}
        (partial / "config.pbtxt").write_text(CONFIG.format(**said, shape=shape))
    return replace(written, path=folder / "1" / "model.onnx", along=(folder / "config.pbtxt",))


def kserve(folder: Path | str, make: Callable[[Path], Written]) -> Written:
    """Write the same, and NAME.yaml beside it: an InferenceService that Triton runs. Raises as `triton`, and
    `BadInput` for a name that Kubernetes does not take."""
    folder = Path(folder)
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", folder.name):
        raise BadInput(f"the name {folder.name!r}", "small letters, digits and dashes, a letter first", "rename it")
    written = triton(folder, make)
    manifest = folder.with_suffix(".yaml")
    with store.atomic_write(manifest) as partial:
        partial.write_text(MANIFEST.format(name=folder.name))
    return replace(written, along=(*written.along, manifest))
