"""Messages of the Open Inference Protocol v2 in JSON, from which codecs and OpenAPI document are made.

Bounds in `extra_json_schema` describe what the codec enforces with error messages of its own.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from feint.hashcash import Puzzle
from feint.openinference.tensors import DATATYPES

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY_EXTENSION = "binary_tensor_data"
MAX_TEXT = 1024  # characters of a request's id, and of a stamp

Count = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
Text = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_TEXT})]
NotServed = Annotated[
    Raw | UnsetType, Meta(extra_json_schema={"type": "null"})
]  # a feature of the protocol that is not served
Value = {"type": ["number", "string", "boolean", "null", "array"]}
Values = Annotated[
    Raw, Meta(description="flat, or nested as the shape", extra_json_schema={"type": "array", "items": Value})
]
Probability = Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 1.001})]


class InputParameters(Struct, gc=False, omit_defaults=True):
    """Parameters of an input."""

    binary_data_size: Count | None = None
    shared_memory_region: NotServed = UNSET


class InputTensor(Struct, gc=False, omit_defaults=True):
    """An input; its data stay undecoded until the shape bounds their number."""

    name: str
    shape: Annotated[tuple[Count, ...], Meta(extra_json_schema={"minItems": 1})]
    datatype: Annotated[str, Meta(extra_json_schema={"enum": list(DATATYPES)})]
    data: Values | UnsetType = UNSET
    parameters: InputParameters | None = None


class RequestedOutputParameters(Struct, gc=False, omit_defaults=True):
    """Parameters of a requested output."""

    binary_data: bool | None = None
    classification: NotServed = UNSET
    shared_memory_region: NotServed = UNSET


class RequestedOutput(Struct, gc=False, omit_defaults=True):
    """An output that the client requests."""

    name: str
    parameters: RequestedOutputParameters | None = None


class InferParameters(Struct, gc=False, omit_defaults=True):
    """Parameters of an inference request."""

    stamp: Text | None = None
    binary_data_output: bool | None = None


class InferRequest(Struct, gc=False, omit_defaults=True):
    """An inference request, or the JSON that stands before its binary tensors."""

    inputs: Annotated[list[InputTensor], Meta(extra_json_schema={"minItems": 1})]
    id: Text | None = None
    outputs: Annotated[list[RequestedOutput], Meta(extra_json_schema={"maxItems": 1})] | None = None
    parameters: InferParameters | None = None


class OutputParameters(Struct, forbid_unknown_fields=True):
    """Parameters of an output."""

    binary_data_size: Count


class OutputTensor(Struct, forbid_unknown_fields=True):
    """An output, its data in JSON or behind it."""

    name: str
    datatype: Literal["FP32"]
    shape: Annotated[list[Count], Meta(extra_json_schema={"minItems": 2, "maxItems": 2})]
    data: list[Probability] | UnsetType = UNSET
    parameters: OutputParameters | UnsetType = UNSET


class InferResponse(Struct, forbid_unknown_fields=True):
    """An inference response, or the JSON that stands before its binary tensors."""

    model_name: str
    model_version: str
    outputs: Annotated[list[OutputTensor], Meta(extra_json_schema={"maxItems": 1})]
    id: str | UnsetType = UNSET


class ErrorDetails(Struct, forbid_unknown_fields=True):
    """Details for a retry: the puzzle to solve, or the seconds to wait."""

    puzzle: Puzzle | UnsetType = UNSET
    retry_after: Annotated[float, Meta(extra_json_schema={"minimum": 0})] | UnsetType = UNSET


class ErrorResponse(Struct, forbid_unknown_fields=True):
    """An error."""

    error: str
    parameters: ErrorDetails | UnsetType = UNSET


class ServerLive(Struct, forbid_unknown_fields=True):
    """Liveness of the server."""

    live: bool


class ServerReady(Struct, forbid_unknown_fields=True):
    """Readiness of the server."""

    ready: bool


class ModelReady(Struct, forbid_unknown_fields=True):
    """Readiness of a model."""

    name: str
    ready: bool


class ModelNames(Struct, forbid_unknown_fields=True):
    """Names of all models."""

    models: list[str]


class ServerMetadata(Struct, forbid_unknown_fields=True):
    """Name, version and extensions of the server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Struct, forbid_unknown_fields=True):
    """Name, datatype and shape of an input or output."""

    name: str
    datatype: str
    shape: list[Annotated[int, Meta(extra_json_schema={"minimum": -1})]]


class ModelParameters(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a model takes and gives beyond its tensors.

    Attributes:
        domain: Domain of the inputs, as a recipe: columns with their categories, length and vocabulary of sequences.
        labels: Names of the classes.
    """

    domain: dict[str, Any] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)


class ModelMetadata(Struct, forbid_unknown_fields=True):
    """Inputs and outputs of a model."""

    name: str
    versions: list[str]
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: ModelParameters
    platform: str = "feint"


class ConfigTensor(Struct, forbid_unknown_fields=True):
    """An input or output in a configuration of Triton."""

    name: str
    data_type: str
    dims: list[Annotated[int, Meta(extra_json_schema={"minimum": -1})]]


class ModelConfig(Struct, forbid_unknown_fields=True):
    """Configuration of a model, as Triton has it."""

    name: str
    max_batch_size: Count
    input: list[ConfigTensor]
    output: list[ConfigTensor]
    platform: str = "feint"
    backend: str = "feint"


class RepositoryModel(Struct, forbid_unknown_fields=True):
    """A model in the index of a repository, as Triton has it."""

    name: str
    version: str
    state: str
    reason: str = ""
