"""Replicas that would answer a client in different ways notice each other through the ledger."""

import asyncio
import logging
from dataclasses import replace

import pytest
from tests.support.gateways import ANYBODY, CLASSES, DOMAIN, INPUTS, Straight
from tests.support.graph_files import bare, whole
from tests.support.waiting import eventually

from feint.gateway.auth.keyfile import Keys
from feint.gateway.auth.keys import KeyFileAuth
from feint.gateway.backends.registry import load_upstream
from feint.gateway.changes import REPLICAS
from feint.gateway.endpoint import FACTS, ModelEndpoint
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.server import app_state
from feint.gateway.server.replicas import SILENT, ReplicaWatch
from feint.gateway.server.run import running
from feint.gateway.settings import (
    KeySettings,
    LedgerSettings,
    OnnxSettings,
    ServerSettings,
    Settings,
    UpstreamSettings,
)
from feint.gateway.stores.base import snapshot_of
from feint.gateway.stores.memory import MemoryStore
from feint.openinference.model_spec import ModelSpec


class Clock(MemoryStore):
    seconds = 1e9

    def now(self):
        return self.seconds


class Replica:
    """A process that answers by `facts`."""

    def __init__(self, store, **facts):
        spec = ModelSpec("toy", DOMAIN, "p", CLASSES, INPUTS)
        self.endpoint = ModelEndpoint(spec, Straight(), LedgerSession(store))
        self.facts = facts
        self.watch = ReplicaWatch(self.endpoint, lambda: self.facts)

    async def look(self):
        await self.watch.look()
        return self.endpoint.replicas_differ


def seen(*steps):
    """What the first of two replicas notices after each step: the seconds that pass, and facts of the second."""
    store = Clock()

    async def main():
        first, noticed = Replica(store, mode="shadow", keys="1"), []
        await first.look()
        for seconds, facts in steps:
            store.seconds += seconds
            if facts is not None:
                await Replica(store, **facts).look()
            noticed.append(await first.look())
        return noticed

    return asyncio.run(main())


SAME, ENFORCED = {"mode": "shadow", "keys": "1"}, {"mode": "enforce", "keys": "1"}


def test_a_replica_that_differs_is_noticed():
    assert seen((2, SAME), (2, ENFORCED), (2, {"mode": "enforce", "keys": "2"})) == [(), ("mode",), ("mode", "keys")]


def test_a_replica_that_went_away_is_forgotten():
    assert seen((2, ENFORCED), (SILENT / 2, None), (SILENT, None)) == [("mode",), ("mode",), ()]


def test_replicas_notice_each_other_after_a_clock_was_set_back():
    day = -86400
    assert seen((2, ENFORCED), (day, None), (2, ENFORCED), (2, None)) == [("mode",), (), ("mode",), ("mode",)]


def test_what_was_announced_before_a_process_began_to_serve_does_not_count():
    store = Clock()

    async def main():
        await Replica(store, mode="enforce").look()
        store.seconds += 1
        return await Replica(store, mode="shadow").look()

    assert asyncio.run(main()) == ()


def test_a_process_does_not_differ_from_what_it_was_before():
    """As when a key is added: all replicas read the new one, each at its own moment."""
    store = Clock()

    async def main():
        replicas, noticed = [Replica(store, keys="1") for _ in range(2)], []
        for keys in ("1", "2", "2"):
            for replica in replicas:
                replica.facts = {"keys": keys}
                store.seconds += 1
                noticed.append(await replica.look())
        return noticed

    assert asyncio.run(main()) == [()] * 6


def test_the_ledger_keeps_no_announcement_for_long():
    store = Clock()

    async def main():
        replica = Replica(store)
        for keys in range(100):
            replica.facts = {"keys": str(keys)}
            store.seconds += 3
            await replica.look()
        return await snapshot_of(store, REPLICAS)

    assert len(asyncio.run(main()).totals) <= SILENT / 3 + 2


def settings(folder, **changes):
    models = {"toy": OnnxSettings(path=folder / "toy.onnx", shadow=False)}
    return replace(
        Settings(models, keys=ANYBODY["keys"], ledger=LedgerSettings(f"sqlite:{folder / 'ledger.db'}")), **changes
    )


def other(folder, what):
    """The settings of a replica that differs in one fact."""
    (toy,) = settings(folder).models.values()
    if what == "keys":
        Keys(folder / "keys.db", new=True).add("ann")
    table = {
        "mode": {"models": {"toy": replace(toy, shadow=True)}},
        "model": {"models": {"toy": replace(toy, path=bare(folder / "other.onnx"))}},
        "rules": {"models": {"toy": replace(toy, access=("Budget(5)",))}},
        "keys": {"keys": KeySettings(folder / "keys.db", anonymous=True)},
        "limits": {"server": ServerSettings(max_batch=7)},
        "ledger": {"ledger": LedgerSettings(f"sqlite:{folder / 'ledger.db'}", readiness=False)},
    }
    return settings(folder, **table[what])


@pytest.mark.parametrize("what", FACTS)
def test_log_and_metric_say_what_differs(what, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(app_state, "EVERY", 0.05)
    whole(tmp_path / "toy.onnx")
    with (
        caplog.at_level(logging.WARNING, "feint.gateway"),
        running(settings(tmp_path)) as first,
        running(other(tmp_path, what)) as second,
    ):
        for server in (first, second):
            eventually(lambda server=server: server.gateway.endpoints["toy"].replicas_differ)
            assert server.gateway.endpoints["toy"].replicas_differ == (what,)
    line = f"toy: another process that uses the ledger differs in its {what}:"
    assert [message.startswith(line) for message in caplog.messages].count(True) == 2


@pytest.mark.parametrize("change", [{"logits": True}, {"output": "other"}])
def test_replicas_that_read_an_upstreams_answers_otherwise_differ(change):
    one = UpstreamSettings(upstream="http://127.0.0.1:1", shape=(1, 2, 2))
    prints = [asyncio.run(load_upstream(table, "toy")).fingerprint for table in (one, one, replace(one, **change))]
    assert prints[0] == prints[1] != prints[2]


def test_replicas_of_one_settings_file_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(app_state, "EVERY", 0.02)
    whole(tmp_path / "toy.onnx")
    Keys(tmp_path / "keys.db", new=True).add("ann")
    one = settings(tmp_path, keys=KeySettings(tmp_path / "keys.db"))
    with running(one) as first, running(one) as second:
        stores = [server.gateway.endpoints["toy"].session.store for server in (first, second)]
        assert stores[0] is not stores[1]
        watched = []
        monkeypatch.setattr(ReplicaWatch, "look", counted(ReplicaWatch.look, watched))
        eventually(lambda: len(watched) >= 8)
        assert [server.gateway.endpoints["toy"].replicas_differ for server in (first, second)] == [(), ()]


def counted(look, calls):
    async def counting(self):
        await look(self)
        calls.append(self)

    return counting


def test_the_fingerprint_of_keys_changes_with_what_they_allow_and_holds_no_secret(tmp_path):
    file = Keys(tmp_path / "keys.db", new=True)
    text, key = file.add("ann")
    authenticator = KeyFileAuth(tmp_path / "keys.db")
    seen = [authenticator.fingerprint(), authenticator.fingerprint()]
    file.add("bob", models=["toy"])
    seen.append(authenticator.fingerprint())
    file.revoke(key.id)
    seen.append(authenticator.fingerprint())
    authenticator.close()
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert not any(text in shown or key.id in shown or "ann" in shown for shown in seen)


def test_a_lost_file_of_keys_is_a_difference_and_no_lost_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(app_state, "EVERY", 0.02)
    whole(tmp_path / "toy.onnx")
    for name in ("one.db", "other.db"):
        Keys(tmp_path / name, new=True)
    one, two = (settings(tmp_path, keys=KeySettings(tmp_path / name)) for name in ("one.db", "other.db"))
    with running(one) as first, running(two):
        endpoint = first.gateway.endpoints["toy"]
        eventually(lambda: endpoint.session.mark)
        assert not endpoint.replicas_differ
        (tmp_path / "other.db").unlink()
        eventually(lambda: endpoint.replicas_differ == ("keys",))
        assert first.gateway.ready
