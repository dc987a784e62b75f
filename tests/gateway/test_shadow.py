"""Ladders in shadow: the default, the threshold of the settings, and the report before they are enforced."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.load.processes import free_port
from tests.support import graph_files
from tests.support.gateways import ANYBODY, DOMAIN, Straight
from tests.support.problems import Linear

from feint.cli.shadow import _lines
from feint.defense import Defense, Ladder
from feint.defenses.access import Budget, Refuse, client_state
from feint.defenses.access.bursts import ORDERED
from feint.defenses.access.client_state import ClientState
from feint.defenses.access.cohort import ACCOUNTS, ALARMS, LEVEL
from feint.errors import BadRecipe, Suspected
from feint.gateway import accounts
from feint.gateway.array_query import ArrayQuery
from feint.gateway.backends import torch_backend
from feint.gateway.backends.base import LoadedModel
from feint.gateway.backends.onnx_model import Outputs
from feint.gateway.backends.onnx_pipeline import OnnxPipeline
from feint.gateway.backends.torch_backend import of_service
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.server.bootstrap import build_app, describe
from feint.gateway.server.service import load_service
from feint.gateway.server.shadow import LOADERS, Drift, PooledEvidence, report_of, shadow_report
from feint.gateway.settings import LedgerSettings, OnnxSettings, Settings, TorchSettings
from feint.ledger import Account
from feint.onnx_manifest import RungSpec
from feint.service import Service

LADDER = Ladder([], [Defense(), Defense(access=[Refuse()])])


def opened(defense, **table):
    settings = Settings({"toy": TorchSettings(torch="", **table)}, **ANYBODY)
    loaded = of_service(Service(Linear(), defense), "toy", domain=DOMAIN)
    return build_app(settings, {"toy": loaded}, authenticator=None)


@pytest.mark.parametrize(
    ("defense", "table", "shadow"),
    [
        (LADDER, {}, True),
        (LADDER, {"shadow": False}, False),
        (Defense(access=[Budget(5)]), {}, False),
        (Defense(access=[Budget(5)]), {"shadow": True}, True),
    ],
)
def test_a_ladder_is_in_shadow_unless_the_settings_say_otherwise(defense, table, shadow):
    state = opened(defense, **table)
    assert state.gateway.endpoints["toy"].shadow is shadow
    assert ("shadow = false" in "\n".join(describe(state))) is shadow


@pytest.mark.parametrize("shadow", [True, False])
def test_a_service_of_python_decides_itself(shadow):
    settings = Settings({"toy": TorchSettings(torch="")}, **ANYBODY)
    state = load_service(Service(Linear(), replace(LADDER, shadow=shadow)), settings, domain=DOMAIN)
    assert state.gateway.endpoints["toy"].shadow is shadow


def test_a_ladder_on_the_command_line_is_enforced_on_demand(run_cli, tmp_path):
    path = graph_files.ladder(tmp_path / "ladder.onnx")
    for options, shadow in {"": True, " --enforce": False}.items():
        code, out, _ = run_cli(f"serve {path} --check --port {free_port()} --grpc-port 0{options}")
        assert code == 0
        assert ("in shadow mode" in out) is shadow


def test_rungs_of_torch_models_begin_at_multiples_of_the_threshold(monkeypatch):
    monkeypatch.setattr(torch_backend, "load_any", lambda *_, **__: Linear())
    monkeypatch.setattr(torch_backend, "parse_defense", lambda *_, **__: LADDER)
    loaded = torch_backend.load(TorchSettings(torch="", shape=DOMAIN.shape, threshold=1.5), "toy")
    assert loaded.pipeline.defense.at == (0, 1.5)
    loaded.close()


@pytest.mark.parametrize(("ledger", "says"), [("memory:", "a ledger in memory"), ("sqlite:l.db", "without a ladder")])
def test_a_report_takes_a_ledger_that_lasts_and_a_ladder(run_cli, tmp_path, ledger, says):
    graph_files.whole(tmp_path / "toy.onnx")
    settings = f'keys.anonymous = true\nledger.store = "{ledger}"\nmodels.toy.path = "toy.onnx"\n'
    (tmp_path / "gateway.toml").write_text(settings)
    code, _, err = run_cli(f"shadow {tmp_path / 'gateway.toml'}")
    assert code == 2
    assert says in err
    assert "did you mean 'toy'" in run_cli(f"shadow {tmp_path / 'gateway.toml'} --model tob")[2]


class Graph:
    """A graph of two rungs and a detector whose evidence is the score."""

    access = ()
    rungs = RungSpec(), RungSpec(1.0, (Refuse(),))

    @property
    def detectors(self):
        return [self]

    campaign = None

    def observe_readings(self, scores, query, account):
        return float(scores.max())


@pytest.mark.parametrize(("threshold", "refused"), [(1.0, True), (1.5, False)])
def test_a_threshold_multiplies_the_evidence_of_every_rung(threshold, refused):
    pipeline = OnnxPipeline(Graph(), None, threshold=threshold)
    q = np.full((1, 3), 1 / 3, np.float32)
    query, outputs = ArrayQuery(np.zeros((1, 1, 2, 2), np.float32), "c"), Outputs([q, q], [np.array([1.2])], None)
    answer = pipeline.answer(query, outputs, Account("c"))
    if refused:
        with pytest.raises(Suspected):
            asyncio.run(answer)
    else:
        assert asyncio.run(answer) is q


def test_a_threshold_is_above_0():
    with pytest.raises(BadRecipe, match="threshold = 0"):
        OnnxSettings(path="x", threshold=0.0)


def client(evidence, queries=10, surprise=1.0, p01=0.0, p05=0.0):
    names = "evidence", "drift/queries", "drift/surprise", "drift/p01", "drift/p05"
    return dict(zip(names, (evidence, queries, surprise * queries, p01, p05), strict=True))


def test_the_report_counts_whom_the_ladder_would_accuse():
    clients = [(f"c{i}", client(i / 100)) for i in range(200)]
    report = report_of("toy", clients, level=1.0, share=0.05)
    assert (report.clients, report.accused) == (200, 100)
    assert 0.5 < report.bound < 0.57
    assert report.calibration.level == pytest.approx(1.90)
    assert sum(totals["evidence"] >= report.calibration.level for _, totals in clients) == 9
    assert "200 clients for a share of 0.001" in report_of("toy", clients, level=1.0, share=0.001).missing


def test_the_report_names_the_clients_whose_queries_differ_most():
    clients = [("plain", client(0.1, 90, 1.0, 1, 4)), ("odd", client(0.9, 10, 3.0, 4, 6)), ("silent", {})]
    report = report_of("toy", clients, level=1.0, share=0.5)
    assert report.drift == Drift(100, pytest.approx(1.2), (0.05, 0.1))
    assert [name for name, _ in report.furthest] == ["odd", "plain"]


def test_the_report_says_what_a_campaign_would_do():
    """All clients of a new application begin in the same hour: the alarm is seen in shadow, before it costs them."""
    clients = [(f"c{i}", client(0.1) | {LEVEL: 1.0}) for i in range(98)] + [("a", {LEVEL: 25.0}), ("b", {LEVEL: 31.0})]
    shared = {ACCOUNTS: 100.0, ALARMS: 2.0, "campaign/e/24": 1.0, "campaign/e/30": 1.0}
    report = report_of("toy", clients, level=1.0, share=0.5, shared=shared)
    assert report.pooled == PooledEvidence(alarms=2, named=2)
    assert "campaign: 2 alarms" in (said := "\n".join(_lines(report, 0.5)))
    assert "fit the campaign again" in said
    quiet = replace(report, pooled=PooledEvidence(0, 0))
    assert "again" not in "\n".join(_lines(quiet, 0.5))
    assert report_of("toy", clients, level=1.0, share=0.5).pooled is None


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Those of a model with two rungs, and of a ledger in SQLite."""

    async def ladder(table, name):
        return LoadedModel(None, Straight(), [], rungs=2)

    monkeypatch.setitem(LOADERS, OnnxSettings, ladder)
    store = LedgerSettings(f"sqlite:{tmp_path / 'ledger.db'}")
    return Settings({"toy": OnnxSettings(path=tmp_path / "toy.onnx")}, keys=ANYBODY["keys"], ledger=store)


def test_the_report_sees_the_queries_of_linked_clients_in_the_account_of_their_group(settings):
    async def report():
        async with accounts.stored(settings, "toy") as opened:
            session = LedgerSession(opened)
            for name, group in (("ann", "card"), ("bob", "")):
                transaction = session.begin(name, group)
                transaction.group.add_all(client(0.2, queries=50, surprise=2.0))
                transaction.accuse(0.2)
                assert await session.commit(transaction)
        return await shadow_report(settings, "toy", 0.5)

    result = asyncio.run(report())
    assert result.clients == 2
    assert result.bursts == []
    assert result.drift.queries == 100
    assert {name for name, _ in result.furthest} == {"card (group)", "bob"}


def test_the_report_says_who_asks_in_bursts_and_what_to_declare(settings):
    """A camera that moves, whose frames are nearer to each other than scenes, beside a client of single images."""
    random = np.random.default_rng(0)
    single = random.integers(2**64, size=150, dtype=np.uint64)
    frames = single[:30].repeat(5) ^ (np.uint64(1) << random.integers(64, size=(4, 150), dtype=np.uint64)).sum(
        0, dtype=np.uint64
    )
    pan = np.bitwise_xor.accumulate(np.uint64(1) << random.integers(64, size=150, dtype=np.uint64))

    async def report():
        async with accounts.stored(settings, "toy") as opened:
            session = LedgerSession(opened)
            asked = ("camera", "", frames), ("video", "", pan), ("ann", "card", single), ("bob", "", single[:20])
            for name, group, codes in asked:
                transaction, state = session.begin(name, group), ClientState(codes, np.zeros(4)).packed()
                transaction.group.change((), client_state.NAME, lambda totals, _, state=state: (totals, state))
                transaction.accuse(0.2)
                assert await session.commit(transaction)
        return await shadow_report(settings, "toy", 0.5)

    result = asyncio.run(report())
    assert result.bursts == [("video", ORDERED), ("camera", 5), ("card (group)", 1)]
    said = "\n".join(_lines(result, 0.5))
    assert "bursts: 1 of the 3 clients" in said
    assert "video: more than 30 queries in a row" in said
    assert "1 ask in an order" in said
    assert "camera: about 5 queries in a row" in said
    assert "SequentialTest(burst=5)" in said
    assert "bursts: not known" in "\n".join(_lines(replace(result, bursts=()), 0.5))
