"""Inputs of every domain through the codecs: by JSON, raw bytes and gRPC they arrive as they were sent."""

import json
import tracemalloc

import numpy as np
import pytest
from tests.examples import DOMAINS

from feint.errors import BadInput, TooLarge
from feint.openinference import grpc_codec, json_client_codec, json_codec, proto, tensors
from feint.openinference.json_codec import HEADER_LENGTH, RequestCodec
from feint.openinference.model_spec import ModelSpec, spec_from_metadata
from feint.signature import Column, Columns, Pixels, Tensor, Text, Tokens, mark

CASES = pytest.mark.parametrize("domain", DOMAINS.values(), ids=DOMAINS)
TABLE = Columns((Column("age"), Column("job", ("cook", "müller")), Column("debt", optional=True)))
CODECS = {
    "table": RequestCodec(ModelSpec("m", TABLE, "p", 2), max_batch=8, max_body=2**20),
    "tokens": RequestCodec(ModelSpec("m", Tokens(4, 50), "p", 2), max_batch=8, max_body=2**20),
    "text": RequestCodec(ModelSpec("m", Text(8), "p", 2), max_batch=8, max_body=2**20),
    "image": RequestCodec(ModelSpec("m", Pixels((1, 2, 2)), "p", 2), max_batch=8, max_body=2**20),
}


def sent(codec, x, way):
    """The inputs that a server reads of a request for `x`."""
    if way == "grpc":
        message = grpc_codec.encode_request(codec.model, x).SerializeToString()
        return grpc_codec.read_request(codec, grpc_codec.decode_request(message)).x
    body, headers = json_client_codec.encode_request(codec.model, x, binary=way == "binary")
    return codec.read(body, headers.get(HEADER_LENGTH, "")).x


@CASES
@pytest.mark.parametrize("way", ["json", "binary", "grpc"])
def test_inputs_arrive_as_they_were_sent(domain, way):
    x = domain.sample(8, 0)
    arrived = sent(RequestCodec(ModelSpec("m", domain, "p", 3), max_batch=8, max_body=2**24), x, way)
    assert arrived.dtype == domain.dtype
    assert mark(arrived) == mark(x)


@CASES
def test_client_knows_the_domain_by_the_metadata(domain):
    model = ModelSpec("m", domain, "p", 3, labels=("a", "b", "c"))
    metadata = json.loads(json_codec._encoder.encode(model.metadata()))
    message = proto.ModelMetadataResponse(**grpc_codec.model_metadata(model))
    for read in (metadata, grpc_codec.metadata_of(message)):
        spec = spec_from_metadata("m", read)
        assert spec.domain == domain.published()
        assert spec.labels == ("a", "b", "c")
        assert spec.inputs == tuple(getattr(domain, "matrix", model.inputs))  # all columns in one tensor


def table_request(**columns):
    kinds = {int: "INT64", float: "FP64", str: "BYTES", bool: "BOOL"}
    return [
        {
            "name": name, "shape": [len(values)], "data": values,
            "datatype": kinds[next((type(value) for value in values if value is not None), float)],
        }
        for name, values in columns.items()
    ]  # fmt: skip


def read(kind, inputs):
    return CODECS[kind].read(json.dumps({"inputs": inputs}).encode(), "").x


def test_columns_are_matched_by_name_and_null_is_missing():
    x = read("table", table_request(debt=[None, 2.5], job=["müller", "cook"], age=[30, 40]))
    np.testing.assert_array_equal(x, [[30, 1, np.nan], [40, 0, 2.5]])


def test_an_input_whose_data_are_of_another_type_is_named():
    request = table_request(age=[30], job=["cook"], debt=[1.5])
    with pytest.raises(BadInput, match="the input 'debt': data that are no list of 1 finite numbers"):
        read("table", [*request[:2], request[2] | {"data": ["much"]}])
    with pytest.raises(BadInput, match="the input 'job': data that are no list of 1 strings in UTF-8"):
        CODECS["table"].read(json.dumps({"inputs": request}).encode().replace(b"cook", b"c\xff"), "")
    message = grpc_codec.encode_request(CODECS["table"].model, np.array([[30, 0, 1.5]]))
    del message.raw_input_contents[:]
    for tensor in message.inputs:
        tensor.contents.fp64_contents.append(1.0)
    with pytest.raises(BadInput, match="the input 'job': contents of another datatype"):
        grpc_codec.read_request(CODECS["table"], grpc_codec.decode_request(message.SerializeToString()))


@pytest.mark.parametrize("way", ["json", "binary", "grpc"])
@pytest.mark.parametrize("kind", [None, ("a", "b")], ids=["numbers", "words"])
def test_a_column_with_the_name_of_the_matrix(kind, way):
    domain = Columns((Column("x", kind), Column("x_")))
    model = ModelSpec("m", domain, "p", 3)
    for spec in (model, ModelSpec("m", domain, "p", 3, inputs=tuple(domain.matrix))):
        body = sent(RequestCodec(spec, max_batch=8, max_body=2**20), x := domain.sample(3, 0), way)
        np.testing.assert_allclose(body, x)


@pytest.mark.parametrize("kind", [None, ("a", "b")], ids=["numbers", "words"])
def test_server_of_columns_takes_them_in_either_form(kind):
    domain = Columns((Column("age", kind), Column("debt")))
    server = RequestCodec(ModelSpec("m", domain, "p", 3), max_batch=8, max_body=2**20)
    for form in (domain.matrix, domain._each):
        body, _ = json_client_codec.encode_request(
            ModelSpec("m", domain, "p", 3, inputs=tuple(form)), x := domain.sample(3, 0), binary=False
        )
        np.testing.assert_allclose(server.read(body, "").x, x)


def test_server_whose_columns_stand_in_another_order():
    domain = Columns((Column("age"), Column("debt")))
    codec = RequestCodec(ModelSpec("m", domain, "p", 3, inputs=tuple(domain._each[::-1])), max_batch=8, max_body=2**20)
    np.testing.assert_allclose(sent(codec, x := domain.sample(3, 0), "binary"), x)


def test_columns_as_one_tensor_of_codes():
    tensor = {"name": "x", "shape": [1, 3], "datatype": "FP64", "data": [30, 1, None]}
    np.testing.assert_array_equal(read("table", [tensor]), [[30, 1, np.nan]])


def test_empty_strings_in_raw_bytes_are_missing():
    domain = Columns((Column("job", ("cook",), optional=True),))
    codec = RequestCodec(ModelSpec("m", domain, "p", 2), max_batch=8, max_body=2**20)
    np.testing.assert_array_equal(sent(codec, np.array([[np.nan], [0.0]]), "binary"), [[np.nan], [0]])


def test_short_sequences_are_padded_and_masks_are_checked():
    def tokens(ids, mask):
        shape = [1, len(ids)]
        pairs = ("input_ids", ids), ("attention_mask", mask)
        return [{"name": name, "shape": shape, "datatype": "INT64", "data": data} for name, data in pairs]

    np.testing.assert_array_equal(read("tokens", tokens([7, 8, 0], [1, 1, 0])), [[7, 8, 0, 0]])
    with pytest.raises(BadInput, match="hides tokens"):
        read("tokens", tokens([7, 8, 9], [1, 1, 0]))
    with pytest.raises(BadInput, match="padding at the end"):
        read("tokens", tokens([7, 8, 0], [1, 1, 1]))


BAD = {
    "missing column": ("table", table_request(age=[1], job=["cook"]), "no column 'debt'"),
    "unknown column": ("table", table_request(age=[1], job=["cook"], dept=[1.0]), "unknown input 'dept'"),
    "twice": ("table", table_request(age=[1]) * 2, "more than once"),
    "unknown category": ("table", table_request(age=[1], job=["cok"], debt=[1.0]), "cok"),
    "missing value": ("table", table_request(age=[None], job=["cook"], debt=[1.0]), "missing value of 'age'"),
    "rows": ("table", table_request(age=[1], job=["cook", "cook"], debt=[1.0]), "1 and of 2 rows"),
    "text for a number": ("table", table_request(age=["old"], job=["cook"], debt=[1.0]), "no number"),
    "token": ("tokens", [{"name": "input_ids", "shape": [1, 1], "datatype": "INT64", "data": [50]}], "0 to 49"),
    "fraction": ("tokens", [{"name": "input_ids", "shape": [1, 1], "datatype": "FP32", "data": [1.5]}], "integers"),
    "long": ("tokens", [{"name": "input_ids", "shape": [1, 5], "datatype": "INT64", "data": [1] * 5}], "at most 4"),
    "long text": ("text", [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["123456789"]}], "at most 8"),
    "no text": ("text", [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [None]}], "null"),
    "numbers": ("text", [{"name": "text", "shape": [1], "datatype": "FP32", "data": [1]}], "BYTES"),
    "strings": ("image", [{"name": "x", "shape": [1, 1, 2, 2], "datatype": "BYTES", "data": ["a"] * 4}], "strings"),
    "integers": ("image", [{"name": "x", "shape": [1, 1, 2, 2], "datatype": "INT64", "data": [1] * 4}], "UINT8"),
}


@pytest.mark.parametrize(("kind", "inputs", "words"), BAD.values(), ids=BAD)
def test_inputs_outside_the_domain(kind, inputs, words):
    with pytest.raises(BadInput, match=words) as caught:
        read(kind, inputs)
    assert len(caught.value.args) == 3
    assert type(caught.value) is BadInput  # 400


def test_invalid_utf_8_in_raw_bytes():
    head = json.dumps({"inputs": [
        {"name": "text", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 5}}
    ]}).encode()  # fmt: skip
    with pytest.raises(BadInput, match="UTF-8"):
        CODECS["text"].read(head + b"\x01\0\0\0\xff", str(len(head)))


def test_nan_in_json_is_explained():
    with pytest.raises(BadInput, match="write null"):
        CODECS["table"].read(b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP64","data":[1,0,NaN]}]}', "")


IMAGES = np.random.default_rng(0).integers(0, 2, (16, 3, 64, 64)).astype(np.float32)
LARGE = RequestCodec(ModelSpec("m", Pixels((3, 64, 64)), "p", 2), max_batch=16, max_body=2**26)


def large(data, datatype="FP32"):
    head = {"inputs": [{"name": "x", "shape": list(IMAGES.shape), "datatype": datatype, "data": "HERE"}]}
    return json.dumps(head).replace('"HERE"', data if isinstance(data, str) else json.dumps(data)).encode()


@pytest.mark.parametrize("datatype", ["FP32", "UINT8"])
@pytest.mark.parametrize("nested", [False, True])
def test_large_lists_are_decoded_in_pieces(nested, datatype):
    x = IMAGES.astype(np.uint8) * 255 if datatype == "UINT8" else IMAGES
    body = large((x if nested else x.ravel()).tolist(), datatype)
    assert len(body) > 4 * tensors.PIECE
    np.testing.assert_array_equal(LARGE.read(body, "").x, IMAGES)


FLAT, NESTED = (json.dumps(values.astype(int).tolist()) for values in (IMAGES.ravel(), IMAGES))
MALFORMED_LISTS = {
    "comma at the end": FLAT[:-1] + ",]", "comma twice": FLAT[:300_000] + "," + FLAT[300_000:],
    "one more": FLAT[:-1] + ", 1]",
    "one fewer": FLAT[:-4] + "]", "two lists": FLAT + FLAT, "no end": FLAT[:-1], "a text": FLAT[:-1] + ', "1"]',
    "another number": FLAT.replace("1", "1e400", 1), "a bracket in a number": FLAT[:300_000] + "[1]," + FLAT[300_000:],
    "rows of other lengths": NESTED.replace("], [", ", ", 1).replace(", 1", "], [1", 1),
    "a bracket before its number": NESTED.replace("[[[[", "[[[ 1 [", 1), "a bracket too few": NESTED[:-1],
    "another order": NESTED.replace("]], [[", "], [], [", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED_LISTS)
def test_malformed_large_lists_are_refused(name):
    with pytest.raises(BadInput):
        LARGE.read(large(MALFORMED_LISTS[name]), "")


def test_a_large_list_takes_four_times_its_text():
    shape = (6, 3, 256, 256)
    codec = RequestCodec(ModelSpec("m", Pixels(shape[1:]), "p", 2), max_batch=16, max_body=2**26)
    values = f"[{','.join('1' * np.prod(shape))}]"
    head = {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": "HERE"}]}
    body = json.dumps(head).replace('"HERE"', values).encode()
    tracemalloc.start()
    codec.read(body, "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(body) + 2**21  # beside the body itself; 2 MiB for the piece that is decoded


def test_long_texts_in_a_request_are_no_lists():
    text = ('"data": [' + "1, " * 100_000).replace('"', "'")
    request = {"inputs": [{"name": "x", "shape": [1, 3, 64, 64], "datatype": "FP32", "data": [0.5] * 12288}]}
    for parameters in ({"note": text}, {"data": [1] * 100_000}):
        read = LARGE.read(json.dumps({**request, "parameters": parameters}).encode(), "")
        assert (read.x == 0.5).all()


def test_json_beside_the_numbers_has_a_limit():
    request = {"inputs": [{"name": "x", "shape": [1, 3, 64, 64], "datatype": "FP32", "data": [0.5] * 12288}]}
    with pytest.raises(TooLarge, match="beside the data"):
        LARGE.read(json.dumps({**request, "parameters": {"note": "a" * 2**21}}).encode(), "")


LONG_TEXTS = RequestCodec(ModelSpec("m", Text(4096), "p", 2), max_batch=1024, max_body=2**26)
CHARACTERS = list('ab"\\/é京😀[]{},: \n0')
STRINGS = ["".join(np.random.default_rng(i).choice(CHARACTERS, i % 300)) for i in range(600)]


def texts(data, rows=1024):
    return b'{"inputs":[{"name":"text","datatype":"BYTES","shape":[%d,1],"data":%b}]}' % (rows, data)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("escaped", [False, True])
def test_many_texts_arrive_as_they_were_sent(escaped, nested):
    body = texts(json.dumps([[s] for s in STRINGS] if nested else STRINGS, ensure_ascii=escaped).encode(), len(STRINGS))
    assert len(body) > tensors.PIECE
    x = LONG_TEXTS.read(body, "").x
    assert mark(x) == mark(Text(4096).from_tensors({"text": np.array(STRINGS, object)[:, None]}))


@pytest.mark.parametrize("name", ["empty", "short", "nested", "null", "numbers", "one", "escaped", "beside"])
def test_no_texts_take_four_times_their_bytes(name):
    """Of 8 MiB each; a list of short strings took 17 times, one of nested ones 35 times."""
    element = {"empty": b'""', "short": b'"ab"', "nested": b'["a"]', "null": b"null", "numbers": b"1"}.get(name, b"")
    one = {"one": b'["%b"]' % (b"a" * 2**23), "escaped": b'["%b"]' % (b"\\u00e9" * (2**23 // 6))}
    body = texts(one.get(name) or b"[%b]" % b",".join([element] * (2**23 // (len(element) + 1))))
    if name == "beside":
        body = b'{"inputs":[%b]}' % b",".join([b'{"name":"a","shape":[1],"datatype":"b"}'] * 2**18)
    tracemalloc.start()
    with pytest.raises((TooLarge, BadInput)):
        LONG_TEXTS.read(body, "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * len(body)


LONG_TEXT = '"%s"' % ("a" * 2**17)
MALFORMED_TEXTS = [
    "[%s, 0]", "[0, %s]", "[-%s]", "[%s%s]", "[5%s]", "[%s5]", "[%s, true]", "[%s", "[[%s]", "[%s,]", '[%s, "x]',
    '[%s, "\\x"]',
]  # fmt: skip


@pytest.mark.parametrize("text", MALFORMED_TEXTS)
def test_malformed_lists_of_texts_are_refused(text):
    with pytest.raises(BadInput, match="no list of 1 strings"):
        tensors.from_json(text.replace("%s", LONG_TEXT).encode(), tensors.DATATYPES["BYTES"], [1, 1])


def test_servers_with_columns_of_their_own_types():
    """What a Triton or MLServer with a table declares."""
    inputs = [("debt", "FP32"), ("job", "BYTES"), ("age", "INT32")]
    metadata = {
        "inputs": [{"name": name, "datatype": datatype, "shape": [-1, 1]} for name, datatype in inputs],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]}, {"name": "p", "datatype": "FP64", "shape": [-1, 2]}
        ],
    }  # fmt: skip
    spec = spec_from_metadata("m", metadata, domain=TABLE)
    arrays = spec.encode(np.array([[30, 1, 2.5]]))
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "debt": [[2.5]], "job": [["müller"]], "age": [[30]],
    }  # fmt: skip
    assert (spec.output, spec.classes) == ("p", 2)
    with pytest.raises(BadInput, match="domain"):
        spec_from_metadata("m", metadata)


def test_server_without_metadata_needs_a_declared_domain():
    with pytest.raises(BadInput, match="declare the domain"):
        spec_from_metadata("m", {"inputs": [], "outputs": []}, "predict_proba")
    spec = spec_from_metadata("m", {}, "predict_proba", input="predict", domain=Columns((Column("a"), Column("b"))))
    assert spec.inputs == (Tensor("predict", "FP64", (2,)),)
    assert spec.classes == 0
