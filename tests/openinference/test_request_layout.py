"""Tables of a tensor a column: rows are read as one by one from arrays, and whatever does not fit is refused alike."""

import itertools

import numpy as np
import pytest

from feint.errors import BadInput
from feint.openinference import grpc_codec, json_codec, proto, tensors
from feint.openinference.json_codec import InputParameters, InputTensor, RequestCodec
from feint.openinference.messages import InferRequest
from feint.openinference.model_spec import ModelSpec
from feint.openinference.request_layout import RequestLayout
from feint.signature import Column, Columns, Tensor

JOBS = ("cook", "müller", "", "a")
TABLE = Columns(
    (
        Column("age"),
        Column("job", ("cook", "müller")),
        Column("debt", optional=True),
        Column("home", JOBS, optional=True),
    )
)
MODEL = ModelSpec("m", TABLE, "p", 2)
CODEC = RequestCodec(MODEL, max_batch=8, max_body=2**20)
WAYS = pytest.mark.parametrize("way", ["binary", "grpc"])
VALUES = {
    "age": [np.array([30.0, 41.5, -0.0]), np.array([1, 2, 3], np.int64), np.array([1.5, 2, 3], np.float32),
            np.array([1, 0, 1], bool), np.array([np.nan, 1, 2]), np.array([np.inf, 1, 2]), ["30", "x", "1"],
            np.array([2**60 + 1, 1, 2], np.int64)],
    "job": [["cook", "müller", "cook"], ["cook", "cok", "cook"], ["cook", "", "cook"], np.array([0.0, 1.0, 0.0])],
    "debt": [np.array([np.nan, 2.5, 1e300]), np.array([7, 8, 9], np.uint8)],
    "home": [["", "a", "müller"], ["a", "a", "a"], ["a", "A", "a"]],
}  # fmt: skip
NAMES = {np.dtype(kind.dtype): name for name, kind in tensors.DATATYPES.items()}


def raw(values, rows):
    """The datatype and the raw contents of a column."""
    if isinstance(values, list):
        codes = [text.encode() for text in values[:rows]]
        return "BYTES", b"".join(tensors.LENGTH.pack(len(code)) + code for code in codes)
    return NAMES[values.dtype], values[:rows].tobytes()


def outcome(read):
    """The inputs, with their layout in memory, or the error."""
    try:
        x = read()
    except BadInput as error:
        return str(error)
    return x.tobytes(), x.shape, x.dtype, x.flags.writeable, x.flags.c_contiguous


def by_arrays(model, columns, shape):
    """The inputs of a request, from an array for each column."""
    arrays = {
        name: tensors.from_raw(content, tensors.datatype(kind), shape) for name, (kind, content) in columns.items()
    }
    return model.decode(arrays)


def sent(codec, columns, shape, way):
    """The inputs of a request, as a server reads it."""
    if way == "grpc":
        message = proto.ModelInferRequest(model_name="m", id="7")
        for name, (kind, content) in columns.items():
            message.inputs.add(name=name, datatype=kind, shape=shape)
            message.raw_input_contents.append(content)
        return grpc_codec.read_request(codec, grpc_codec.decode_request(message.SerializeToString())).x
    inputs = [
        InputTensor(name, tuple(shape), kind, parameters=InputParameters(binary_data_size=len(content)))
        for name, (kind, content) in columns.items()
    ]
    head = json_codec._encoder.encode(InferRequest(inputs))
    body = head + b"".join(content for _, content in columns.values())
    return codec.read(bytearray(body), str(len(head))).x


@WAYS
@pytest.mark.parametrize("rows", [0, 1, 2, 3])
@pytest.mark.parametrize("flat", [False, True], ids=["N×1", "N"])
def test_columns_are_read_as_from_arrays(rows, way, flat):
    shape, seen = ([rows] if flat else [rows, 1]), set()
    orders = itertools.cycle(itertools.permutations(VALUES))
    for values, order in zip(itertools.product(*VALUES.values()), orders, strict=False):
        given = dict(zip(VALUES, values, strict=True))
        columns = {name: raw(given[name], rows) for name in order}
        expected = outcome(lambda columns=columns: by_arrays(MODEL, columns, shape))
        assert outcome(lambda columns=columns: sent(CODEC, columns, shape, way)) == expected
        seen.add(type(expected))
    assert seen == ({tuple, str} if rows else {tuple})


GOOD = {"age": ("FP64", np.array([30.0]).tobytes()), "job": raw(["cook"], 1), "debt": ("FP64", bytes(8))}
GOOD |= {"home": raw(["a"], 1)}


@WAYS
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"job": ("BYTES", tensors.LENGTH.pack(2) + b"\xff\xfe")}, "no UTF-8"),
        ({"job": ("BYTES", raw(["cook"], 1)[1] + b"\0")}, "four bytes of length"),
        ({"job": ("BYTES", raw(["cook"], 1)[1][:-1])}, "four bytes of length"),
        ({"job": ("BYTES", b"\0\0")}, "four bytes of length"),
        ({"job": ("BYTES", b"")}, "0 strings"),
        ({"job": raw(["cook", "cook"], 2)}, "four bytes of length"),
        ({"age": ("FP64", bytes(16))}, "a tensor of 16 bytes"),
        ({"age": ("FP32", bytes(8))}, "a tensor of 8 bytes"),
        ({"age": ("FP64", np.array([np.nan]).tobytes())}, "missing value of 'age'"),
        ({"extra": ("FP64", bytes(8))}, "unknown input 'extra'"),
        ({"age": None}, "no column 'age'"),
        ({"x": ("FP64", bytes(32))}, "shape"),
    ],
)
def test_contents_that_do_not_fit_are_named(change, words, way):
    columns = {name: column for name, column in {**GOOD, **change}.items() if column is not None}
    assert sent(CODEC, GOOD, [1, 1], way).tolist() == [[30, 0, 0, 3]]
    with pytest.raises(BadInput, match=words):
        sent(CODEC, columns, [1, 1], way)


@WAYS
@pytest.mark.parametrize("more", [b"\0", raw(["cook"], 1)[1], raw([""], 1)[1]])
def test_more_than_the_strings_of_the_rows(more, way):
    columns = {name: (kind, 2 * content) for name, (kind, content) in GOOD.items()}
    assert len(sent(CODEC, columns, [2, 1], way)) == 2
    columns["job"] = "BYTES", columns["job"][1] + more
    with pytest.raises(BadInput, match="four bytes of length"):
        sent(CODEC, columns, [2, 1], way)


@WAYS
def test_upstream_with_names_of_its_own(way):
    inputs = tuple(Tensor(f"in_{tensor.name}", tensor.datatype, (1,)) for tensor in TABLE._each)
    codec = RequestCodec(ModelSpec("m", TABLE, "p", 2, inputs=inputs), max_batch=8, max_body=2**20)
    own = {f"in_{name}": column for name, column in GOOD.items()}
    assert sent(codec, own, [1, 1], way).tolist() == [[30, 0, 0, 3]]
    with pytest.raises(BadInput, match="no column 'home'"):
        sent(
            codec,
            {name: column for name, column in own.items() if name != "in_home"} | {"age": GOOD["age"]},
            [1, 1],
            way,
        )


def test_layouts_are_made_once_for_each():
    inputs = [InputTensor(name, (1, 1), kind) for name, (kind, _) in GOOD.items()]
    assert CODEC.layout(inputs) is CODEC.layout([*inputs])
    assert CODEC.layout(inputs[::-1]) is not CODEC.layout(inputs)
    assert CODEC.layout(inputs).by_column


def test_wide_requests_are_not_remembered():
    wide = Columns(tuple(Column(f"c{i}") for i in range(300)))
    codec = RequestCodec(ModelSpec("m", wide, "p", 2, inputs=tuple(wide._each)), max_batch=8, max_body=2**20)
    inputs = [InputTensor(column.name, (1, 1), "FP64") for column in wide.columns]
    assert isinstance(codec.layout(inputs), RequestLayout)
    assert codec.layout(inputs) is not codec.layout(inputs)


def test_one_request_with_data_in_json_and_behind_it():
    kind, content = GOOD["job"]
    tensor = {"name": "job", "shape": [1, 1], "datatype": kind, "parameters": {"binary_data_size": len(content)}}
    others = [
        {"name": name, "shape": [1, 1], "datatype": datatype, "data": data}
        for name, datatype, data in (("age", "FP64", [30]), ("debt", "FP64", [None]), ("home", "BYTES", ["a"]))
    ]
    head = json_codec._encoder.encode({"inputs": [others[0], tensor, *others[1:]]})
    x = CODEC.read(head + content, str(len(head))).x
    np.testing.assert_array_equal(x, [[30, 0, np.nan, 3]])
    with pytest.raises(BadInput, match="ambiguous"):
        CODEC.read(head + content + b"0", str(len(head)))
