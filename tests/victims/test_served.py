"""Models behind a v2 server by their `victim.toml`: priced, limited and asked once, as those of a JSON API are."""

import json

import numpy as np
import pytest
import torch
from tests.support.upstreams import softmax_of, upstream

from feint import errors, victims
from feint.cli.common import load_victim

X = np.random.default_rng(0).random((5, 1, 2, 2), np.float32)


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("FEINT_CACHE", str(tmp_path / "cache"))
    with upstream() as running:
        yield running


def write(folder, url, **keys):
    path = folder / "victim.toml"
    table = {"url": url, "model": "toy", "output": "p"} | keys
    path.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in table.items() if value is not None))
    return str(path)


def test_answers_are_those_of_the_server_and_each_is_paid_once(server, tmp_path):
    path = write(tmp_path, server.url)
    model = victims.load_any(path)
    assert (server.asked, model.domain.shape, model.classes) == (0, (1, 2, 2), 3)
    p = victims.predict(model, torch.from_numpy(X[[0, 1, 0]]))
    np.testing.assert_allclose(p, softmax_of(X[[0, 1, 0]]), atol=1e-6)
    again = victims.load_any(path)
    assert again.asked == 2
    np.testing.assert_allclose(victims.predict(again, torch.from_numpy(X)), softmax_of(X), atol=1e-6)
    assert server.asked == 5


def test_a_price_needs_a_ceiling_before_the_first_call(server, tmp_path):
    path = write(tmp_path, server.url, price_per_1000=2.0, currency="EUR")
    with pytest.raises(errors.BadInput, match=r"costs 2\.00 EUR for 1,000 calls; expected a ceiling .*--max-calls N"):
        load_victim(path, None, None)
    assert server.asked == 0


def test_the_ceiling_is_named_and_holds(server, tmp_path, capsys):
    path = write(tmp_path, server.url, price_per_1000=2.0, currency="EUR")
    model = load_victim(path, None, None, max_calls=3)
    assert capsys.readouterr().err == f"feint: {path}: at most 3 calls, 0.01 EUR\n"
    model(torch.from_numpy(X[:3]))
    with pytest.raises(errors.CallLimit, match="at most 3"):
        model(torch.from_numpy(X[3:]))
    model(torch.from_numpy(X[:3]))
    assert server.asked == 3


def test_ctrl_c_keeps_the_answers_under_way(server, tmp_path, ctrl_c):
    path = write(tmp_path, server.url)
    server.fault = lambda handler: ctrl_c()
    model = victims.load_any(path)
    with pytest.raises(KeyboardInterrupt):
        model(torch.from_numpy(X))
    assert victims.load_any(path).asked == server.asked == 5


def test_the_key_comes_from_the_environment(server, tmp_path, monkeypatch):
    path = write(tmp_path, server.url, key="$TOY_KEY")
    with pytest.raises(errors.MissingData, match="no 'TOY_KEY' in the environment; expected it, for the key of"):
        victims.load_any(path)
    monkeypatch.setenv("TOY_KEY", "secret")
    victims.load_any(path)(torch.from_numpy(X))
    assert {*server.authorizations} == {"Bearer secret"}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"template": "{}"}, "a url with template and model"),
        ({"model": None}, "a url without template"),
        ({"url": "ftp://localhost"}, "grpc://"),
        ({"classes": ["a", "a", "b"]}, "of different names"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(server, tmp_path, keys, words):
    path = write(tmp_path, **{"url": server.url, "classes": ["a", "b", "c"]} | keys)
    with pytest.raises(errors.BadInput, match=words):
        victims.load_any(path)


def test_its_metadata_are_its_adapter(server, tmp_path):
    with pytest.raises(
        errors.BadInput, match="says itself what it takes; expected a model to inspect; use it as it is"
    ):
        victims.load_raw(write(tmp_path, server.url))
