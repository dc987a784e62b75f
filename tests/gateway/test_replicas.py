"""Replicas that serve a model in different modes notice each other through the ledger."""

import asyncio
import logging

from tests.support.gateways import ANYBODY, CLASSES, DOMAIN, INPUTS, Straight
from tests.support.graph_files import whole
from tests.support.waiting import eventually

from feint.gateway.endpoint import ModelEndpoint
from feint.gateway.server import bootstrap
from feint.gateway.server.replicas import SILENT, ModeWatch
from feint.gateway.server.run import running
from feint.gateway.settings import LedgerSettings, OnnxSettings, Settings
from feint.gateway.stores.memory import MemoryStore
from feint.gateway.transaction import LedgerSession
from feint.openinference.model_spec import ModelSpec


class Clock(MemoryStore):
    seconds = 1e9

    def now(self):
        return self.seconds


def replica(store, *, shadow):
    spec = ModelSpec("toy", DOMAIN, "p", CLASSES, INPUTS)
    return ModelEndpoint(spec, Straight(), LedgerSession(store), shadow=shadow)


def seen(*steps):
    """Return whether the first of two replicas has noticed the second after each step: a mode of that one, or None."""
    store = Clock()

    async def main():
        first = replica(store, shadow=True)
        watch, noticed = ModeWatch(first), []
        for seconds, shadow in steps:
            store.seconds += seconds
            if shadow is not None:
                await ModeWatch(replica(store, shadow=shadow)).look()
            await watch.look()
            noticed.append(first.replicas_differ)
        return noticed

    return asyncio.run(main())


def test_a_replica_in_another_mode_is_noticed():
    assert seen((2, True), (2, False)) == [False, True]


def test_a_replica_that_went_away_is_forgotten():
    assert seen((2, False), (SILENT / 2, None), (SILENT, None)) == [True, True, False]


def test_what_was_announced_before_a_process_began_to_serve_does_not_count():
    assert seen((0, False), (1, None)) == [False, False]


def test_the_log_and_the_metric_name_the_model(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(bootstrap, "EVERY", 0.05)
    path, ledger = whole(tmp_path / "toy.onnx"), LedgerSettings(f"sqlite:{tmp_path / 'ledger.db'}")
    one, other = (
        Settings({"toy": OnnxSettings(path=path, shadow=shadow)}, keys=ANYBODY["keys"], ledger=ledger)
        for shadow in (True, False)
    )
    with caplog.at_level(logging.WARNING, "feint.gateway"), running(one) as first, running(other) as second:
        for server in (first, second):
            eventually(lambda server=server: server.gateway.endpoints["toy"].replicas_differ)
    assert sum("toy: this process serves in mode" in line for line in caplog.messages) == 2
