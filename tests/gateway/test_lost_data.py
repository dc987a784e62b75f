"""A ledger that answers, and has lost data: it is recognised, recorded, and answered as `when_lost` says."""

import asyncio
import contextlib
import fcntl
import os
import pathlib
import secrets
import sqlite3
import subprocess
import sys
import threading
import time

import httpx2
import numpy as np
import pytest
from tests.support.gateways import ANYBODY, ask
from tests.support.graph_files import whole
from tests.support.redis_servers import redis_server
from tests.support.waiting import eventually

from feint.errors import BadInput, DamagedFile, MissingData, NotWritten, StoreRolledBack
from feint.gateway.changes import AccountName, ChangeSet, LedgerMark, Outcome
from feint.gateway.ledger_session import LedgerSession, lost_data
from feint.gateway.server import app_state
from feint.gateway.server.bootstrap import load
from feint.gateway.server.marks import read_marks, write_marks
from feint.gateway.server.run import running
from feint.gateway.settings import LedgerSettings, OnnxSettings, Settings
from feint.gateway.stores.redis import RedisStore
from feint.gateway.stores.sqlite_file import create

CLIENT = "{feint:toy}:client:anonymous"


class SqliteFaults:
    """A ledger in a file, and what may happen to it."""

    def __init__(self, path) -> None:
        self.url, self._path = f"sqlite:{path}", path

    def __enter__(self) -> "SqliteFaults":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def save(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as file, contextlib.closing(self._copy()) as copy:
            file.backup(copy)

    def restore(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as file, contextlib.closing(self._copy()) as copy:
            copy.backup(file)

    def _copy(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self._path}.copy")

    def empty(self) -> None:
        fresh = self._path.with_name("fresh.db")
        create(fresh)
        pathlib.Path(fresh).replace(self._path)
        for end in ("-wal", "-shm"):
            self._path.with_name(self._path.name + end).unlink(missing_ok=True)

    def evict(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as file, file:
            file.execute("DELETE FROM accounts WHERE name = 'anonymous'")


class RedisFaults:
    """A ledger in Redis, and what may happen to it."""

    def __init__(self, folder) -> None:
        self._running = redis_server(folder)

    def __enter__(self) -> "RedisFaults":
        import redis

        self.url = self._running.__enter__().url
        self._server = redis.Redis.from_url(self.url)
        return self

    def __exit__(self, *error) -> None:
        self._running.__exit__(*error)

    def save(self) -> None:
        self._saved = {key: self._server.dump(key) for key in self._server.scan_iter()}

    def restore(self) -> None:
        for key, value in self._saved.items():
            self._server.restore(key, 0, value, replace=True)

    def empty(self) -> None:
        self._server.flushall()

    def evict(self) -> None:
        self._server.delete(CLIENT)


def in_redis(folder, scene):
    """Play a scene on a server of its own."""
    with RedisFaults(folder) as ledger:
        asyncio.run(scene(ledger))


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def ledger(request, tmp_path):
    faults = SqliteFaults(tmp_path / "ledger.db") if request.param == "sqlite" else RedisFaults(tmp_path)
    with faults:
        yield faults


def settings(folder, url: str, when_lost: str = "refuse", mark=None) -> Settings:
    model = OnnxSettings(path=whole(folder / "toy.onnx"), access=("Budget(10)",))
    return Settings({"toy": model}, keys=ANYBODY["keys"], ledger=LedgerSettings(url, when_lost, mark=mark))


@contextlib.contextmanager
def served(folder, url, when_lost="refuse", mark=None):
    """A gateway of a budget of ten, of which five are used; its client, and its records."""
    records = []
    with running(settings(folder, url, when_lost, mark)) as server, httpx2.Client(base_url=server.url) as client:
        server.gateway.endpoints["toy"].observer = records.append
        assert ask(client).status_code == 200
        yield server, client, records


@pytest.mark.parametrize(
    ("version", "committed", "commits", "lost"),
    [(0, True, 6, ""), (0, True, 5, "to 4"), (0, False, 5, ""), (0, False, 4, "to 4"), (None, True, 5, ""),
     (None, True, 4, "to 4"), (0, True, 4, "to 3")],
)  # fmt: skip
def test_number_of_commits_tells_what_was_lost(version, committed, commits, lost):
    """A commit that changed an account is one of those that the ledger counts."""
    name = AccountName("client", "ann")
    outcome = Outcome(committed, {}, LedgerMark("a", commits))
    said = lost_data(LedgerMark("a", 5), {name: 0}, {name: ChangeSet(version)}, outcome)
    assert said == (f"it went back from commit 5 {lost}" if lost else "")


@pytest.mark.parametrize("fault", ["empty", "evict", "restore"])
def test_lost_data_give_no_budget_back(ledger, tmp_path, fault):
    with served(tmp_path, ledger.url) as (_, client, records):
        ledger.save()
        assert [ask(client).status_code for _ in range(2)] == [200, 429]
        getattr(ledger, fault)()
        assert [ask(client).status_code for _ in range(3)] == [503] * 3
    assert (records[-1].outcome, records[-1].reason) == ("failed", "StoreRolledBack")


@pytest.mark.parametrize("fault", ["empty", "evict"])
def test_clients_are_answered_by_the_strongest_defense_where_the_settings_want_it(ledger, tmp_path, fault):
    with served(tmp_path, ledger.url, "strongest") as (_, client, records):
        getattr(ledger, fault)()
        assert [ask(client).status_code for _ in range(4)] == [200] * 4
    assert {(record.outcome, record.reason) for record in records[-4:]} == {("answered", "StoreRolledBack")}


def test_reload_takes_the_ledger_as_it_is(ledger, tmp_path):
    with served(tmp_path, ledger.url) as (server, client, _):
        ledger.empty()
        assert ask(client).status_code == 503

        async def make(ledgers):
            return await load(settings(tmp_path, ledger.url), ledgers=ledgers)

        asyncio.run_coroutine_threadsafe(server.reload(make), server.loop).result(60)
        assert ask(client).status_code == 200


@pytest.mark.parametrize("fault", ["empty", "restore"])
def test_what_was_lost_while_no_gateway_ran_is_seen_at_the_start(ledger, tmp_path, fault):
    mark = tmp_path / "ledger.mark"
    with served(tmp_path, ledger.url, mark=mark) as (_, client, _):
        ledger.save()
        assert ask(client).status_code == 200
    getattr(ledger, fault)()
    with (
        pytest.raises(StoreRolledBack, match="feint ledger accept"),
        running(settings(tmp_path, ledger.url, mark=mark)),
    ):
        pass
    mark.unlink()
    with served(tmp_path, ledger.url, mark=mark):
        pass


@pytest.mark.parametrize("known_by", ["mark", "default", pytest.param("redis", marks=pytest.mark.redis)])
def test_a_start_takes_no_ledger_that_is_known_to_have_lost_data_until_its_operator_does(tmp_path, run_cli, known_by):
    """Or whoever starts a gateway again, as a supervisor does, would give budgets and evidence back."""
    kept = tmp_path / "ledger.mark" if known_by == "mark" else None
    with RedisFaults(tmp_path) if known_by == "redis" else SqliteFaults(tmp_path / "ledger.db") as ledger:
        with served(tmp_path, ledger.url, mark=kept) as (_, client, _):
            if known_by == "redis":
                ledger.evict()
                assert ask(client).status_code == 503
        if known_by != "redis":
            ledger.empty()
        for _ in range(2):
            with pytest.raises(StoreRolledBack), running(settings(tmp_path, ledger.url, mark=kept)):
                pass
        lines = ["keys.anonymous = true", "operator.audit_log = 'audit.jsonl'", "models.toy.path = 'toy.onnx'"]
        lines += [f"ledger.store = '{ledger.url}'", *["ledger.mark = 'ledger.mark'"] * bool(kept)]
        (tmp_path / "gateway.toml").write_text("\n".join(lines))
        code, out, _ = run_cli("ledger accept gateway.toml")
        assert (code, "taken as it is" in out) == (0, True)
        assert '"action":"ledger accepted"' in (tmp_path / "audit.jsonl").read_text()
        with served(tmp_path, ledger.url, mark=kept):
            pass


def test_ledger_that_only_went_on_is_taken_at_the_start(ledger, tmp_path):
    for _ in range(2):
        with served(tmp_path, ledger.url, mark=tmp_path / "ledger.mark"):
            pass


def test_ledger_that_lost_data_before_the_start_is_answered_as_the_settings_say(ledger, tmp_path):
    mark = tmp_path / "ledger.mark"
    with served(tmp_path, ledger.url, "strongest", mark):
        pass
    ledger.empty()
    with served(tmp_path, ledger.url, "strongest", mark) as (_, _, records):
        pass
    assert [(record.outcome, record.reason) for record in records] == [("answered", "StoreRolledBack")]


def test_a_power_cut_is_no_loss(tmp_path):
    """The ledger comes back as it was before its last second, and the mark as it was written last."""
    ledger, mark = SqliteFaults(tmp_path / "ledger.db"), tmp_path / "ledger.db.mark"
    with served(tmp_path, ledger.url) as (server, client, _):
        for _ in range(3):
            server.loop.call_soon_threadsafe(server.opened.keep_marks)
        ledger.save()
        assert ask(client).status_code == 200
        done = threading.Event()
        server.loop.call_soon_threadsafe(lambda: (server.opened.keep_marks(), done.set()))
        assert done.wait(60)
        kept = mark.read_bytes()
    ledger.restore()
    mark.write_bytes(kept)
    with served(tmp_path, ledger.url):
        pass


def test_a_mark_that_cannot_be_written_is_told_once_and_once_that_it_can_again(tmp_path, monkeypatch, caplog):
    outcomes = [True, False, False, False, True, True]

    def write(path, marks):
        if not outcomes.pop(0):
            raise NotWritten("ledger.db.mark (No space left on device)", "a file", "make room")

    with served(tmp_path, SqliteFaults(tmp_path / "ledger.db").url) as (server, *_):
        monkeypatch.setattr(app_state, "write_marks", write)
        for _ in range(len(outcomes)):
            server.opened._write_marks({"toy": LedgerMark("a", 1)})
        told = [record.getMessage() for record in caplog.records if "mark" in record.getMessage()]
        monkeypatch.undo()
    assert not outcomes
    lost = "got ledger.db.mark (No space left on device); expected a file; make room"
    assert told == [f"the ledger's mark: {lost}", "the ledger's mark: it is written again"]


def test_gateways_of_other_models_keep_their_marks_in_one_file(tmp_path):
    path = tmp_path / "ledger.mark"
    write_marks(path, {"one": LedgerMark("a", 1)})
    write_marks(path, {"other": LedgerMark("a", 2)})
    write_marks(path, {"other": LedgerMark("a", 3)})
    assert read_marks(path) == {"one": LedgerMark("a", 1), "other": LedgerMark("a", 3)}


@pytest.mark.redis
def test_a_ledger_without_a_mark_is_warned_of(tmp_path):
    async def scene(ledger):
        for mark, warned in (None, True), (tmp_path / "mark", False):
            state = await load(settings(tmp_path, ledger.url, mark=mark))
            assert any("no mark" in warning for warning in state.warnings) == warned
            await state.close()

    in_redis(tmp_path, scene)


def test_damaged_mark_is_an_error(ledger, tmp_path):
    mark = tmp_path / "ledger.mark"
    mark.write_text("{")
    with pytest.raises(DamagedFile, match="mark"), running(settings(tmp_path, ledger.url, mark=mark)):
        pass


def test_a_mark_that_cannot_be_read_is_not_to_be_deleted(tmp_path):
    (tmp_path / "mark").mkdir()
    with pytest.raises(MissingData, match="directory"):
        read_marks(tmp_path / "mark")


def test_loss_is_seen_without_a_request(ledger, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(app_state, "EVERY", 0.05)
    with served(tmp_path, ledger.url) as (server, _, _):
        ledger.empty()
        eventually(lambda: httpx2.get(f"{server.url}/v2/health/ready").status_code == 503)
    assert "has lost data" in caplog.text


@pytest.mark.redis
def test_server_that_evicts_is_refused_at_the_start(tmp_path):
    with RedisFaults(tmp_path) as ledger:
        ledger._server.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(BadInput, match="noeviction"), running(settings(tmp_path, ledger.url)):
            pass


@pytest.mark.redis
def test_server_without_persistence_is_warned_of(tmp_path):
    async def warnings(url):
        state = await load(settings(tmp_path, url))
        await state.close()
        return [warning for warning in state.warnings if "appendonly" in warning]

    with RedisFaults(tmp_path) as ledger:
        durable = asyncio.run(warnings(ledger.url))
        ledger._server.config_set("appendonly", "no")
        assert (len(durable), len(asyncio.run(warnings(ledger.url)))) == (0, 1)


PARTS = {
    "account": "{feint:toy}:client:ann",
    "tokens": "{feint:toy}:client:ann:tokens",
    "names of rows": "{feint:toy}:client:ann:rows",
    "rows": "{feint:toy}:client:ann:rows:seen",
    "shared account": "{feint:toy}:shared:",
    "clients by evidence": "{feint:toy}:evidence",
    "number of commits": "{feint:toy}:ledger",
}


async def asks(store, token=""):
    """A client of a process that begins: it uses a token, and appends a row to those that it has read."""
    session = LedgerSession(store)
    for _ in range(2):
        transaction = session.begin("ann")
        transaction.shared.add("all", 1.0)
        transaction.shared.total("all")
        transaction.rows("seen").append(np.ones((1, 3)), most=10)
        transaction.once(token or secrets.token_hex(8), expires=time.time() + 3600, now=time.time())
        if await session.commit(transaction):
            return transaction.total("queries")
    raise AssertionError


@pytest.mark.redis
@pytest.mark.parametrize("how", ["deleted", "expired"])
@pytest.mark.parametrize("part", PARTS)
def test_a_key_that_is_gone_is_seen_by_a_process_that_never_knew_it(tmp_path, part, how):
    """As an eviction would remove it, and until the ledger is taken as it is. Then it is whole again."""

    async def scene(ledger):
        before, store = RedisStore(ledger.url, "toy"), RedisStore(ledger.url, "toy")
        await asks(before)
        if how == "deleted":
            ledger._server.delete(PARTS[part])
        else:
            ledger._server.pexpire(PARTS[part], 1)
            await asyncio.sleep(0.01)
        for _ in range(2):
            with pytest.raises(StoreRolledBack, match="lost data"):
                await asks(store)
        with pytest.raises(StoreRolledBack, match="lost data"):
            await asks(before)
        await before.accept()
        await asks(before)
        with pytest.raises(StoreRolledBack, match="lost data"):  # it is for each process to take it
            await asks(store)
        await store.accept()
        for one in (before, store):
            await asks(one)
            await one.close()

    in_redis(tmp_path, scene)


@pytest.mark.redis
def test_commits_that_a_failover_lost_are_seen_whatever_others_committed_since(tmp_path):
    """The number of all commits is higher than ever by then."""

    async def scene(ledger):
        here, there = RedisStore(ledger.url, "toy"), RedisStore(ledger.url, "toy")
        await asks(here)
        ledger.save()
        await asks(here)
        ledger.restore()
        for _ in range(5):
            await asks(there)
        with pytest.raises(StoreRolledBack, match="1 of this process's commits"):
            await asks(here)
        for one in (here, there):
            await one.close()

    in_redis(tmp_path, scene)


@pytest.mark.redis
def test_expired_tokens_and_erased_clients_are_no_loss(tmp_path):
    async def scene(ledger):
        store, session = RedisStore(ledger.url, "toy"), None
        for past in (10.0, 5.0):
            session = LedgerSession(store)
            transaction = session.begin("bob")
            transaction.once("a", expires=time.time() - past, now=time.time() - 2 * past)
            assert await session.commit(transaction) or past == 5.0
        ledger._server.delete("{feint:toy}:client:bob:tokens")
        await asks(store)
        assert await store.erase(AccountName("client", "ann"))
        await asks(store)
        await store.close()

    in_redis(tmp_path, scene)


@pytest.mark.redis
def test_server_that_evicts_later_is_reported(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(app_state, "EVERY", 0.05)
    with RedisFaults(tmp_path) as ledger, served(tmp_path, ledger.url):
        ledger._server.config_set("maxmemory-policy", "allkeys-lru")
        eventually(lambda: "evicts keys (maxmemory-policy allkeys-lru)" in caplog.text)
        ledger._server.config_set("maxmemory-policy", "noeviction")
        eventually(lambda: "is safe again" in caplog.text)


@pytest.mark.redis
def test_server_that_does_not_tell_its_settings_is_warned_of(tmp_path):
    async def warnings(url):
        state = await load(settings(tmp_path, url))
        await state.close()
        return [warning for warning in state.warnings if "INFO" in warning]

    with RedisFaults(tmp_path) as ledger:
        ledger._server.execute_command("ACL", "SETUSER", "default", "-info")
        assert len(asyncio.run(warnings(ledger.url))) == 1


WRITER = """
import sys, time
from pathlib import Path
from feint.gateway.changes import LedgerMark
from feint.gateway.server.marks import read_marks, write_marks
for i in range(300):
    write_marks(Path(sys.argv[1]), {sys.argv[2]: LedgerMark("a", i)})
    time.sleep(0.001)
    assert read_marks(Path(sys.argv[1]))[sys.argv[2]].commits == i
"""


def test_two_gateways_that_write_into_one_file_lose_none_of_each_others_marks(tmp_path):
    path = tmp_path / "marks"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), name]) for name in ("one", "other")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    assert {name: mark.commits for name, mark in read_marks(path).items()} == {"one": 299, "other": 299}
    assert [it.name for it in tmp_path.iterdir()] == ["marks"]


def test_a_gateway_that_is_stopped_while_it_writes_keeps_nobody_waiting(tmp_path):
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(NotWritten, match="marks"):
        write_marks(tmp_path / "marks", {"one": LedgerMark("a", 1)})
    os.close(held)
    write_marks(tmp_path / "marks", {"one": LedgerMark("a", 1)})
