"""Specification of a classifier in the protocol's terms."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

import feint.signature
from feint.errors import BadInput, FeintError, UnknownName
from feint.openinference.messages import ConfigTensor, ModelConfig, ModelMetadata, ModelParameters, TensorMetadata
from feint.openinference.tensors import DATATYPES, LENGTH, NUMBER, Array, datatype
from feint.recipes.recipe import exported_recipes, from_table, to_table
from feint.signature import Column, Columns, Domain, Pixels, Tensor, Text

# Exceptions that JSON with other values, or values of other types, than the protocol's leads to.
MALFORMED = (
    LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError, StopIteration,
)  # fmt: skip
DOMAINS = exported_recipes(feint.signature)
MAX_VALUES = 2**26  # of one input: a server's metadata must not fill a client's memory
TEXT_LENGTH = 4096  # greatest length of a text, in bytes, where a server does not say its own
BYTES_PER_VALUE = 32  # that one number may take in JSON, separators included
RawCodes = Mapping[bytes, bytes]  # category in raw contents, its length before it -> its code as float64


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """Classifier with inputs of a domain, and one output (N, K) of floats.

    Attributes:
        name: Name.
        domain: Domain of the inputs; None while it is not known.
        output: Name of the output.
        classes: Number K of classes; 0 while it is not known.
        inputs: Tensors of the model; by default those of the domain.
        labels: Names of the classes, where they are known.
        version: Version.
    """

    name: str
    domain: Domain | None
    output: str
    classes: int
    inputs: tuple[Tensor, ...] = ()
    labels: tuple[str, ...] = ()
    version: str = "1"

    def __post_init__(self) -> None:
        if not self.inputs and self.domain is not None:
            object.__setattr__(self, "inputs", tuple(self.domain.tensors()))

    @cached_property
    def accepted(self) -> Mapping[str, Tensor]:
        """Tensors that a request may have, by name."""
        further = self.domain.further_tensors() if self.domain is not None else ()
        return {tensor.name: tensor for tensor in (*further, *self.inputs)}

    @cached_property
    def largest_input(self) -> int:
        """Bytes that one input may take in JSON."""
        strings = [len(c.encode()) for column in getattr(self.domain, "columns", ()) for c in column.categories or ()]
        values = math.prod(self.domain.shape) if self.domain is not None else 0
        return values * (BYTES_PER_VALUE + 6 * max(strings, default=0))

    @cached_property
    def _own_names(self) -> Mapping[str, str]:
        """Names of the domain's tensors, by those of the model's."""
        if self.domain is None:
            return {}
        usual, known = self.domain.tensors(), {tensor.name for tensor in self.domain.further_tensors()}
        pairs = zip(self.inputs, usual, strict=False)
        return {mine.name: theirs.name for mine, theirs in pairs if mine.name not in known}

    @cached_property
    def raw_columns(self) -> Mapping[str, tuple[int, RawCodes | None]]:
        """Columns of a table by the names of their tensors: the place in a row, and the codes of its categories."""
        if not isinstance(self.domain, Columns):
            return {}
        columns = {column.name: (i, _raw_codes(column)) for i, column in enumerate(self.domain.columns)}
        names = {name: self._own_names.get(name, name) for name in self.accepted}
        return {name: columns[usual] for name, usual in names.items() if usual in columns}

    def decode(self, tensors: Mapping[str, Array]) -> Array:
        """Return inputs (N, …) of the domain from the tensors of a request.

        Raises:
            BadInput: They are none of the domain.
        """
        assert self.domain is not None
        try:
            x = self.domain.from_tensors({self._own_names.get(name, name): array for name, array in tensors.items()})
            self.domain.check(x)
        except UnknownName as error:  # of a category: a server's 404 is for models
            raise BadInput(*error.args) from error
        return x

    def encode(self, x: Array) -> dict[str, Array]:
        """Return the tensors of a request for inputs (N, …) of the domain, by name and of the model's types.

        A model that takes other inputs raises `BadInput`.
        """
        assert self.domain is not None
        arrays = self.domain.to_tensors(x, self.inputs)
        return {tensor.name: _cast(arrays[tensor.name], tensor) for tensor in self.inputs}

    def metadata(self) -> ModelMetadata:
        """Return the model's metadata, in which -1 stands for any number of inputs."""
        return ModelMetadata(
            self.name,
            [self.version],
            [TensorMetadata(tensor.name, tensor.datatype, [-1, *tensor.shape]) for tensor in self.inputs],
            [TensorMetadata(self.output, "FP32", [-1, self.classes])],
            ModelParameters(to_table(self.domain.published()) if self.domain else {}, list(self.labels)),
        )

    def config(self, max_batch: int) -> ModelConfig:
        """Return the model's configuration, as clients of Triton read it."""
        inputs = [
            ConfigTensor(t.name, f"TYPE_{t.datatype}".replace("BYTES", "STRING"), list(t.shape)) for t in self.inputs
        ]
        return ModelConfig(self.name, max_batch, inputs, [ConfigTensor(self.output, "TYPE_FP32", [self.classes])])

    def expected_output(self, rows: int) -> str:
        """Return the phrase for the output that answers so many inputs."""
        return f"{self.output}, floats ({rows}, {self.classes})"


def _raw_codes(column: Column) -> RawCodes | None:
    if column.categories is None:
        return None
    codes = {name.encode(): code for name, code in column.codes.items()}
    return {LENGTH.pack(len(name)) + name: NUMBER.pack(code) for name, code in codes.items()}


def _cast(array: Array, tensor: Tensor) -> Array:
    """Return an array in the type of a tensor. Raises `BadInput` where an integer would change."""
    kind = datatype(tensor.datatype)
    if array.dtype == kind.dtype:
        return array
    if object in (array.dtype, kind.dtype):
        raise BadInput(f"{tensor.name}, which takes {tensor.datatype}", "another datatype", "declare another domain")
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(kind.dtype)
    if kind.number is int and not (result == array).all():
        raise BadInput(
            f"values that {tensor.datatype} has not, for {tensor.name}", "integers", "declare another domain"
        )
    return result


def domain_of_table(table: Any) -> Domain:
    """Return the domain in a table of plain values.

    Raises:
        BadInput: The table holds none.
    """
    domain = from_table(table, DOMAINS) if isinstance(table, Mapping) else table
    if not isinstance(domain, Domain):
        raise BadInput(f"the domain {table!r:.200}", f"one of {', '.join(sorted(DOMAINS))}", 'kind = "Columns", …')
    return domain


def spec_from_metadata(
    name: str,
    metadata: Any,
    output: str | None = None,
    *,
    input: str | None = None,
    domain: Domain | None = None,
    datatype: str = "",
) -> ModelSpec:
    """Return the classifier that a model's metadata describe.

    Metadata of another kind of model, and those that leave something else open than the arguments do, raise `BadInput`.

    Args:
        name: Name under which the server was asked for the model.
        metadata: JSON of the metadata.
        output: Output that holds the probabilities, where several may.
        input: The only input, where the metadata name several or none.
        domain: Domain of the inputs, where the metadata leave it open.
        datatype: Datatype of the input, where the metadata leave it open; "" is that of the domain.

    Returns:
        The classifier. Its classes are 0 where the metadata leave their number open.
    """
    try:
        inputs = tuple(_tensor(tensor) for tensor in metadata.get("inputs") or ())
        outputs = [_tensor(tensor) for tensor in metadata.get("outputs") or ()]
        parameters = metadata.get("parameters") or {}
        labels, table = parameters.get("labels"), parameters.get("domain")
    except MALFORMED as error:
        unclear = _unclear(metadata, "metadata of the protocol", "check the URL and the model")
        raise unclear from error
    if input is not None:
        inputs = tuple(tensor for tensor in inputs if tensor.name == input)
    published = _published(table)
    domain = published or _declared(domain, _evident(inputs))
    if domain is None or math.prod(domain.shape) > MAX_VALUES:
        unclear = _unclear(metadata, "inputs whose domain is known", "declare the domain of the inputs")
        raise unclear
    domain = _with_integers(domain, inputs)
    chosen, classes = _output(metadata, outputs, output)
    names = tuple(map(str, labels)) if isinstance(labels, list) and len(labels) == classes else ()
    if isinstance(published, Columns) and input is None:
        inputs = tuple(published.matrix)  # a gateway of Feint takes it: one tensor is written and read, and not 14
    spec = ModelSpec(name, domain, chosen, classes, _completed(inputs, domain, input, datatype), names)
    spec.encode(domain.sample(1, 0))  # raises where these tensors take other inputs
    return spec


def _tensor(table: Any) -> Tensor:
    _, *shape = table.get("shape") or (-1,)  # of the batch there is no size, or a name
    return Tensor(str(table["name"]), str(table.get("datatype") or "").upper(), tuple(map(int, shape)))


def _completed(inputs: Sequence[Tensor], domain: Domain, input: str | None, datatype: str) -> tuple[Tensor, ...]:
    """Return the inputs of a server, with what its metadata leave open as the domain has it."""
    usual = domain.tensors()
    if input is not None and len(usual) > 1:  # one tensor instead of several
        usual = domain.further_tensors()[:1]
    if not inputs and len(usual) > 1:
        return tuple(usual)
    if len(usual) > 1 or len(inputs) > 1:
        return tuple(inputs)
    (standard,) = usual
    name, known, shape = inputs[0] if inputs else (input or standard.name, "", ())
    known = known if known in DATATYPES else datatype or standard.datatype
    return (Tensor(name, known, shape or standard.shape),)


def _published(table: Any) -> Domain | None:
    """Return the domain that a gateway of Feint publishes, if any."""
    try:
        return domain_of_table(table) if table else None
    except (FeintError, *MALFORMED):
        return None


def _declared(domain: Domain | None, evident: Domain | None) -> Domain | None:
    """Return the declared domain, or the evident one; images of another size than the server's are scaled to its."""
    sizes = [math.prod(each.shape) for each in (domain, evident) if isinstance(each, Pixels)]
    return evident if domain is None or (len(sizes) == 2 and sizes[0] != sizes[1]) else domain


def _with_integers(domain: Domain, inputs: Sequence[Tensor]) -> Domain:
    """Return the domain, in which columns are whole numbers where the server's tensors are."""
    whole = {name for name, datatype, _ in inputs if datatype.startswith(("INT", "UINT"))}
    if not isinstance(domain, Columns) or whole.isdisjoint(domain.names):
        return domain
    return Columns(tuple(replace(c, integer=c.integer or c.name in whole) for c in domain.columns))


def _evident(inputs: Sequence[Tensor]) -> Domain | None:
    """Return the domain that tensors make evident: images, rows of numbers, or texts."""
    numbers = all(tensor.datatype in DATATYPES and tensor.datatype != "BYTES" for tensor in inputs)
    if len(inputs) == 1:
        (_, datatype, shape) = inputs[0]
        if datatype == "BYTES" and shape in ((), (1,), (-1,)):
            return Text(TEXT_LENGTH)
        if datatype.startswith("FP") and len(shape) == 1 and shape[0] > 0:
            return Columns(tuple(Column(f"x{i}", optional=True) for i in range(shape[0])))
        if (datatype.startswith("FP") or datatype == "UINT8") and len(shape) == 3 and min(shape) > 0:
            return Pixels(shape)
    elif inputs and numbers and all(tensor.shape in ((), (1,)) for tensor in inputs):
        return Columns(tuple(Column(tensor.name, optional=True) for tensor in inputs))
    return None


def _output(metadata: Any, outputs: Sequence[Tensor], output: str | None) -> tuple[str, int]:
    """Return the name of the output with the probabilities, and the number of classes, 0 where it is open."""
    scores = [t for t in outputs if t.datatype in ("FP16", "FP32", "FP64") and len(t.shape) == 1 and t.shape[0] != 1]
    named = [tensor for tensor in (scores if output is None else outputs) if output in (None, tensor.name)]
    named = outputs if output is None and len(outputs) == 1 else named
    if output is not None and not named:  # servers answer with outputs that their metadata lack
        return output, 0
    if len(named) != 1:
        raise _unclear(metadata, "one output (N, K) of floats", "name the output that holds the probabilities")
    return named[0].name, max(named[0].shape[-1] if named[0].shape else 0, 0)


def _unclear(metadata: Any, expected: str, remedy: str) -> BadInput:
    return BadInput(f"a model with the metadata {json.dumps(metadata, default=str)[:300]}", expected, remedy)
