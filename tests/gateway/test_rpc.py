"""The gRPC side of the gateway, call by call, over a socket."""

import asyncio
import json
import logging
import math

import grpc
import numpy as np
import pytest
from tests.support.gateways import CLASSES, SECRET, Straight, gateway, linear
from tests.support.infer_requests import BAD_MESSAGES, X, infer_message
from tests.support.variance import assert_close

from feint.errors import Failed, OverBudget, ProofRequired, RateLimited, StoreLost, Suspected, Unreachable
from feint.gateway.app import Caller, Limits
from feint.gateway.request_context import ClientDisconnect
from feint.gateway.server.rpc_server import RpcServer
from feint.gateway.settings import ServerSettings
from feint.hashcash import Puzzle
from feint.openinference import proto

KEY = (("authorization", "Bearer k"),)


def call(served, name, *requests, metadata=KEY, timeout=10.0):
    """The responses to some requests, one after the other; an error of gRPC is a response too."""

    async def once():
        server = RpcServer(served, ServerSettings())
        port = await server.start(0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                path = f"/{proto.HEALTH}/Check" if name == "HealthCheck" else f"/{proto.SERVICE}/{name}"
                stub = channel.unary_unary(
                    path,
                    proto.MESSAGES[f"{name}Request"].SerializeToString,
                    proto.MESSAGES[f"{name}Response"].FromString,
                )
                return [await tried(stub(it, metadata=metadata, timeout=timeout)) for it in requests]
        finally:
            await server.stop(0)

    async def tried(calling):
        try:
            return await calling
        except grpc.aio.AioRpcError as error:
            return error

    return asyncio.run(once())


def infer(served, *requests, **how):
    return call(served, "ModelInfer", *requests, **how)


@pytest.mark.parametrize(
    ("datatype", "dtype", "raw"),
    [("FP32", "<f4", True), ("FP32", "<f4", False), ("FP64", "<f8", True), ("FP64", "<f8", False),
     ("FP16", "<f2", True), ("UINT8", "u1", True), ("UINT8", "u1", False)],
)  # fmt: skip
def test_raw_and_typed_contents(datatype, dtype, raw):
    levels = 255 if datatype == "UINT8" else 1
    x = np.rint(X * 255).astype(dtype) if levels == 255 else X.astype(dtype)
    line = Straight()
    request = infer_message(x, datatype=datatype, raw=raw, id="seven", outputs=[{"name": "p"}])
    request.parameters["stamp"].string_param = "1:5"
    (told,) = infer(gateway(line), request)
    (output,) = told.outputs
    assert told.model_name == "toy"
    assert told.model_version == "1"
    assert told.id == "seven"
    assert output.name == "p"
    assert output.datatype == "FP32"
    assert list(output.shape) == [2, CLASSES]
    assert bool(told.raw_output_contents) == raw
    p = np.frombuffer(told.raw_output_contents[0], "<f4") if raw else np.array(output.contents.fp32_contents)
    (asked,) = line.queries
    np.testing.assert_array_equal(asked.x, x.astype(np.float32) / np.float32(levels))
    assert_close(p.reshape(2, CLASSES).astype(np.float32), linear(asked.x))
    assert asked.client == "ann"
    assert asked.stamp == "1:5"


def test_the_group_of_a_key_is_that_of_the_query():
    line = Straight()
    infer(gateway(line, keys={"k": Caller("ann", group="card")}), infer_message())
    assert [(query.client, query.group) for query in line.queries] == [("ann", "card")]


def test_bad_messages():
    line = Straight()
    for name, error in zip(
        BAD_MESSAGES, infer(gateway(line, limits=Limits(batch=8)), *BAD_MESSAGES.values()), strict=True
    ):
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, name
        assert "expected" in error.details()
    assert not line.queries


def details(error):
    """What is in the status of google.rpc: details by their type."""
    (packed,) = [value for name, value in error.trailing_metadata() if name == "grpc-status-details-bin"]
    status = proto.Status.FromString(packed)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    kinds = {it.type_url.rpartition(".")[2]: it.value for it in status.details}
    assert proto.ErrorInfo.FromString(kinds["ErrorInfo"]).domain == "feint"
    return kinds


@pytest.mark.parametrize(("error", "code"), [
    (Suspected("evidence", "none", "talk"), "PERMISSION_DENIED"), (OverBudget("2", "1", "x"), "RESOURCE_EXHAUSTED"),
    (RateLimited("2", "1", "wait", 1.25), "RESOURCE_EXHAUSTED"),
    (OverBudget("2", "1 a day", "wait", 1.25), "RESOURCE_EXHAUSTED"),
    (ProofRequired("none", "work", "solve", puzzle=Puzzle(5, "a", "b", 9)), "FAILED_PRECONDITION"),
    (Unreachable(SECRET, "x", "y"), "UNAVAILABLE"), (StoreLost(SECRET, "x", "y"), "UNAVAILABLE"),
    (Failed(SECRET, "x", "y"), "INTERNAL"), (ValueError(SECRET), "INTERNAL"),
], ids=repr)  # fmt: skip
def test_refusals_and_failures(error, code):
    def admit(asked, account):
        raise error

    (told,) = infer(gateway(Straight(admit=admit)), infer_message())
    assert told.code().name == code
    assert "secret" not in str(told.details()) + str(told.trailing_metadata())
    trailing, kinds = dict(told.trailing_metadata()), details(told)
    waits = getattr(error, "retry_after", None)
    assert ("RetryInfo" in kinds) == ("retry-after" in trailing) == (waits == 1.25)
    assert trailing.get("grpc-retry-pushback-ms") == ("-1" if waits == math.inf else None)
    if "RetryInfo" in kinds:
        assert proto.RetryInfo.FromString(kinds["RetryInfo"]).retry_delay.ToNanoseconds() == 1_250_000_000
        assert trailing["retry-after"] == "1.25"
    if isinstance(error, ProofRequired):
        assert json.loads(trailing["feint-puzzle"]) == {"bits": 5, "client": "a", "query": "b", "expires": 9}


def test_who_may_ask_and_what_is_not_there():
    for metadata in ((), (("authorization", "Bearer wrong"),), (("authorization", "k"),)):
        (told,) = infer(gateway(), infer_message(), metadata=metadata)
        assert told.code() == grpc.StatusCode.UNAUTHENTICATED
        (told,) = call(gateway(), "ModelMetadata", proto.ModelMetadataRequest(name="toy"), metadata=metadata)
        assert told.code() == grpc.StatusCode.UNAUTHENTICATED
        (told,) = call(gateway(), "ServerLive", proto.ServerLiveRequest(), metadata=metadata)
        assert told.live
    (told,) = infer(gateway(), infer_message(), metadata=(("authorization", "Bearer looker"),))
    assert told.code() == grpc.StatusCode.PERMISSION_DENIED
    for told in infer(gateway(names=("other",)), infer_message(), infer_message(model_version="2")):
        assert told.code() == grpc.StatusCode.NOT_FOUND


def test_deadlines():
    async def model(x):
        await asyncio.sleep(60)

    (told,) = infer(gateway(Straight(model)), infer_message(), timeout=0.1)
    assert told.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    (told,) = infer(gateway(Straight(model), limits=Limits(answer=0.05)), infer_message())
    assert told.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "no answer in time" in told.details()


def test_a_clients_own_deadline_is_not_a_failure():
    records = []

    async def model(x):
        await asyncio.sleep(60)

    infer(gateway(Straight(model), observer=records.append), infer_message(), timeout=0.1)
    assert [(record.outcome, record.reason) for record in records] == [("cancelled", "ClientGone")]


def test_metadata():
    served = gateway()
    (told,) = call(served, "ServerMetadata", proto.ServerMetadataRequest())
    assert told.name == "feint"
    (told,) = call(served, "ModelMetadata", proto.ModelMetadataRequest(name="toy"))
    assert [list(it.shape) for it in (*told.inputs, *told.outputs)] == [[-1, 1, 2, 2], [-1, 3]]
    (told,) = call(served, "ModelConfig", proto.ModelConfigRequest(name="toy"))
    assert list(told.config.input[0].dims) == [1, 2, 2]
    assert told.config.input[0].data_type == 11
    (told,) = call(served, "RepositoryIndex", proto.RepositoryIndexRequest())
    assert [(it.name, it.state) for it in told.models] == [("toy", "READY")]
    served.stopping = True
    assert not call(served, "ServerReady", proto.ServerReadyRequest())[0].ready
    assert not call(served, "ModelReady", proto.ModelReadyRequest(name="toy"))[0].ready


@pytest.mark.parametrize("caller", [Caller("ann", models=frozenset({"second"})), Caller("eve", "evil")])
@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("ModelInfer", infer_message()),
        ("ModelMetadata", proto.ModelMetadataRequest(name="toy")),
        ("ModelConfig", proto.ModelConfigRequest(name="toy")),
        ("ModelReady", proto.ModelReadyRequest(name="toy")),
    ],
)
def test_a_key_or_a_tenant_that_a_model_is_not_for_reads_nothing_of_it(caller, name, request_):
    served = gateway(keys={"k": caller})
    served.endpoints["toy"].tenants = ("", "acme")
    (answer,) = call(served, name, request_)
    assert answer.code() == grpc.StatusCode.PERMISSION_DENIED


SERVING, NOT_SERVING = 1, 2  # of grpc.health.v1


def health(served, *services, **how):
    requests = [proto.MESSAGES["HealthCheckRequest"](service=service) for service in services]
    return [getattr(reply, "status", reply) for reply in call(served, "HealthCheck", *requests, **how)]


def test_the_health_of_the_server_and_of_each_model():
    served = gateway(names=("toy", "far"))
    whole = "", proto.SERVICE
    assert health(served, *whole, "toy", "far") == [SERVING] * 4
    served.endpoints["far"].ready = False
    assert health(served, *whole, "toy", "far") == [NOT_SERVING, NOT_SERVING, SERVING, NOT_SERVING]


def test_the_health_of_a_model_that_is_not_served_is_not_found():
    (error,) = health(gateway(), "nobody")
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_without_a_key_only_the_servers_health_is_told():
    """A probe has no key, and without one no message is read: it may be as large as the largest request."""
    served = gateway(names=("toy", "far"))
    served.endpoints["far"].ready = False
    assert health(served, "", "toy", "nobody", metadata=()) == [NOT_SERVING] * 3


def test_a_key_for_metrics_may_ask_for_health_and_a_wrong_key_may_not():
    key = (("authorization", "Bearer looker"),)
    assert health(gateway(), "toy", metadata=key) == [SERVING]
    (error,) = health(gateway(), "toy", metadata=(("authorization", "Bearer wrong"),))
    assert error.code() is grpc.StatusCode.UNAUTHENTICATED


def test_that_a_client_has_gone_is_no_error_of_the_gateway(caplog):
    def admit(asked, account):
        raise ClientDisconnect

    (told,) = infer(gateway(Straight(admit=admit)), infer_message(), timeout=0.3)
    assert told.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not [it.getMessage() for it in caplog.records if it.levelno >= logging.ERROR]
