"""Specification of a classifier in the protocol's terms."""

import json
from dataclasses import dataclass
from typing import Any

from feint.errors import BadInput
from feint.openinference.messages import ConfigTensor, ModelConfig, ModelMetadata, TensorMetadata

# Exceptions that JSON with other values, or values of other types, than the protocol's leads to.
MALFORMED = (
    LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, StopIteration,
)  # fmt: skip


@dataclass(frozen=True)
class ModelSpec:
    """Classifier with one input (N, `shape`…) in [0, 1] and one output (N, `classes`), both of one `datatype`."""

    name: str
    input: str
    shape: tuple[int, ...]
    output: str
    classes: int
    version: str = "1"
    datatype: str = "FP32"

    def metadata(self) -> ModelMetadata:
        """Return the model's metadata, in which -1 stands for any number of inputs."""
        return ModelMetadata(
            self.name,
            [self.version],
            [TensorMetadata(self.input, self.datatype, [-1, *self.shape])],
            [TensorMetadata(self.output, self.datatype, [-1, self.classes])],
        )

    def config(self, max_batch: int) -> ModelConfig:
        """Return the model's configuration, as clients of Triton read it."""
        datatype = f"TYPE_{self.datatype}"
        return ModelConfig(
            self.name,
            max_batch,
            [ConfigTensor(self.input, datatype, list(self.shape))],
            [ConfigTensor(self.output, datatype, [self.classes])],
        )

    def expected_output(self, rows: int) -> str:
        """Return the phrase for the output that answers so many inputs."""
        return f"{self.output}, {self.datatype} ({rows}, {self.classes})"


def spec_from_metadata(name: str, metadata: Any, output: str | None = None) -> ModelSpec:
    """Return the classifier that a model's metadata describe.

    Args:
        name: Name under which the server was asked for the model.
        metadata: JSON of the metadata.
        output: Output that holds the probabilities, where several may.

    Raises:
        BadInput: For anything but one FP32 input (N, …) and one FP32 output (N, K).
    """
    try:
        inputs = [tensor for tensor in metadata["inputs"] if tensor["datatype"] == "FP32"]
        outputs = [
            tensor for tensor in metadata["outputs"] if tensor["datatype"] == "FP32" and len(tensor["shape"]) == 2
        ]
        (source,), (target,) = inputs, [tensor for tensor in outputs if output in (None, tensor["name"])]
        shape = tuple(map(int, source["shape"][1:]))
        classes = int(target["shape"][1])
        sizes = *shape, classes
        if not shape or min(sizes) < 1:
            malformed = ValueError(sizes)
            raise malformed
        return ModelSpec(name, str(source["name"]), shape, str(target["name"]), classes)
    except MALFORMED as error:
        raise BadInput(
            f"a model with the metadata {json.dumps(metadata)[:300]}",
            "one FP32 input (N, …) and one FP32 output (N, K)",
            "name the output that holds the probabilities",
        ) from error
