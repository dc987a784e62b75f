"""Inputs that a model does not take, of every domain: what another project's client reads over REST and gRPC."""

import json
import re

import numpy as np
import pytest
from tests.interop.environments import run_script
from tests.support import json_api
from tests.support.gateways import Straight, calling, gateway, running
from tests.support.json_api import CLASSES, ROWS, Api, page, serving, status

from feint import victims
from feint.gateway.backends import torch_backend
from feint.gateway.settings import TorchSettings
from feint.signature import Columns, Pixels, Text, Tokens

pytestmark = pytest.mark.interop
TABLE = Columns.describe(ROWS | {"age": [20.0, 35.0, 52.0, 66.0, 40.0]})
DOMAINS = {"table": TABLE, "text": Text(16), "tokens": Tokens(8, 100), "image": Pixels((1, 2, 2))}
FAILED, GONE = r"nothing was answered", r"cannot be reached, and nothing was answered; try again later"
EXPECTED = {
    "a column missing": r"got .*'housing'; expected .*age.*; ",
    "an extra column": r"got .*'salary'.*; expected .*; ",
    "a renamed column": r"got .*'agee'.*; expected .*; ",
    "an unknown category": r"got the category of 'housing': 'castle'; expected one of own, rent; ",
    "NaN": r"got .*age.*; expected .*; ",
    "words for a number": r"got .*age.*; expected .*; ",
    "a number for words": r"got .*housing.*; expected .*; ",
    "a text too long": r"got a text of 17 bytes; expected at most 16; send less of it",
    "invalid UTF-8": r"got .*UTF-8.*; expected .*; ",
    "numbers for a text": r"got .*text.*; expected .*BYTES.*; ",
    "tokens out of the vocabulary": r"got .*100.*; expected .*; ",
    "a negative token": r"got .*-1.*; expected .*; ",
    "a sequence too long": r"got sequences of 9 tokens; expected at most 8; cut them",
    "fractions for tokens": r"got .*; expected .*; ",
    "an image above 1": r"got .*; expected values in \[0, 1\].*; ",
    "an image laid out otherwise": r"got .*; expected .*1, 2, 2.*; ",
    "an image as text": r"got .*; expected .*; ",
    "an API with an error": GONE,
    "an API with a rate limit": GONE,
    "an API with a page": FAILED,
    "an API that takes other fields": FAILED,
}


def young(x):
    """Probabilities (N, 3) of rows, higher in the first class the younger."""
    return np.stack([1 - x[:, 0] / 100, x[:, 0] / 200, x[:, 0] / 200], -1).astype(np.float32)


def uniform(x):
    return np.full((len(x), 3), 1 / 3, np.float32)


@pytest.fixture(scope="module")
def replies(tmp_path_factory):
    """What the client got of each case, over both protocols."""
    folder = tmp_path_factory.mktemp("wrong")
    both = gateway(names=())
    for name, domain in DOMAINS.items():
        model = Straight(young if name == "table" else uniform)
        both.endpoints |= gateway(model, names=(name,), domain=domain, inputs=tuple(domain.tensors())).endpoints
    api = Api(json_api.label_and_score)
    with pytest.MonkeyPatch.context() as patch, serving(api) as url:
        patch.setenv("FEINT_CACHE", str(folder / "cache"))
        patch.setattr("feint.victims.remote.PAUSE", 0.0)  # the API is asked in each case
        (folder / "victim.toml").write_text(
            f'url = "{url}"\nclasses = {json.dumps(CLASSES)}\ntemplate = \'{{"features": "$row"}}\'\nretries = 0\n'
        )
        raw = victims.load_raw(folder / "victim.toml")
        victims.ModelFile("victim.toml", raw.stated_adapter(TABLE), None, ()).write(folder / "model.toml")
        loaded = torch_backend.load(TorchSettings(torch=str(folder / "model.toml")), "api")
        both.endpoints |= gateway(
            loaded.pipeline, names=("api",), domain=TABLE, classes=2, inputs=tuple(TABLE.tensors())
        ).endpoints
        hours = {"Retry-After": "7200"}  # a client is not kept waiting for so long
        api.failures += [status(500), status(429, **hours), page(), status(422)] * 2
        with running(both) as web, calling(both) as rpc:
            yield json.loads(run_script("interop", "wrong_inputs_client.py", web.removeprefix("http://"), rpc, "k"))
        loaded.close()
    assert not api.failures


@pytest.mark.parametrize("wire", ["REST", "gRPC"])
@pytest.mark.parametrize("case", EXPECTED)
def test_a_client_reads_got_expected_and_remedy(replies, wire, case):
    assert re.search(EXPECTED[case], replies[wire][case]), replies[wire][case]
    assert "\n" not in replies[wire][case]


@pytest.mark.parametrize("case", EXPECTED)
def test_both_protocols_say_the_same(replies, case):
    rest, rpc = (re.sub(r"^\[[\w.]+\] ", "", replies[wire][case]) for wire in ("REST", "gRPC"))
    assert rest == rpc


@pytest.mark.parametrize("wire", ["REST", "gRPC"])
def test_columns_are_matched_by_name(replies, wire):
    np.testing.assert_allclose(replies[wire]["columns in another order"], young(np.array([[20.0]])), rtol=1e-6)
