"""A client may have so many requests under way, whether it waits for them or not; what is above is not charged."""

import socket
import struct
from contextlib import ExitStack, contextmanager

import grpc
import httpx2
import pytest
from tests.support.gateways import KEYS, Slow, Straight, X, calling, gateway, running
from tests.support.http2 import CONNECTION_BEGINS, SETTINGS, begun_message, call_begins, frame
from tests.support.waiting import eventually

from feint.errors import RateLimited
from feint.gateway.app import Caller, Limits
from feint.openinference import proto

INFER = f"/{proto.SERVICE}/ModelInfer"
TWO = Limits(in_flight=2)
OTHERS = KEYS | {"o": Caller("other")}


def over_rest(server, key):
    """Send a request and hang up; return its status where it has one at once."""
    with httpx2.Client(base_url=server, headers={"Authorization": f"Bearer {key}"}, timeout=0.3) as client:
        try:
            tensor = {"name": "pixels", "datatype": "FP32", "shape": list(X.shape), "data": X.ravel().tolist()}
            response = client.post("/v2/models/toy/infer", json={"inputs": [tensor]})
        except httpx2.TimeoutException:
            return None
    return response.status_code, response.headers.get("retry-after"), response.json()["error"]


def request() -> bytes:
    message = proto.ModelInferRequest(model_name="toy", raw_input_contents=[X.tobytes()])
    message.inputs.add(name="pixels", datatype="FP32", shape=X.shape)
    return message.SerializeToString()


def over_grpc(address, key):
    """Send a call and give it up; return its error where it has one at once."""
    with grpc.insecure_channel(address) as channel:
        metadata = [("authorization", f"Bearer {key}")]
        try:
            channel.unary_unary(INFER)(request(), metadata=metadata, timeout=0.3)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return None
            return error.code(), dict(error.trailing_metadata()).get("retry-after"), error.details()


@pytest.mark.parametrize(
    ("serving", "send", "status"), [(running, over_rest, 429), (calling, over_grpc, grpc.StatusCode.RESOURCE_EXHAUSTED)]
)
def test_requests_whose_client_hung_up_count_until_they_are_done(serving, send, status):
    records, model = [], Slow()
    line = Straight(model)
    served = gateway(line, keys=OTHERS, limits=TWO, observer=records.append)
    with serving(served) as server:
        assert [send(server, "k"), send(server, "k")] == [None, None]
        got, after, text = send(server, "k")
        assert (got, float(after)) == (status, 1.0)
        assert "3 requests of one client at once" in text
        assert send(server, "o") is None  # another client's are its own
        assert [(record.client, record.outcome, record.reason) for record in records] == [
            ("ann", "refused", "RateLimited")
        ]
        assert served.endpoints["toy"].session.begin("ann", "").queries == 0
        model.go.set()
        eventually(lambda: not served._in_flight)
        assert model.asked == 3
        assert served.endpoints["toy"].session.begin("ann", "").queries == 2 * len(X)


@contextmanager
def unread(address):
    """A call over a connection whose client takes no byte of the response."""
    host, _, port = address.rpartition(":")
    nothing = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))  # SETTINGS_INITIAL_WINDOW_SIZE
    message = request()
    with socket.create_connection((host, int(port))) as line:
        call = call_begins(INFER, ("authorization", "Bearer k")) + begun_message(len(message), message)
        line.sendall(CONNECTION_BEGINS + nothing + call)
        yield


def test_a_call_whose_response_is_not_read_counts_until_its_connection_ends():
    records = []
    served = gateway(limits=TWO, observer=records.append)
    with calling(served) as address:
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(unread(address))
            eventually(lambda: [record.outcome for record in records] == ["answered"] * 2)
            assert over_grpc(address, "k")[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
        eventually(lambda: not served._in_flight)
        over_grpc(address, "k")
        assert records[-1].outcome == "answered"


def test_whoever_is_refused_is_not_counted():
    served = gateway(limits=Limits(in_flight=1))
    served.enter("ann")
    for _ in range(3):
        with pytest.raises(RateLimited):
            served.enter("ann")
    served.leave("ann")
    with served.under_way("ann"):
        assert served._in_flight == {"ann": 1}
    assert not served._in_flight
