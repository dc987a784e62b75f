"""The REST side of the gateway, request by request."""

import asyncio
import json

import httpx2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.gateways import CLASSES, SECRET, SHAPE, Straight, gateway, linear, running
from tests.support.infer_requests import BAD_BODIES, X, document
from tests.support.variance import assert_close

from feint.errors import (
    BadInput,
    Failed,
    OverBudget,
    ProofRequired,
    RateLimited,
    StoreLost,
    Suspected,
    TimedOut,
    Unreachable,
)
from feint.gateway import routes
from feint.gateway.app import Caller, Limits
from feint.hashcash import Puzzle

KEY = {"Authorization": "Bearer k"}
LENGTH = "Inference-Header-Content-Length"


def ask(served, verb, path, *, headers=KEY, content=None):
    """One request to an application without a socket."""

    async def once():
        transport = httpx2.ASGITransport(app=routes.app(served), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(verb, path, headers=headers, content=content)

    return asyncio.run(once())


def infer(served=None, body=None, *, headers=None, content=None):
    content = json.dumps(document() if body is None else body) if content is None else content
    return ask(served or gateway(), "POST", "/v2/models/toy/infer", headers=KEY | (headers or {}), content=content)


def binary(x=X, *, datatype="FP32", raw=None, head=None, **more):
    raw = x.tobytes() if raw is None else raw
    tensor = {"name": "pixels", "shape": list(x.shape), "datatype": datatype}
    body = {"inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}]} | more
    head = json.dumps(body).encode() if head is None else head
    return {"content": head + raw, "headers": {LENGTH: str(len(head))}}


def probabilities(response):
    """What a response to X holds, read by hand from the protocol's text."""
    assert response.status_code == 200, response.text
    length = int(response.headers.get(LENGTH, len(response.content)))
    (told,) = json.loads(response.content[:length])["outputs"]
    assert told["name"] == "p"
    assert told["datatype"] == "FP32"
    assert told["shape"][1:] == [CLASSES]
    if "data" in told:
        return np.array(told["data"], np.float32).reshape(told["shape"])
    assert told["parameters"]["binary_data_size"] == len(response.content) - length
    return np.frombuffer(response.content[length:], "<f4").reshape(told["shape"])


RAW = {"outputs": [{"name": "p", "parameters": {"binary_data": True}}]}


@pytest.mark.parametrize("out", [{}, {"outputs": [{"name": "p"}]}, {"parameters": {"binary_data_output": True}}, RAW])
@pytest.mark.parametrize("into", [lambda **out: {"body": document(**out)}, binary], ids=["json", "binary"])
def test_every_mix_of_json_and_binary_gives_the_same_answer(into, out):
    response = infer(**into(**out))
    assert (LENGTH in response.headers) == (out == RAW or "parameters" in out)
    assert_close(probabilities(response), linear(X))


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", "<f4"), ("FP64", "<f8"), ("FP16", "<f2"), ("UINT8", "u1")])
@pytest.mark.parametrize("form", ["flat", "nested", "binary"])
def test_datatypes(datatype, dtype, form):
    levels = 255 if datatype == "UINT8" else 1
    x = np.rint(X * 255).astype(dtype) if levels == 255 else X.astype(dtype)
    line = Straight()
    body = document(x, datatype=datatype)
    if form == "nested":
        body["inputs"][0]["data"] = x.tolist()
    sent = binary(x, datatype=datatype) if form == "binary" else {"body": body}
    assert infer(gateway(line), **sent).status_code == 200
    (asked,) = line.queries
    np.testing.assert_array_equal(asked.x, x.astype(np.float32) / np.float32(levels))
    assert asked.x.dtype == np.float32
    assert asked.client == "ann"
    assert asked.stamp == ""


def test_ids_and_stamps():
    line = Straight()
    response = infer(gateway(line), document(id='7 "x" é', parameters={"stamp": "1:5:…", "priority": 3}))
    assert response.json()["id"] == '7 "x" é'
    assert line.queries[0].stamp == "1:5:…"
    assert "id" not in infer().json()


def test_the_group_of_a_key_is_that_of_the_query():
    line = Straight()
    infer(gateway(line, keys={"k": Caller("ann", group="card")}))
    assert [(query.client, query.group) for query in line.queries] == [("ann", "card")]


def test_no_inputs_are_no_queries():
    assert probabilities(infer(body=document(X[:0]))).shape == (0, CLASSES)
    assert probabilities(infer(**binary(X[:0], **RAW))).shape == (0, CLASSES)


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_told_in_one_line_and_nobody_is_asked(name):
    body, line = BAD_BODIES[name], Straight()
    response = infer(gateway(line), content=body if isinstance(body, bytes) else json.dumps(body).encode())
    assert response.status_code == (413 if name == "huge" else 400)
    assert list(response.json()) == ["error"]
    assert "\n" not in response.json()["error"]
    assert "expected" in response.json()["error"]
    assert not line.queries


@pytest.mark.parametrize(
    "sent",
    [
        binary(raw=X.tobytes()[:-1]),
        binary(raw=X.tobytes() + b"0"),
        binary(np.full((2, *SHAPE), np.nan, np.float32)),
        binary(np.full((2, *SHAPE), np.inf, np.float32)),
        binary(np.full((2, *SHAPE), -1.0, np.float32)),
        binary(head=b"{"),
        binary() | {"headers": {LENGTH: "99999"}},
        binary() | {"headers": {LENGTH: "-1"}},
        binary() | {"headers": {LENGTH: "12e"}},
        binary() | {"headers": {LENGTH: "٣"}},
        binary() | {"headers": {}},
        binary() | {"headers": {LENGTH: "0"}},
        {"content": binary()["content"] + b"more", "headers": binary()["headers"]},
    ],
)
def test_bad_bytes(sent):
    line = Straight()
    sent["headers"] = {name: value.encode() for name, value in sent["headers"].items()}
    response = infer(gateway(line), **sent)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert not line.queries


def test_limits():
    served = gateway(limits=Limits(batch=1, body=300))
    assert infer(served).status_code == 413
    one = {"body": document(X[:1])}
    assert infer(served, **one).status_code == 200
    long = infer(served, document(X[:1], id="x" * 300))
    assert long.status_code == 413
    assert long.headers["connection"] == "close"
    assert infer(served, document(X[:1], outputs=[{"name": "p"}] * 2)).status_code == 400


def received(served, *messages, headers=()):
    """Status of an infer request whose body comes in these messages; how many of them were taken."""
    sent, taken = [], 0

    async def receive():
        nonlocal taken
        taken += 1
        if taken > len(messages):
            await asyncio.sleep(60)
        return messages[taken - 1]

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v2/models/toy/infer"}
    scope["headers"] = [(b"authorization", b"Bearer k"), *headers]
    asyncio.run(routes.app(served)(scope, receive, send))
    return (sent[0]["status"] if sent else None), taken


def part(body, more=True):
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_is_read_in_parts_and_no_further_than_the_limit():
    body = json.dumps(document()).encode()
    assert received(gateway(), part(body[:50]), part(b""), part(body[50:], False)) == (200, 3)
    small = gateway(limits=Limits(body=100))
    assert received(small, *[part(b" " * 60)] * 10) == (413, 2)
    assert received(small, part(body), headers=[(b"content-length", b"101")]) == (413, 0)


def test_a_request_that_does_not_arrive_is_given_up():
    slow = gateway(limits=Limits(arrive=0.05))
    assert received(slow) == (408, 1)
    assert received(slow, part(b"{")) == (408, 2)
    assert received(gateway(), part(b"{"), {"type": "http.disconnect"}) == (None, 2)


def test_who_may_ask():
    def status(headers, path="/v2/models/toy"):
        return ask(gateway(), "GET", path, headers=headers).status_code

    assert status(KEY) == 200
    assert status({"Authorization": "bearer  k"}) == 200
    for headers in (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic k"},
        {"Authorization": "Bearer é".encode()},
    ):
        for path in ("/v2", "/v2/models", "/v2/models/toy", "/v2/models/nobody", "/v2/models/toy/config"):
            assert status(headers, path) == 401
        refused = ask(gateway(), "POST", "/v2/models/nobody/infer", headers=headers, content=b"{")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
    assert status({"Authorization": "Bearer looker"}) == 403
    assert status({}, "/v2/health/live") == status({}, "/v2/health/ready") == status({}, "/v2/models/toy/ready") == 200


@pytest.mark.parametrize("error", [
    Suspected("evidence", "none", "talk"), OverBudget("2 queries", "1", "more"), RateLimited("2", "1", "wait", 1.25),
    OverBudget("2 queries", "1 a day", "wait", 1.25),
    RateLimited("2", "1", "never"), ProofRequired("no stamp", "work", "solve", puzzle=Puzzle(5, "a", "b", 9)),
], ids=repr)  # fmt: skip
def test_refusals(error):
    def admit(asked, account):
        raise error

    response = infer(gateway(Straight(admit=admit)))
    told = response.json()
    assert told["error"] == str(error)
    match error:
        case RateLimited(retry_after=1.25) | OverBudget(retry_after=1.25):
            assert response.status_code == 429
            assert response.headers["retry-after"] == "2"
            assert "x-should-retry" not in response.headers
            assert told["parameters"] == {"retry_after": 1.25}
        case OverBudget() | RateLimited():
            assert response.status_code == 429
            assert response.headers.get("retry-after") is None
            assert response.headers["x-should-retry"] == "false"
        case ProofRequired():
            assert response.status_code == 428
            assert told["parameters"]["puzzle"] == {"bits": 5, "client": "a", "query": "b", "expires": 9}
        case _:
            assert response.status_code == 403


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unreachable(SECRET, "an answer", "wait"), 502),
        (TimedOut(SECRET, "an answer", "wait"), 504),
        (StoreLost(SECRET, "a store", "wait"), 503),
        (Failed(SECRET, "an answer", "wait"), 500),
        (BadInput(SECRET, "an answer", "wait"), 500),
        (ValueError(SECRET), 500),
        (KeyError(SECRET), 500),
        (RuntimeError(SECRET), 500),
    ],
)
def test_what_fails_inside_stays_inside(error, status, caplog):
    def model(x):
        raise error

    response = infer(gateway(Straight(model)))
    assert response.status_code == status
    assert "secret" not in response.text
    assert "10.0" not in response.text
    assert "Traceback" not in response.text
    assert caplog.records
    if not isinstance(error, BadInput | Failed | Unreachable):
        assert "0.123456" not in caplog.text


@pytest.mark.parametrize("kind", [StoreLost, Unreachable, TimedOut])
def test_what_fails_outside_is_one_line_of_the_log(kind, caplog):
    def model(x):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise kind("a disk that fails", "another", "wait") from error

    infer(gateway(Straight(model)))
    assert [record.getMessage() for record in caplog.records] == [
        "got a disk that fails; expected another; wait (OSError)"
    ]


def test_an_answer_that_takes_too_long():
    records = []

    async def model(x):
        await asyncio.sleep(60)

    served = gateway(Straight(model), limits=Limits(answer=0.05), observer=records.append)
    assert infer(served).status_code == 504
    assert [(it.outcome, it.reason) for it in records] == [("failed", "TimedOut")]


def test_requests_rejected_before_the_pipeline_are_recorded():
    records = []
    served = gateway(observer=records.append)
    infer(served, {})
    infer(served, headers={"Authorization": "Bearer wrong"})
    ask(served, "POST", "/v2/models/nobody/infer", content=b"{}")
    ask(served, "POST", "/v2/models/nobody/infer", headers={"Authorization": "Bearer wrong"})
    assert [(it.model, it.client, it.outcome, it.reason) for it in records] == [
        ("toy", "ann", "refused", "BadInput"),
        ("toy", "", "refused", "NoKey"),
        ("", "ann", "refused", "UnknownName"),
        ("", "", "refused", "NoKey"),
    ]


def test_metadata():
    served = gateway(names=("toy", "other"))

    def said(path, verb="GET"):
        response = ask(served, verb, path)
        return response.status_code, response.json()

    assert "binary_tensor_data" in said("/v2")[1]["extensions"]
    assert said("/v2/models") == (200, {"models": ["toy", "other"]})
    told = said("/v2/models/other/versions/1")[1]
    assert told["inputs"] == [{"name": "pixels", "datatype": "FP32", "shape": [-1, 1, 2, 2]}]
    assert told["outputs"] == [{"name": "p", "datatype": "FP32", "shape": [-1, 3]}]
    assert said("/v2/models/toy/config")[1]["max_batch_size"] == Limits().batch
    assert [it["name"] for it in said("/v2/repository/index", "POST")[1]] == ["toy", "other"]
    for path in ("/v2/models/nobody", "/v2/models/toy/versions/2", "/v2/models/toy/ready/x", "/v3", "/"):
        assert said(path)[0] == 404
        assert list(said(path)[1]) == ["error"]
    assert said("/v2/models/toy/versions/2/infer", "POST")[0] == said("/v2/models/toi/infer", "POST")[0] == 404
    assert said("/v2/models/toy", "DELETE")[0] == said("/v2/models/toy/infer")[0] == 405
    assert infer(served).json()["model_version"] == "1"
    served.stopping = True
    assert said("/v2/health/ready") == (503, {"ready": False})
    assert said("/v2/models/toy/ready")[0] == 503
    assert said("/v2/health/live")[0] == 200


@pytest.mark.slow
@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4))
def test_any_float32_keeps_its_value_on_the_way(values):
    x, line = np.array(values, np.float32).reshape(1, *SHAPE), Straight()
    served = gateway(line)
    assert infer(served, document(x)).content == infer(served, document(x)).content
    infer(served, **binary(x))
    assert all(asked.x.tobytes() == x.tobytes() for asked in line.queries)


BOUND = {
    "k": Caller("ann", "acme", models=frozenset({"toy"})),
    "other": Caller("bob", "acme", models=frozenset({"second"})),
    "foreign": Caller("eve", "evil"),
}


def bound_gateway():
    """Two models, of which the first is for one tenant alone."""
    served = gateway(names=("toy", "second"), keys=BOUND)
    served.endpoints["toy"].tenants = ("acme",)
    return served


@pytest.mark.parametrize(("key", "status"), [("k", 200), ("other", 403), ("foreign", 403)])
def test_a_model_answers_the_keys_and_tenants_that_it_is_for(key, status):
    headers = {"Authorization": f"Bearer {key}"}
    served = bound_gateway()
    assert infer(served, headers=headers).status_code == status
    assert ask(served, "GET", "/v2/models/toy", headers=headers).status_code == status
    assert ask(served, "GET", "/v2/models/toy/config", headers=headers).status_code == status


@pytest.mark.parametrize(("key", "names"), [("k", ["toy"]), ("other", ["second"]), ("foreign", ["second"])])
def test_a_key_lists_the_models_that_it_is_for(key, names):
    headers, served = {"Authorization": f"Bearer {key}"}, bound_gateway()
    assert ask(served, "GET", "/v2/models", headers=headers).json() == {"models": names}
    index = ask(served, "POST", "/v2/repository/index", headers=headers).json()
    assert [model["name"] for model in index] == names


def test_statistics_are_no_model():
    with running(gateway()) as url:
        response = httpx2.get(f"{url}/v2/models/stats", headers={"Authorization": "Bearer k"})
    assert response.status_code == 404
    assert "statistics of models" in response.json()["error"]
