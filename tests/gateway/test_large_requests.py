"""Large bodies are decoded and encoded in a thread: the loop, which serves everybody else, does neither."""

import threading

import httpx2
import numpy as np
import pytest
from tests.gateway.test_rpc import infer
from tests.support.gateways import CLASSES, KEYS, Straight, gateway, running
from tests.support.infer_requests import infer_message

from feint.openinference import grpc_codec, json_codec
from feint.openinference.tensors import PIECE
from feint.signature import Pixels, Tensor

SIDE = 64
SHAPE = (1, SIDE, SIDE)
SMALL, LARGE = 1, 1 + PIECE // SIDE**2  # rows: one number takes two bytes of JSON, or four


def uniform(x):
    return np.full((len(x), CLASSES), 1 / CLASSES, np.float32)


def wide(x):
    """More classes than fit into a piece."""
    return np.full((len(x), PIECE), 1 / PIECE, np.float32)


def served(model=uniform, classes=CLASSES):
    inputs = (Tensor("pixels", "FP32", SHAPE),)
    return gateway(Straight(model), keys=KEYS, domain=Pixels(SHAPE), classes=classes, inputs=inputs)


@pytest.fixture
def threads(monkeypatch):
    """By step, whether it ran on the thread of the loop, which computes."""
    ran = {}

    def watch(owner, name, step):
        original = getattr(owner, name)

        def recorded(*arguments, **options):
            ran[step] = threading.get_ident()
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, recorded)

    watch(json_codec.RequestCodec, "read", "read")
    watch(json_codec.RequestCodec, "write", "write")
    watch(grpc_codec, "decode_request", "decode")
    watch(grpc_codec, "read_request", "read")
    watch(grpc_codec, "write_response", "write")
    watch(Straight, "admit", "loop")
    return lambda: {step for step, thread in ran.items() if thread != ran["loop"]}


def post(model, rows):
    x = np.zeros((rows, *SHAPE), np.float32)
    tensor = {"name": "pixels", "datatype": "FP32", "shape": list(x.shape), "data": [0] * x.size}
    with running(model) as url:
        reply = httpx2.post(
            f"{url}/v2/models/toy/infer", json={"inputs": [tensor]}, headers={"Authorization": "Bearer k"}, timeout=60
        )
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(("rows", "elsewhere"), [(SMALL, set()), (LARGE, {"read"})])
def test_a_large_body_is_decoded_off_the_loop(threads, rows, elsewhere):
    post(served(), rows)
    assert threads() == elsewhere


@pytest.mark.parametrize(("rows", "elsewhere"), [(SMALL, set()), (LARGE, {"decode", "read"})])
def test_a_large_message_is_decoded_off_the_loop(threads, rows, elsewhere):
    (reply,) = infer(served(), infer_message(np.zeros((rows, *SHAPE), np.float32)))
    assert reply.outputs
    assert threads() == elsewhere


def test_a_large_answer_is_encoded_off_the_loop(threads):
    post(served(wide, PIECE), SMALL)
    assert threads() == {"write"}


def test_a_large_answer_over_grpc_is_encoded_off_the_loop(threads):
    (reply,) = infer(served(wide, PIECE), infer_message(np.zeros((1, *SHAPE), np.float32)))
    assert reply.outputs
    assert threads() == {"write"}
