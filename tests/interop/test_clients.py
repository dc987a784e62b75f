"""Other people's clients talk to the gateway, each from an environment of its own."""

import json
import subprocess

import httpx2
import pytest
from tests.interop.environments import run_script, tool
from tests.support.gateways import Straight, calling, gateway, running

from feint.errors import OverBudget
from feint.gateway.app import Limits

pytestmark = pytest.mark.interop


def refuse(asked, account):
    raise OverBudget(f"{len(asked)} queries", "none", "ask for more")


@pytest.fixture
def served():
    both = gateway(limits=Limits(batch=8))
    both.endpoints["dear"] = gateway(Straight(admit=refuse), names=("dear",)).endpoints["dear"]
    return both


def test_tritonclient_in_every_mix_of_json_and_binary(served):
    with running(served) as url, calling(served) as address:
        assert run_script("interop", "triton.py", url.removeprefix("http://"), address, "k") == "21 8"


def test_open_inference_openapi(served):
    with running(served) as url:
        assert run_script("interop", "openapi_client.py", url, "k") == "ok"


def test_kserves_client(served):
    with running(served) as url:
        assert run_script("kserve", "kserve_client.py", url, "k") == "ok"


EMPTY = {
    "type": ["object", "null"],
    "properties": {name: {"type": "null"} for name in ("binary_data_size", "shared_memory_region")},
}


def narrowed(document):
    """The document for the model toy alone: what it says is valid is to be answered, and everything else refused."""
    schemas = document["components"]["schemas"]
    data = {"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 8, "maxItems": 8}
    fields = {"name": {"const": "pixels"}, "shape": {"const": [2, 1, 2, 2]}, "datatype": {"const": "FP32"}}
    schemas["InputTensor"]["properties"] |= fields | {"data": data, "parameters": EMPTY}
    schemas["InputTensor"]["required"].append("data")
    schemas["InferRequest"]["properties"]["inputs"]["maxItems"] = 1
    schemas["RequestedOutput"]["properties"]["name"] = {"const": "p"}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                parameter["schema"] |= {"model": {"const": "toy"}, "version": {"const": "1"}}.get(parameter["name"], {})
            if path.endswith("infer"):  # raw bytes have no schema
                del operation["requestBody"]["content"]["application/octet-stream"]
                operation["parameters"] = [it for it in operation["parameters"] if it["in"] == "path"]
    return document


def test_schemathesis(served, tmp_path):
    """As the document says: each status and body, what is valid answered, what is not refused, no key no answer."""
    command = tool("interop", "schemathesis")
    with running(served) as url:
        document = httpx2.get(f"{url}/openapi.json").json()
        for name, it in (("any", document), ("toy", narrowed(json.loads(json.dumps(document))))):
            (tmp_path / f"{name}.json").write_text(json.dumps(it))
            checks = ["--exclude-checks", "positive_data_acceptance"] * (name == "any")  # it knows no model's tensors
            options = [
                "--url",
                url,
                "-H",
                "Authorization: Bearer k",
                "--max-examples",
                "20",
                "--seed",
                "1",
                "--no-color",
            ]
            run = subprocess.run(
                [command, "run", f"{name}.json", *options, *checks],
                capture_output=True,
                text=True,
                timeout=120,
                cwd=tmp_path,
                check=False,
            )
            assert run.returncode == 0, run.stdout
