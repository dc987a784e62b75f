"""Long requests of gRPC are bounded before protobuf decodes them, and mean the same without their packed numbers."""

import numpy as np
import pytest

from feint.errors import BadInput, TooLarge
from feint.openinference import grpc_codec, proto, tensors
from feint.openinference.json_codec import RequestCodec
from feint.openinference.long_messages import FIELDS, cut_numbers, from_packed
from feint.openinference.model_spec import ModelSpec
from feint.signature import Pixels

ROWS, SHAPE = 300, (1, 16, 16)
CODEC = RequestCodec(ModelSpec("m", Pixels(SHAPE), "p", 2), max_batch=ROWS, max_body=2**26)
PACKED = {name: kind for name, kind in tensors.DATATYPES.items() if kind.contents and kind.number is not str}


def message(values, datatype, contents, shape=(ROWS, 256), **more):
    request = proto.ModelInferRequest(model_name="m", id="i", **more)
    tensor = request.inputs.add(name="x", datatype=datatype, shape=shape)
    getattr(tensor.contents, contents).extend(values)
    return request


def extremes(dtype):
    """As many numbers as the shape holds, the smallest and the largest of the type among them."""
    dice = np.random.default_rng(0)
    if dtype.kind == "f":
        return dice.normal(size=(ROWS, 256)).astype(dtype)
    least, most = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    x = dice.integers(least, most, (ROWS, 256), np.dtype("i1") if dtype.kind == "b" else dtype, endpoint=True)
    x.ravel()[:2] = least, most
    return x.astype(dtype)


@pytest.mark.parametrize("datatype", PACKED)
def test_packed_numbers_are_those_that_were_sent(datatype):
    kind = PACKED[datatype]
    x = extremes(kind.dtype)
    short, packed = cut_numbers(message(x.ravel().tolist(), datatype, kind.contents).SerializeToString())
    assert len(short) < 100
    np.testing.assert_array_equal(from_packed(packed[0], kind, x.shape), x)


def test_request_without_its_numbers_is_otherwise_the_same():
    request = message([1] * 2**17, "UINT8", "uint_contents", outputs=[{"name": "p"}])
    request.parameters["stamp"].string_param = "s"
    request.inputs.insert(0, type(request.inputs[0])(name="before", datatype="FP32", shape=[1]))
    request.inputs.add(name="behind", datatype="FP32", shape=[1]).contents.fp32_contents.append(0.5)
    short, packed = cut_numbers(request.SerializeToString())
    request.inputs[1].ClearField("contents")
    assert proto.ModelInferRequest.FromString(short) == request
    assert list(packed) == [1]


@pytest.mark.parametrize("contents", ["uint_contents", "fp32_contents"])
def test_long_and_short_requests_are_read_alike(contents):
    datatype = {"uint_contents": "UINT8", "fp32_contents": "FP32"}[contents]
    x = np.random.default_rng(0).integers(0, 2, (ROWS, *SHAPE))
    long = message(x.ravel().tolist(), datatype, contents, x.shape).SerializeToString()
    whole = grpc_codec.decode_request(long)
    assert whole.packed
    np.testing.assert_array_equal(
        grpc_codec.read_request(CODEC, whole).x,
        grpc_codec.read_request(CODEC, grpc_codec.RequestMessage(proto.ModelInferRequest.FromString(long))).x,
    )


@pytest.mark.parametrize(
    ("values", "shape", "reason"),
    [
        ([300] * 2**16, (2**8, 2**8), "in its range"), ([1] * (2**16 + 1), (2**8, 2**8), "whole"),
        ([1] * 2**17, (2**8, 2**9 + 1), "whole"),
    ],
)  # fmt: skip
def test_other_numbers_than_the_tensors_are_refused(values, shape, reason):
    _, packed = cut_numbers(message(values, "UINT8", "uint_contents").SerializeToString())
    with pytest.raises(BadInput, match=reason):
        from_packed(packed[0], PACKED["UINT8"], shape)


def test_packed_numbers_of_another_type_are_refused():
    _, packed = cut_numbers(message([1] * 2**17, "UINT8", "uint_contents").SerializeToString())
    with pytest.raises(BadInput, match="fp32_contents"):
        from_packed(packed[0], PACKED["FP32"], (2**17,))


def test_packed_numbers_beside_raw_contents_are_refused():
    request = message([1] * ROWS * 256, "UINT8", "uint_contents", (ROWS, *SHAPE), raw_input_contents=[b""])
    with pytest.raises(BadInput, match="more than one form"):
        grpc_codec.read_request(CODEC, grpc_codec.decode_request(request.SerializeToString()))


INPUT = message([], "BYTES", "bytes_contents").SerializeToString()
TINY = {
    "inputs": b"\x2a\x00", "outputs": b"\x32\x00", "raw contents": b"\x3a\x00", "parameters": b"\x22\x00",
    "unknown": b"\xa2\x06\x00", "groups": b"\xa3\x06\xa4\x06",
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_a_request_has_a_limited_number_of_fields(name):
    cut_numbers(TINY[name] * (FIELDS // 4))
    with pytest.raises(TooLarge, match="fields"):
        cut_numbers(TINY[name] * (FIELDS + 1))


@pytest.mark.parametrize("contents", ["bytes_contents", "parameters of an input", "parameters of an output"])
def test_parts_of_a_request_have_a_limited_number_of_fields(contents):
    request = proto.ModelInferRequest()
    if contents == "bytes_contents":
        request.inputs.add().contents.bytes_contents.extend([b""] * (FIELDS + 1))
    else:
        tensor = request.inputs.add() if contents.endswith("input") else request.outputs.add()
        for i in range(FIELDS + 1):
            tensor.parameters[f"{i:x}"].bool_param = True
    with pytest.raises(TooLarge, match="fields"):
        cut_numbers(request.SerializeToString())


def test_a_shape_has_a_limited_length():
    with pytest.raises(TooLarge, match="a shape of"):
        cut_numbers(proto.ModelInferRequest(inputs=[{"shape": [1] * 2**16}]).SerializeToString())


def test_long_contents_in_several_pieces_are_refused():
    request = message([1] * 2**17, "UINT8", "uint_contents").SerializeToString()
    body = cut_numbers(request)[1][0].raw
    contents = b"\x22" + b"\x80\x80\x08" + bytes(body)
    both = contents * 2
    tensor = b"\x2a" + bytes([len(both) & 127 | 128, len(both) >> 7 & 127 | 128, len(both) >> 14]) + both
    size = len(tensor)
    with pytest.raises(BadInput, match="several pieces"):
        cut_numbers(b"\x2a" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + tensor)


@pytest.mark.parametrize("bad", [b"\xff" * 99, b"\x0a\xff\xff\xff\xff\x0f", b"\x2a\x03\x08", b"\x12" * 3, b"\x07"])
def test_bytes_that_are_no_message_are_refused(bad):
    with pytest.raises(BadInput, match="no message"):
        cut_numbers(bad)
