"""What is in deploy/ passes its own linters, and says what the gateway understands."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx2
import pytest
import yaml
from benchmarks.load.processes import free_port
from tests.support.gateways import gateway, record
from tests.support.graph_files import whole

from feint.gateway.settings_file import settings
from feint.gateway.telemetry.observers import Telemetry

DEPLOY = Path(__file__).parents[1] / "deploy"
LINTERS = {
    "hadolint": ["Containerfile"],
    "yamllint": ["--strict", "."],
    "check-jsonschema": ["--builtin-schema", "vendor.compose-spec", "compose.yaml"],
    "kubernetes-validate": ["kubernetes.yaml"],
}


@pytest.mark.parametrize("linter", LINTERS)
def test_its_linter_finds_nothing(linter):
    beside = Path(sys.executable).parent / linter  # installed with the tests
    done = subprocess.run([beside, *LINTERS[linter]], cwd=DEPLOY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("check", [["config", "--syntax-only", "prometheus.yml"], ["rules", "alerts.yml"]])
def test_prometheus_reads_its_files(check):
    if shutil.which("promtool") is None:
        pytest.skip("no promtool here: apt-get install prometheus")
    done = subprocess.run(["promtool", "check", *check], cwd=DEPLOY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


SERVE = Path(__file__).parents[1] / ".venv" / "serve" / "bin" / "python"
GATEWAY = """
[server]
rest_port = {port}
grpc_port = 0
[keys]
file = "keys.db"
[models.toy]
path = "toy.onnx"
"""


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.skipif(not SERVE.exists(), reason="no .venv/serve: make .venv/serve")
def test_what_the_image_installs_serves_without_torch(tmp_path):
    def command(*words):
        return [SERVE, "-c", "from feint.cli import main; main()", *words]

    done = subprocess.run(
        command("train", "--data", "digits", "--network", "mlp", "--out", "v"), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "without torch" in done.stderr
    assert "Traceback" not in done.stderr
    whole(tmp_path / "toy.onnx")
    port = free_port()
    (tmp_path / "gateway.toml").write_text(GATEWAY.format(port=port))
    adding = subprocess.run(command("keys", "add", "ann"), cwd=tmp_path, capture_output=True, text=True, check=True)
    with subprocess.Popen(command("serve", "gateway.toml"), cwd=tmp_path, stdout=subprocess.PIPE) as served:
        try:
            assert served.stdout is not None
            assert any(b'"message":"serving http' in line for line in served.stdout)
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [0.0, 1.0, 0.5, 0.2]}]}
            key = {"Authorization": f"Bearer {adding.stdout.strip()}"}
            answer = httpx2.post(f"http://127.0.0.1:{port}/v2/models/toy/infer", json=body, headers=key).json()
        finally:
            served.terminate()
            served.stdout.read()
    assert served.returncode == 0
    assert sum(answer["outputs"][0]["data"]) == pytest.approx(1, abs=1e-5)


def manifests(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def in_kubernetes():
    (secret,) = [manifest for manifest in manifests("kubernetes.yaml") if manifest["kind"] == "Secret"]
    return secret["stringData"]["gateway.toml"]


TEXTS = {file.name: file.read_text() for file in DEPLOY.glob("*.toml")} | {"kubernetes.yaml": in_kubernetes()}


@pytest.mark.parametrize("name", TEXTS)
def test_the_gateway_reads_its_settings(name):
    read = settings(tomllib.loads(TEXTS[name]), DEPLOY)
    assert read.models
    assert read.server.host == "0.0.0.0"
    if name != "upstream.toml":  # which nobody but the gateway reaches
        assert read.keys.file is not None
        assert read.ledger.store.startswith("redis://")  # that of all replicas


def test_metrics_of_the_alerts_are_exported(tmp_path):
    operator, served = Telemetry(audit_log=tmp_path / "audit.jsonl"), gateway()
    served.upstreams, served.certificate_expires = frozenset(served.endpoints), 0.0
    operator.attach(served)
    operator(record())
    assert operator.metrics is not None
    exported = set(re.findall(r"^(feint_\w+)", operator.metrics.text().decode(), re.MULTILINE))
    operator.close()
    asked = set(re.findall(r"feint_\w+", (DEPLOY / "alerts.yml").read_text()))
    assert asked
    assert asked <= exported


def test_files_that_are_mounted_are_there():
    (compose,) = manifests("compose.yaml")
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./") and "." in source[2:]:
                assert (DEPLOY / source).is_file(), source


def of_kind(kind):
    return [manifest for manifest in manifests("kubernetes.yaml") if manifest["kind"] == kind]


def labels_of_the_pods():
    (deployment,) = of_kind("Deployment")
    return deployment["spec"]["template"]["metadata"]["labels"]


def test_a_pod_has_time_to_start_and_is_probed_for_what_it_can_do():
    (deployment,) = of_kind("Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    paths = {name: probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    live, ready = "/v2/health/live", "/v2/health/ready"
    assert paths == {"startupProbe": live, "livenessProbe": live, "readinessProbe": ready}


def test_a_drained_node_leaves_a_replica():
    (budget,), (deployment,) = of_kind("PodDisruptionBudget"), of_kind("Deployment")
    assert budget["spec"]["selector"]["matchLabels"] == labels_of_the_pods()
    assert budget["spec"]["maxUnavailable"] < deployment["spec"]["replicas"]


def test_nobody_but_the_gateway_reaches_what_is_behind_it():
    behind, around = (policy["spec"] for policy in of_kind("NetworkPolicy"))
    (rule,) = behind["ingress"]
    assert rule == {"from": [{"podSelector": {"matchLabels": labels_of_the_pods()}}]}
    ((guarded,), (asked,)) = (
        behind["podSelector"]["matchExpressions"],
        around["egress"][-1]["to"][0]["podSelector"]["matchExpressions"],
    )
    assert set(guarded["values"]) <= set(asked["values"])
    assert around["podSelector"]["matchLabels"] == labels_of_the_pods()


def test_the_unit_of_systemd_is_one(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    unit = tmp_path / "feint.service"
    unit.write_text((DEPLOY / "feint.service").read_text().replace("/opt/feint/bin/feint", "/bin/true"))
    for check in (["verify"], ["security", "--offline=yes", "--threshold=30"]):
        done = subprocess.run(["systemd-analyze", *check, unit], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_kserve_is_given_the_gateway():
    (service,) = manifests("kserve.yaml")
    (container,) = service["spec"]["predictor"]["containers"]
    assert service["kind"] == "InferenceService"
    assert container["name"] == "kserve-container"
    volumes = {volume["name"] for volume in service["spec"]["predictor"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
