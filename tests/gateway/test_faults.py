"""A fault at every step of the line: the client reads an error, and not a byte of what was not defended."""

from types import SimpleNamespace

import httpx2
import numpy as np
import pytest
from tests.support.gateways import ANYBODY, SHAPE, answer_of
from tests.support.graph_files import bare, output_defense, undefended

from feint.errors import StoreLost, Unreachable
from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.server.run import running
from feint.gateway.settings import LedgerSettings, OnnxSettings, Settings
from feint.openinference.json_codec import RequestCodec

X = np.random.default_rng(3).random((4, *SHAPE), np.float32)
SECRET = "/srv/secret/model.onnx"
UNDEFENDED = undefended(X).astype(np.float32)


def broken(*args, **kwargs):
    """What nobody foresaw; its text is the inside's."""
    raise RuntimeError(f"{SECRET} {UNDEFENDED.tolist()}")


async def broken_later(*args, **kwargs):
    broken()


async def lost(*args, **kwargs):
    raise StoreLost(SECRET, str(UNDEFENDED.tolist()), "none")


class Broken:
    admit = authenticate = observe = staticmethod(broken)


def gives(outputs):
    """A graph that has gone wrong; `outputs` of the defended rows."""

    async def run(x, request):
        return Outputs([outputs(undefended(x).astype(np.float32))], [], None)

    return run


# What is broken, and the status that tells it; `it` is the gateway, `endpoint` that of the model.
FAULTS = {
    "authenticator": (lambda it, endpoint: (it, "authenticator", Broken), 500),
    "decode": (lambda it, endpoint: (RequestCodec, "read", broken), 500),
    "admit": (lambda it, endpoint: (endpoint.pipeline, "_everybodys", (Broken,)), 500),
    "compute": (lambda it, endpoint: (endpoint.pipeline, "_run", broken_later), 500),
    "NaN": (lambda it, endpoint: (endpoint.pipeline, "_run", gives(lambda p: p * np.nan)), 500),
    "wrong shape": (lambda it, endpoint: (endpoint.pipeline, "_run", gives(lambda p: p[:, :2])), 500),
    "too many rows": (lambda it, endpoint: (endpoint.pipeline, "_run", gives(lambda p: np.concatenate([p, p]))), 500),
    "logits": (lambda it, endpoint: (endpoint.pipeline, "_run", gives(np.log)), 500),
    "no answer": (lambda it, endpoint: (endpoint.pipeline, "_run", gives(lambda p: None)), 500),
    "evidence": (
        lambda it, endpoint: (endpoint.pipeline, "graph", SimpleNamespace(detectors=(Broken,), rungs=())),
        500,
    ),
    "rung": (lambda it, endpoint: (endpoint.pipeline, "graph", SimpleNamespace(detectors=(), rungs=())), 500),
    "rung's rules": (lambda it, endpoint: (endpoint.pipeline, "_rungs", [(Broken,)]), 500),
    "outputs": (lambda it, endpoint: (endpoint.pipeline, "answer", broken_later), 500),
    "transaction": (lambda it, endpoint: (endpoint.session, "begin", broken), 500),
    "stage": (lambda it, endpoint: (endpoint.session, "stage", broken), 500),
    "commit": (lambda it, endpoint: (endpoint.session, "send", broken_later), 500),
    "store": (lambda it, endpoint: (endpoint.session.store, "commit", lost), 503),
    "encode": (lambda it, endpoint: (RequestCodec, "write", broken), 500),
}


@pytest.fixture(scope="module", params=["refuse", "strongest"])
def served(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    at = OnnxSettings(path=bare(folder / "bare.onnx"), outputs=output_defense(folder / "q.onnx"))
    settings = Settings({"toy": at}, keys=ANYBODY["keys"], ledger=LedgerSettings("memory:", request.param))
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        yield gateway.gateway, client, request.param


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("name", FAULTS)
def test_no_undefended_byte_comes_out(served, name, binary, monkeypatch):
    gateway, client, when_lost = served
    fault, status = FAULTS[name]
    with monkeypatch.context() as patch:
        target, attribute, instead = fault(gateway, gateway.endpoints["toy"])
        patch.setattr(target, attribute, instead)
        failed = ask(client, binary=binary)
    if name == "store" and when_lost == "strongest":
        assert np.allclose(answer_of(ask(client)), UNDEFENDED / 2 + 1 / 6, atol=1e-6)
        assert failed.status_code == 200
    else:
        assert failed.status_code == status
        assert list(failed.json()) == ["error"]
    assert_nothing_leaks(failed)
    again = ask(client)
    assert again.status_code == 200
    assert np.allclose(answer_of(again), UNDEFENDED / 2 + 1 / 6, atol=1e-6)


def ask(client, *, binary=False):
    tensor = {"name": "x", "datatype": "FP32", "shape": list(X.shape), "data": X.ravel().tolist()}
    outputs = [{"name": "probabilities", "parameters": {"binary_data": binary}}]
    return client.post("/v2/models/toy/infer", json={"inputs": [tensor], "outputs": outputs})


def assert_nothing_leaks(response):
    """None of the undefended numbers, as text or as bytes, and nothing of the inside."""
    said = response.content + str(response.headers).encode()
    assert SECRET.encode() not in said
    assert b"Traceback" not in said
    for value in UNDEFENDED.ravel():
        assert value.tobytes() not in said
        assert repr(float(value))[:8].encode() not in said
    for value in np.log(UNDEFENDED).ravel():
        assert value.tobytes() not in said


def test_leak_check_fails_on_an_undefended_answer(tmp_path):
    """The same with no defense: or the tests above would pass whatever came out."""
    settings = Settings({"toy": OnnxSettings(path=bare(tmp_path / "bare.onnx"))}, **ANYBODY)
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        for binary in (False, True):
            with pytest.raises(AssertionError):
                assert_nothing_leaks(ask(client, binary=binary))


def test_who_was_refused_is_refused_when_the_ledger_is_lost(tmp_path, monkeypatch):
    at = OnnxSettings(
        path=bare(tmp_path / "bare.onnx"), outputs=output_defense(tmp_path / "q.onnx"), access=("Budget(4)",)
    )
    settings = Settings({"toy": at}, keys=ANYBODY["keys"], ledger=LedgerSettings("memory:", "strongest"))
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        assert ask(client).status_code == 200
        monkeypatch.setattr(gateway.gateway.endpoints["toy"].session.store, "commit", lost)
        assert ask(client).status_code == 429


async def away(x, request):
    raise Unreachable("an upstream", "one that answers", "try again")


@pytest.mark.parametrize(
    ("fails", "status"),
    [(away, 502), (broken_later, 500), (gives(lambda p: None), 500), (gives(lambda p: p * np.nan), 500)],
    ids=["upstream", "exception", "nothing", "NaN"],
)
def test_what_fails_on_this_side_is_not_charged(tmp_path, monkeypatch, fails, status):
    settings = Settings({"toy": OnnxSettings(path=bare(tmp_path / "bare.onnx"), access=("Budget(9)",))}, **ANYBODY)
    with running(settings) as gateway, httpx2.Client(base_url=gateway.url) as client:
        with monkeypatch.context() as patch:
            patch.setattr(gateway.gateway.endpoints["toy"].pipeline, "_run", fails)
            assert ask(client).status_code == status
        assert [ask(client).status_code for _ in range(3)] == [200, 200, 429]
