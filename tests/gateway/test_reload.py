"""A reload leaks nothing, takes renewed certificates, and says what it does not take."""

import asyncio
import gc
import json
import logging
import os
import re
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import httpx2
import pytest
from tests.support.certificates import certificate, expire
from tests.support.gateways import ANYBODY, ask
from tests.support.graph_files import bare, output_defense, whole
from tests.support.upstreams import upstream
from tests.support.waiting import PATIENCE

from feint.errors import BadRecipe
from feint.gateway.auth.keyfile import Keys
from feint.gateway.backends import registry
from feint.gateway.server.bootstrap import load
from feint.gateway.server.run import running
from feint.gateway.server.server_handle import RunningServer
from feint.gateway.settings import (
    KeySettings,
    LedgerSettings,
    OnnxSettings,
    OperatorSettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from feint.gateway.telemetry.metrics import Metrics
from feint.gateway.telemetry.observers import Telemetry


def reload(server, settings):
    """Reload, and wait until what was served before is closed."""

    async def make(ledgers):
        return await load(settings, ledgers=ledgers)

    asyncio.run_coroutine_threadsafe(server.reload(make), server.loop).result(60)


@pytest.fixture
def settings(tmp_path):
    whole(tmp_path / "toy.onnx")
    Keys(tmp_path / "keys.db", new=True)
    return Settings(
        {"toy": OnnxSettings(path=tmp_path / "toy.onnx")},
        keys=KeySettings(tmp_path / "keys.db", anonymous=True),
        ledger=LedgerSettings(f"sqlite:{tmp_path}/ledger.db"),
    )


def descriptors():
    return len([*Path("/proc/self/fd").iterdir()])


def lasting():
    """Return how many descriptors stay open: every second a checkpoint of the ledger opens its file for a moment."""
    counts = []
    for _ in range(20):
        counts.append(descriptors())
        time.sleep(0.01)
    return min(counts)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_a_reload_closes_what_it_replaces_at_once(settings):
    with running(settings) as server:
        reload(server, settings)
        before = lasting()
        for _ in range(5):
            reload(server, settings)
        assert lasting() <= before


def test_a_reload_that_fails_leaves_nothing_open(settings):
    from feint.errors import FeintError

    wrong = replace(settings, ledger=LedgerSettings("redis://127.0.0.1:1/0"))

    async def tried():
        for _ in range(3):
            with pytest.raises(FeintError):
                await load(wrong)
        before = descriptors()
        for _ in range(5):
            with pytest.raises(FeintError):
                await load(wrong)
        assert descriptors() <= before

    asyncio.run(tried())


@pytest.mark.slow
def test_two_hundred_reloads_leak_nothing(settings):
    with running(settings) as server, httpx2.Client(base_url=server.url) as client:
        for _ in range(20):
            reload(server, settings)
            assert ask(client).status_code == 200
        gc.collect()
        files, memory = descriptors(), resident()
        for _ in range(200):
            reload(server, settings)
            assert ask(client).status_code == 200
        gc.collect()
        assert descriptors() <= files + 2
        assert resident() - memory < 24


def served(port):
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))


def test_renewed_certificates_are_taken_by_both_protocols(settings, tmp_path):
    certificate(tmp_path, "first")
    at = ServerSettings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    settings = replace(settings, server=at)
    with running(settings) as server:
        renewed = certificate(tmp_path, "second")
        reload(server, settings)
        expected = ssl.PEM_cert_to_DER_cert(renewed.decode())
        assert served(server.rest_port) == expected
        with grpc.secure_channel(f"localhost:{server.grpc_port}", grpc.ssl_channel_credentials(renewed)) as channel:
            live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
            assert live(b"", timeout=20)


def test_a_certificate_is_read_once_at_a_start_and_once_at_a_reload(settings, tmp_path, monkeypatch):
    certificate(tmp_path, "first")
    at = ServerSettings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    settings, read, load_chain = replace(settings, server=at), [], ssl.SSLContext.load_cert_chain
    monkeypatch.setattr(
        ssl.SSLContext, "load_cert_chain", lambda *given, **more: read.append(1) or load_chain(*given, **more)
    )
    with running(settings) as server:
        renewed = certificate(tmp_path, "second")

        async def make(ledgers):
            state = await load(settings, ledgers=ledgers)
            for file in ("cert.pem", "key.pem"):
                (tmp_path / file).unlink()
            return state

        asyncio.run_coroutine_threadsafe(server.reload(make), server.loop).result(60)
        expected = ssl.PEM_cert_to_DER_cert(renewed.decode())
        assert served(server.rest_port) == served(server.grpc_port) == expected
    assert len(read) == 4  # for HTTP and for gRPC


def test_reloads_that_come_while_one_is_slow_are_one_and_the_audit_log_is_opened_at_once(settings, tmp_path):
    log, made, go = tmp_path / "audit.jsonl", [], asyncio.Event()

    async def main():
        telemetry = Telemetry(audit_log=log)
        server = RunningServer(await load(settings), telemetry=telemetry, any_port=True)

        async def make(ledgers):
            made.append(1)
            await go.wait()
            return await load(settings, ledgers=ledgers)

        reloads = [asyncio.ensure_future(server.reload(make)) for _ in range(5)]
        await asyncio.sleep(0.1)
        log.rename(tmp_path / "audit.jsonl.1")
        reloads.append(asyncio.ensure_future(server.reload(make)))
        await asyncio.sleep(0.1)
        assert log.exists()
        assert len(made) == 1
        go.set()
        await asyncio.gather(*reloads)
        await server.opened.close()
        telemetry.close()

    asyncio.run(main())
    assert len(made) == 2


@pytest.mark.parametrize("kind", ["a graph", "a model behind a server"])
@pytest.mark.parametrize("part", ["rules", "_output_defense"])
def test_a_reload_that_takes_long_keeps_nobody_waiting(settings, tmp_path, monkeypatch, part, kind):
    """To name the rules that there are, where one is misspelled, torch is imported: all waited for eight seconds."""
    begun, go, original = threading.Event(), threading.Event(), getattr(registry, part)

    def slow(*given):
        begun.set()
        assert go.wait(PATIENCE)
        return original(*given)

    outputs = output_defense(tmp_path / "q.onnx")
    with upstream() as other, running(settings) as server:
        model = UpstreamSettings(upstream=other.url, outputs=outputs, classes=3)
        if kind == "a graph":
            model = OnnxSettings(path=bare(tmp_path / "bare.onnx"), outputs=outputs)
        fresh = replace(settings, models={**settings.models, "other": model})
        monkeypatch.setattr(registry, part, slow)
        with ThreadPoolExecutor(1) as thread:
            reloaded = thread.submit(reload, server, fresh)
            assert begun.wait(PATIENCE)
            try:
                assert httpx2.get(f"{server.url}/v2/health/ready", timeout=PATIENCE / 4).status_code == 200
            finally:
                go.set()
            reloaded.result(PATIENCE)
        assert [*server.gateway.endpoints] == ["toy", "other"]


def test_slow_upstreams_do_not_wait_for_each_other():
    together = threading.Barrier(3)

    def slow(handler):
        together.wait(60)

    with upstream() as one, upstream() as two, upstream() as three:
        servers = one, two, three
        for server in servers:
            server.fault = slow
        models = {
            f"m{i}": UpstreamSettings(upstream=it.url, upstream_model="toy", output="p") for i, it in enumerate(servers)
        }
        with running(Settings(models, **ANYBODY)) as gateway:
            assert gateway.gateway.ready


@pytest.mark.parametrize(("days", "warned"), [(30, ""), (2, "expires in 2 days"), (-1, "has expired")])
def test_the_end_of_a_certificate_is_told(settings, tmp_path, caplog, days, warned):
    certificate(tmp_path, days=1000)
    at = ServerSettings(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    settings = replace(settings, server=at)
    with running(settings) as server:
        certificate(tmp_path, days=abs(days))
        if days < 0:
            expire(tmp_path)
        reload(server, settings)
        assert warned in caplog.text
        assert ("the certificate" in caplog.text) == bool(warned)
        metrics = Metrics()
        metrics.attach(server.gateway)
        (expires,) = re.findall(r"^feint_certificate_expiry_timestamp_seconds (.*)$", metrics.text().decode(), re.M)
        assert float(expires) == pytest.approx(time.time() + 86_400 * days, abs=600)


def test_a_reload_names_the_settings_that_it_does_not_take(settings, caplog):
    changed = replace(
        settings, server=ServerSettings(drain=3.0, max_batch=7), operator=OperatorSettings(traces="http://secret")
    )
    with caplog.at_level(logging.WARNING), running(settings) as server:
        reload(server, changed)
    (line,) = [record.getMessage() for record in caplog.records if "not taken until a restart" in record.getMessage()]
    assert line.endswith("[server] drain, [operator] traces")


def test_what_happens_to_a_gateway_is_in_the_audit_log(tmp_path):
    settings = Settings({"toy": OnnxSettings(path=whole(tmp_path / "toy.onnx"))}, **ANYBODY)

    async def broken(ledgers):
        raise BadRecipe("a line", "another", "mend it")

    async def scene():
        telemetry = Telemetry(audit_log=tmp_path / "audit.jsonl")
        server = RunningServer(await load(settings), telemetry=telemetry, any_port=True)
        await server.start()
        await server.reload(lambda ledgers: load(settings, ledgers=ledgers))
        await server.reload(broken)
        server.stop()
        await server.stopped()
        telemetry.close()

    asyncio.run(scene())
    entered = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    actions = ["gateway started", "settings taken", "settings refused", "gateway stopped"]
    assert [entry["action"] for entry in entered] == actions
    assert entered[0]["models"] == ["toy"]
    assert entered[2]["reason"] == "BadRecipe"


def test_the_gauges_are_those_of_the_models_that_are_served_now(tmp_path):
    toy = OnnxSettings(path=whole(tmp_path / "toy.onnx"))
    before, after = Settings({"toy": toy}, **ANYBODY), Settings({"second": replace(toy, shadow=True)}, **ANYBODY)

    async def scene():
        telemetry = Telemetry()
        server = RunningServer(await load(before), telemetry=telemetry, any_port=True)
        await server.start()
        pages = [telemetry.metrics.text().decode()]
        await server.reload(lambda ledgers: load(after, ledgers=ledgers))
        pages.append(telemetry.metrics.text().decode())
        server.stop()
        await server.stopped()
        return [*pages, telemetry.metrics.text().decode()]

    first, second, stopped = asyncio.run(scene())
    assert 'feint_model_ready{model="toy"} 1.0' in first
    assert 'feint_model_ready{model="second"} 1.0' in second
    assert 'feint_model_ready{model="toy"}' not in second
    assert 'feint_shadow{model="second"} 1.0' in second
    assert 'feint_requests_total{model="second",outcome="failed"} 0.0' in second
    assert "feint_ready 0.0" in stopped
