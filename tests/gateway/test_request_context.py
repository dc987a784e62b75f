"""Who asks, on which path and in which trace: in records, in log lines, and in what an upstream is sent."""

import io
import json

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.test_rpc import KEY, infer
from tests.support.gateways import ANYBODY, X, calling, gateway, running
from tests.support.infer_requests import infer_message
from tests.support.upstreams import upstream

from feint.gateway.app import Caller
from feint.gateway.request_context import TraceContext, continue_trace
from feint.gateway.server import run
from feint.gateway.settings import Settings, UpstreamSettings
from feint.gateway.telemetry.logs import Logs

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
ID = "0123456789ab"


def test_a_callers_trace_is_continued_by_a_span_of_the_gateway():
    trace = continue_trace(PARENT, "a=b", 0.0)
    assert (trace.trace, trace.parent, trace.sampled) == (TRACE, SPAN, True)
    assert trace.span != SPAN
    assert trace.headers == {"traceparent": f"00-{TRACE}-{trace.span}-01", "tracestate": "a=b"}


def test_without_traces_of_its_own_a_gateway_hands_on_what_came():
    assert continue_trace(PARENT, "", None).headers == {"traceparent": PARENT}
    assert continue_trace("", "", None) is None


@pytest.mark.parametrize("flag", ["00", "02"])
def test_the_caller_decides_whether_a_trace_is_recorded(flag):
    assert not continue_trace(f"00-{TRACE}-{SPAN}-{flag}", "", 1.0).sampled


def test_a_trace_begins_here_where_the_caller_has_none():
    first, second = (continue_trace("", "", share) for share in (1.0, 0.0))
    assert (first.sampled, second.sampled) == (True, False)
    assert first.trace != second.trace
    assert first.parent == ""


NO_IDS = f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"
MALFORMED = [PARENT.upper(), PARENT[:-1], f"{PARENT}-x", f"ff{PARENT[2:]}", *NO_IDS]


@given(st.sampled_from(MALFORMED) | st.text(max_size=60))
def test_a_malformed_parent_counts_as_none(parent):
    assert continue_trace(parent, "", None) is None


def test_a_parent_of_a_later_version_is_read():
    assert continue_trace(f"01-{TRACE}-{SPAN}-01-more", "", None).trace == TRACE


def ask(client):
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(X.shape), "data": X.ravel().tolist()}
    return client.post("/v2/models/toy/infer", json={"inputs": [tensor]})


def lines_of(records):
    to = io.StringIO()
    for record in records:
        Logs("debug", to=to)(record)
    return [json.loads(line) for line in to.getvalue().splitlines()]


CALLERS = {"k": Caller("ann", key=ID)}
SENT = {"Authorization": "Bearer k", "X-Request-ID": "seven", "User-Agent": "curl/8", "traceparent": PARENT}


def test_a_log_line_names_who_asked_and_where():
    records = []
    with running(gateway(keys=CALLERS, observer=records.append)) as url, httpx2.Client(base_url=url) as client:
        client.headers.update(SENT)
        assert ask(client).status_code == 200
    (line,) = lines_of(records)
    assert line["client"] == {"address": "127.0.0.1"}
    assert line["url"] == {"path": "/v2/models/toy/infer"}
    assert line["http"] == {"request": {"id": "seven"}, "response": {"status_code": 200}}
    assert line["user_agent"] == {"original": "curl/8"}
    assert line["trace"] == {"id": TRACE}
    assert line["feint"]["key"] == ID
    assert line["user"] == {"name": "ann"}


@pytest.mark.parametrize("path", ["/v2/models/toy/infer", "/v2/models", "/v2/repository/index"])
def test_a_wrong_key_leaves_its_id_and_address_whatever_the_page(path):
    records, key = [], f"feint_{ID}_secret"
    with running(gateway(observer=records.append)) as url:
        method = "GET" if path == "/v2/models" else "POST"
        httpx2.request(method, url + path, headers={"Authorization": f"Bearer {key}"})
    (line,) = lines_of(records)
    assert (line["client"]["address"], line["url"]["path"], line["feint"]["key"]) == ("127.0.0.1", path, ID)
    assert "secret" not in json.dumps(line)


def test_a_key_in_a_path_an_id_or_a_user_agent_is_in_no_line():
    """Clients put it there by mistake: in a URL that is made of variables, or a header that is copied."""
    records, key = [], f"feint_{ID}_secret"
    headers = {"User-Agent": f"api_{key}", "X-Request-ID": f"Bearer {key}", "Authorization": "Bearer k"}
    with running(gateway(keys=CALLERS, observer=records.append)) as url:
        httpx2.post(f"{url}/v2/models/{key}/infer", headers=headers)
    (line,) = lines_of(records)
    assert "secret" not in json.dumps(line)
    assert line["url"] == {"path": f"/v2/models/feint_{ID}_…/infer"}
    assert line["user_agent"] == {"original": f"api_feint_{ID}_…"}


def test_the_id_in_a_request_names_it_where_no_header_does():
    records = []
    served = gateway(keys=CALLERS, observer=records.append)
    infer(served, infer_message(X), infer_message(X), metadata=(*KEY, ("x-request-id", "h")))
    message = infer_message(X)
    message.id = "body"
    infer(served, message)
    assert [record.context.id for record in records] == ["h", "h", "body"]


def test_a_call_over_grpc_has_the_same_context():
    records = []
    infer(gateway(keys=CALLERS, observer=records.append), infer_message(X), metadata=(*KEY, ("traceparent", PARENT)))
    (context,) = (record.context for record in records)
    assert (context.path, context.address) == ("/inference.GRPCInferenceService/ModelInfer", "127.0.0.1")
    assert (context.key, context.trace.trace) == (ID, TRACE)


def test_a_rejected_call_over_grpc_has_it_too():
    records = []
    key = ("authorization", f"Bearer feint_{ID}_secret")
    infer(gateway(observer=records.append), infer_message(X), metadata=(key,))
    (context,) = (record.context for record in records)
    assert (context.key, context.address) == (ID, "127.0.0.1")


def test_an_upstream_over_http_is_sent_the_trace():
    with upstream() as server:
        at = UpstreamSettings(upstream=server.url, output="p")
        with run.running(Settings({"toy": at}, **ANYBODY)) as before, httpx2.Client(base_url=before.url) as client:
            client.headers.update({"traceparent": PARENT, "tracestate": "a=b"})
            assert ask(client).status_code == 200
            assert (server.sent["traceparent"], server.sent["tracestate"]) == (PARENT, "a=b")


def test_an_upstream_over_grpc_is_sent_the_trace():
    records = []
    behind = gateway(keys={"": Caller("gateway")}, observer=records.append)
    with calling(behind) as address:
        at = UpstreamSettings(upstream=f"grpc://{address}", shape=(1, 2, 2))
        with run.running(Settings({"toy": at}, **ANYBODY)) as before, httpx2.Client(base_url=before.url) as client:
            client.headers["traceparent"] = PARENT
            assert ask(client).status_code == 200
    assert isinstance(records[-1].context.trace, TraceContext)
    assert records[-1].context.trace.parent == SPAN
