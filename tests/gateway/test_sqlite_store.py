"""A ledger in a SQLite file: shared transactions, and a file that is full, locked, damaged, foreign or gone."""

import asyncio
import math
import resource
import sqlite3
import time
from contextlib import closing, contextmanager

import numpy as np
import pytest
from tests.support.waiting import PATIENCE

from feint.errors import BadRecipe, DamagedFile, MissingData, StoreLost
from feint.gateway.auth.keyfile import Keys
from feint.gateway.changes import SHARED, AccountName, ChangeSet, Snapshot
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import open_store, sqlite_file
from feint.gateway.stores.base import snapshot_of
from feint.gateway.stores.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


async def add(store: SqliteStore, client: str = "a", amount: object = 1.0) -> float:
    """The client's total after one more was added."""
    session = LedgerSession(store)
    while True:
        transaction = session.begin(client)
        transaction.total("budget")  # so that the account is read whole where it was not known
        transaction.add("budget", amount)  # pyright: ignore[reportArgumentType]
        if await session.commit(transaction):
            return transaction.total("budget")


def in_a_store(path, scene, **given):
    """What a scene comes to, on a store that is closed afterwards."""

    async def played():
        store = SqliteStore(path, **given)
        try:
            return await scene(store)
        finally:
            await store.close()

    return asyncio.run(played())


@contextmanager
def no_room_beyond(size: int):
    """No file of this process can grow beyond so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_asked_at_once_is_one_transaction_and_a_commit_that_is_none_fails_alone(path):
    async def scene(store):
        await asyncio.gather(add(store), add(store, "another"))  # or the first of all would be committed at once
        said = []
        store._file.set_trace_callback(said.append)
        told = await asyncio.gather(
            *(add(store, f"client {i}") for i in range(50)), add(store, "odd", amount=1j), return_exceptions=True
        )
        return said, told

    said, told = in_a_store(path, scene)
    assert said.count("COMMIT") == 1
    assert told[:50] == [1.0] * 50
    assert isinstance(told[50], TypeError)


def test_a_full_disk_is_a_lost_store_which_takes_back_nothing_and_goes_on_with_room(path, monkeypatch):
    monkeypatch.setattr("feint.gateway.stores.sqlite.EMPTIED", math.inf)  # a log that is begun anew has room again

    async def scene(store):
        assert await add(store) == 1
        with no_room_beyond(path.with_name("ledger.db-wal").stat().st_size):
            for _ in range(3):
                with pytest.raises(StoreLost, match="IOERR") as lost:
                    await add(store)
        assert str(path.parent) not in str(lost.value)
        assert await add(store) == 2

    in_a_store(path, scene)


def test_a_file_that_another_process_writes_for_too_long_is_lost_and_the_loop_never_waits(path):
    async def scene(store):
        await add(store)
        with closing(sqlite_file.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            begun, turns = time.monotonic(), 0
            adding = asyncio.ensure_future(add(store))
            while not adding.done():
                turns += 1
                await asyncio.sleep(0.001)
            with pytest.raises(StoreLost, match="BUSY"):
                await adding
            assert time.monotonic() - begun >= 0.1
            assert turns > 2  # a loop that waited for the file would have turned once
            adding = asyncio.ensure_future(add(store))
            await asyncio.sleep(0.05)
            other.execute("COMMIT")
            assert await adding == 2

    in_a_store(path, scene, timeout=1.0)


def test_who_hangs_up_before_the_transaction_is_not_charged(path):
    async def scene(store):
        await add(store)
        with closing(sqlite_file.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            adding = asyncio.ensure_future(add(store))
            await asyncio.sleep(0.01)
            adding.cancel()
        assert await add(store) == 2

    in_a_store(path, scene)


def test_a_file_damaged_while_it_serves_is_a_lost_store(path):
    async def scene(store):
        await add(store)
        store._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.write_bytes(b"nothing of the kind " * 1000)
        with pytest.raises(StoreLost) as lost:
            await add(store)
        assert str(path.parent) not in str(lost.value)
        with pytest.raises(StoreLost):
            await store.clients()

    in_a_store(path, scene)


def test_a_file_that_was_moved_away_is_lost_until_it_is_back(path):
    async def scene(store):
        await add(store)
        path.rename(path.with_name("away"))
        with pytest.raises(StoreLost, match="FileNotFoundError"):
            await add(store)
        path.with_name("away").rename(path)
        return await add(store)

    assert in_a_store(path, scene) == 2


@pytest.mark.parametrize("ends", [("-wal",), ("-wal", "-shm"), ("-shm",)])
def test_what_is_committed_after_the_log_was_removed_is_not_lost(path, ends, caplog):
    """SQLite itself goes on with a log that is gone when the last process closes it."""

    async def scene(store):
        before = await add(store)
        if store._emptying is not None:  # where it is removed meanwhile, the commit may fail once
            await store._emptying
        for end in ends:
            path.with_name(path.name + end).unlink()
        await add(store)
        other = SqliteStore(path)
        seen = await other.clients()
        await other.close()
        return before, await add(store), seen

    before, after, seen = in_a_store(path, scene)
    assert after == before + 2
    assert [totals["budget"] for _, totals in seen] == [before + 1]
    assert ("opened anew" in caplog.text) == ("-wal" in ends)


def test_a_log_that_cannot_be_emptied_does_not_keep_a_store_from_closing(path, monkeypatch):
    tried = []

    def fail(path):
        tried.append(path)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite_file, "checkpoint", fail)
    in_a_store(path, add)
    assert tried


@pytest.mark.parametrize("scene", ["damaged", "keys", "later"])
def test_a_foreign_file_is_not_opened_and_not_touched(path, scene):
    if scene == "damaged":
        path.write_bytes(b"nothing of the kind " * 1000)
    elif scene == "keys":
        Keys(path, new=True)
    else:
        SqliteStore(path)
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(DamagedFile, match=r"ledger\.db"):
        SqliteStore(path)
    assert path.read_bytes() == before


FORMAT_1 = """
CREATE TABLE accounts (id INTEGER PRIMARY KEY, model TEXT NOT NULL, shared INTEGER NOT NULL, client TEXT NOT NULL,
                       version INTEGER NOT NULL, evidence REAL, totals BLOB NOT NULL,
                       UNIQUE (model, shared, client)) STRICT;
CREATE TABLE tokens (account INTEGER NOT NULL, token TEXT NOT NULL, expires REAL NOT NULL,
                     PRIMARY KEY (account, token)) STRICT, WITHOUT ROWID;
CREATE INDEX expiring ON tokens (expires);
CREATE TABLE rows (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, name TEXT NOT NULL, width INTEGER NOT NULL,
                   numbers BLOB NOT NULL) STRICT;
CREATE INDEX named ON rows (account, name);
INSERT INTO accounts VALUES (5, '', 0, 'a', 3, 0.5, x'81a6627564676574cb4000000000000000'),
                            (6, '', 1, '', 1, 0.0, x'81a163cb4008000000000000');
INSERT INTO tokens VALUES (5, 't', 9e9);
PRAGMA application_id = 1717922158;
PRAGMA user_version = 1;
"""


def test_a_file_of_format_1_is_brought_up_to_date(path):
    with closing(sqlite3.connect(path)) as file:
        file.executescript(FORMAT_1)

    async def scene(store):
        one = await store.commit({AccountName("client", "a"): ChangeSet(0, tokens={"t": 1.0}), SHARED: ChangeSet(0)})
        return one.accounts, await store.clients()

    accounts, clients = in_a_store(path, scene)
    assert accounts == {
        AccountName("client", "a"): Snapshot(3, {"budget": 2.0}, used={"t": 9e9}),
        SHARED: Snapshot(1, {"c": 3.0}),
    }
    assert clients == [("a", {"budget": 2.0})]
    assert in_a_store(path, add) == 3


def test_a_file_gets_the_index_by_which_tokens_expire(path):
    for _ in range(2):
        with closing(sqlite3.connect(path)) as file:
            if path.stat().st_size:  # as it was made earlier
                file.executescript("DROP INDEX expiry; CREATE INDEX expiring ON tokens (expires)")
        SqliteStore(path)
    with closing(sqlite3.connect(path)) as file:
        plan = file.execute("EXPLAIN QUERY PLAN SELECT * FROM tokens WHERE account = 1 AND expires <= 2").fetchall()
        names = {name for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
    assert "INDEX expiry (account=? AND expires<?)" in str(plan)
    assert "expiring" not in names


def test_a_folder_that_is_not_there_is_named_at_the_start(tmp_path):
    with pytest.raises(MissingData, match="mkdir -p"):
        open_store(f"sqlite:{tmp_path}/none/ledger.db")
    with pytest.raises(BadRecipe, match="sqlite:PATH"):
        open_store("sqlite:")


def test_it_is_readable_for_its_owner_alone(path):
    async def scene(store):
        await add(store)
        return [it.stat().st_mode & 0o777 for it in path.parent.iterdir()]

    assert in_a_store(path, scene) == [0o600] * 3


def test_models_in_one_file_say_nothing_of_each_other(path):
    async def scene(store):
        other = SqliteStore(path, "other")
        try:
            return [await add(store), await add(store), await add(other)], await store.clients()
        finally:
            await other.close()

    assert in_a_store(path, scene, model="one") == ([1, 2, 1], [("a", {"budget": 2.0})])


def test_expired_tokens_are_deleted(path):
    async def scene(store):
        session = LedgerSession(store)
        for i in range(50):
            transaction = session.begin("a")
            assert transaction.once(f"{i}", expires=i + 5.0, now=float(i))
            assert await session.commit(transaction)
        return store._file.execute("SELECT count(*) FROM tokens").fetchone()

    assert in_a_store(path, scene) == (5,)


def test_the_log_is_begun_anew_where_it_is_long(path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "LONG", 50)
    monkeypatch.setattr("feint.gateway.stores.sqlite.EMPTIED", 0.01)

    async def scene(store):
        """Add until the log does not grow by what is added, or for too long."""
        size, grown, end = 0, 1, time.monotonic() + PATIENCE
        while grown and time.monotonic() < end:
            await add(store)
            await asyncio.sleep(0)
            now = path.with_name("ledger.db-wal").stat().st_size
            size, grown = now, now - size
        return grown

    assert in_a_store(path, scene) == 0


def test_a_reader_of_a_ledger_with_a_long_log_keeps_no_commit_out(path, monkeypatch, caplog):
    """As a backup or a shell that reads while the log should be begun anew, for which nobody can commit."""
    monkeypatch.setattr(sqlite_file, "LONG", 10)
    monkeypatch.setattr("feint.gateway.stores.sqlite.EMPTIED", 0.01)

    async def scene(store):
        await add(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM accounts").fetchall()
            end, count = time.monotonic() + PATIENCE, 1
            while caplog.text.count("another process is using the file") < 3 and time.monotonic() < end:
                count += 1
                assert await add(store) == count
                await asyncio.sleep(0.001)
        return caplog.text.count("another process is using the file")

    assert in_a_store(path, scene, timeout=1.0) >= 3


def test_nothing_of_an_erased_client_is_left_in_the_files_of_a_ledger_in_use(path):
    async def scene(store):
        for _ in range(100):
            await add(store, "zebulon")
            await add(store, "b")
        assert await store.erase(AccountName("client", "zebulon"))
        await add(store, "b")
        return [file.name for file in path.parent.iterdir() if b"zebulon" in file.read_bytes()]

    assert in_a_store(path, scene) == []


def test_an_erasure_is_no_success_while_a_reader_keeps_the_log(path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "PATIENCE", 0.2)

    async def scene(store):
        await add(store)
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM accounts").fetchall()
            with pytest.raises(StoreLost):
                await store.erase(AccountName("client", "a"))
        return await store.erase(AccountName("client", "a")), await store.clients()

    assert in_a_store(path, scene) == (False, [])


def test_a_commit_that_cannot_be_written_leaves_no_transaction_open(path):
    async def scene(store):
        transaction = LedgerSession(store).begin("a")
        transaction.once("\ud800", expires=1.0, now=0.0)
        with pytest.raises(UnicodeEncodeError):
            await LedgerSession(store).commit(transaction)
        return await add(store)

    assert in_a_store(path, scene) == 1


def test_accounts_that_another_process_changed_are_read_whole_and_no_others(path):
    name, unchanged, erased = (AccountName("client", client) for client in ("a", "b", "c"))

    async def scene(store):
        elsewhere = SqliteStore(path)
        for client in (name, unchanged, erased):
            await elsewhere.commit({client: ChangeSet(0, {"budget": 1.0}, writer="first")})
        known = {client: (await snapshot_of(store, client)) for client in (name, unchanged, erased)}
        nothing = store.changed(known)
        rows = {"seen": (False, np.ones((2, 3), np.float32)), "state": (False, np.zeros((1, 4), np.float32))}
        await elsewhere.commit({name: ChangeSet(1, {"budget": 2.0}, rows=rows, after="first", writer="second")})
        await elsewhere.erase(erased)
        await elsewhere.close()
        return nothing, store.changed(known), await snapshot_of(store, name)

    nothing, changed, whole = in_a_store(path, scene)
    assert nothing == {}
    assert list(changed) == [name]
    account = changed[name]
    assert (account.version, account.writer, account.totals) == (2, "second", {"budget": 2.0})
    assert {key: rows.tolist() for key, rows in account.rows.items()} == {
        key: rows.tolist() for key, rows in whole.rows.items()
    }


def test_accounts_that_cannot_be_read_now_are_left_to_the_commit(path):
    async def scene(store):
        await add(store)
        known = {AccountName("client", "a"): Snapshot()}
        path.unlink()
        return store.changed(known)

    assert in_a_store(path, scene) == {}
