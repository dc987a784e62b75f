"""Accounts of a ledger as their operator reads and resets them, while a gateway is at work."""

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from tests.support.redis_servers import redis_server
from tests.support.waiting import eventually

from feint.gateway.changes import AccountName
from feint.gateway.ledger_session import LedgerSession
from feint.gateway.stores import open_reader, open_store
from feint.gateway.stores.base import snapshot_of


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def url(request, tmp_path):
    """A store, and beside it the settings of a gateway that uses it."""
    if request.param == "sqlite":
        yield settings(tmp_path, "sqlite:ledger.db")
    else:
        with redis_server(tmp_path) as running:
            yield settings(tmp_path, running.url)


def settings(folder, url: str) -> str:
    (folder / "gateway.toml").write_text(
        f'[ledger]\nstore = "{url}"\n[keys]\nfile = "keys.db"\n[operator]\naudit_log = "audit.jsonl"\n'
        '[models.toy]\npath = "toy.onnx"\n[models.other]\npath = "toy.onnx"\n'
    )
    return url.replace("sqlite:", f"sqlite:{folder}/")


def asked(url: str, client: str = "ann", model: str = "toy") -> tuple[bool, bool]:
    """Whether the first and the second of two requests of ann, of the group card, are committed at the first try."""

    async def scene():
        session, committed = LedgerSession(open_store(url, model)), []
        for _ in range(2):
            transaction = session.begin(client, "card")
            transaction.add("budget", 1.0)
            transaction.accuse(0.5)
            transaction.rows("r").append(np.ones((1, 2)), most=9)
            transaction.once(f"{len(committed)}", expires=9.0, now=0.0)
            committed.append(await session.commit(transaction))
        await session.store.close()
        return tuple(committed)

    return asyncio.run(scene())


def test_an_account_is_shown_and_exported(url, run_cli):
    assert asked(url) == (True, True)
    code, out, _ = run_cli("ledger show gateway.toml ann --model toy")
    assert (code, out) == (0, "budget: 2\nevidence: 0.5\nr: 2 rows\n")
    assert run_cli("ledger show gateway.toml card --group --model toy")[1] == "evidence: 0.5\n"
    exported = json.loads(run_cli("ledger export gateway.toml ann --model toy")[1])
    assert exported == {
        "name": "ann",
        "totals": {"budget": 2.0, "evidence": 0.5},
        "rows": {"r": [[1.0, 1.0], [1.0, 1.0]]},
    }


def test_an_account_of_a_ledger_in_use_is_read_as_its_store_has_it(url):
    async def scene():
        store, reader = open_store(url, "toy"), open_reader(url, "toy")
        session = LedgerSession(store)
        transaction = session.begin("ann")
        transaction.add("budget", 1.0)
        transaction.rows("r").append(np.ones((3, 2)), most=9)
        assert await session.commit(transaction)
        for name in AccountName("client", "ann"), AccountName("client", "nobody"):
            known, read = await snapshot_of(store, name), await reader.account(name)
            assert (read.version, read.totals, read.writer) == (known.version, known.totals, known.writer)
            assert {name: rows.tolist() for name, rows in read.rows.items()} == {
                name: rows.tolist() for name, rows in known.rows.items()
            }
        assert await reader.clients() == await store.clients() != []
        await reader.close()
        await store.close()

    asyncio.run(scene())


def test_a_copy_is_read_and_nothing_is_written_beside_it(tmp_path, run_cli):
    """As on a disk that takes no writes, which a test of the administrator's cannot forbid."""
    url = f"sqlite:{tmp_path}/ledger.db"
    asked(url)
    (tmp_path / "gateway.toml").write_text(f"ledger.store = '{url}'\nkeys.anonymous = true\nmodels.toy.path = 'x.onnx'")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for command in "show", "export":
        code, out, _ = run_cli(f"ledger {command} gateway.toml ann")
        assert (code, "budget" in out) == (0, True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    (tmp_path / "ledger.db").unlink()
    code, _, error = run_cli("ledger show gateway.toml ann")
    assert (code, "not there" in error) == (2, True)
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.redis
def test_a_replica_that_takes_no_writes_is_read(tmp_path, run_cli):
    import redis

    folders = [tmp_path / "main", tmp_path / "replica"]
    for folder in folders:
        folder.mkdir()
    with redis_server(folders[0]) as main, redis_server(folders[1]) as replica:
        asked(main.url)
        with redis.Redis.from_url(replica.url) as client:
            client.replicaof("127.0.0.1", str(main.port))
            eventually(lambda: client.info("replication")["master_link_status"] == "up")
        (tmp_path / "gateway.toml").write_text(
            f"ledger.store = '{replica.url}'\nkeys.anonymous = true\nmodels.toy.path = 'x.onnx'"
        )
        code, out, _ = run_cli("ledger show gateway.toml ann")
        assert (code, out) == (0, "budget: 2\nevidence: 0.5\nr: 2 rows\n")


def test_a_token_that_is_forgotten_stays_used_after_a_reset(url, run_cli):
    async def used(now: float, expires: float) -> bool:
        session = LedgerSession(open_store(url, "toy"))
        while True:
            transaction = session.begin("ann")
            first = transaction.once(f"{expires}", expires=expires, now=now)
            if await session.commit(transaction):
                await session.store.close()
                return first

    assert [asyncio.run(used(now, now + 9.0)) for now in (1.0, 9e9, 9e9 + 1, 9e9 + 2)] == [True] * 4
    assert run_cli("ledger reset gateway.toml ann --model toy")[0] == 0
    assert not asyncio.run(used(1.0, 10.0))


def test_a_client_that_is_reset_begins_anew_and_uses_no_token_again(url, run_cli):
    asked(url)
    code, out, _ = run_cli("ledger reset gateway.toml ann --model toy")
    assert (code, out) == (0, "ann begins anew, with evidence 0 instead of 0.50\n")
    assert run_cli("ledger show gateway.toml ann --model toy")[1] == ""
    assert run_cli("ledger show gateway.toml card --group --model toy")[1] == "evidence: 0.5\n"
    assert asked(url) == (False, False)  # by a replica that knows nothing; then for the tokens


@pytest.mark.parametrize(
    "line",
    ["show gateway.toml bob --model toy", "reset gateway.toml card --model toy", "show gateway.toml ann --model x"],
)
def test_who_is_not_there_is_an_error_of_one_line(url, run_cli, line):
    asked(url)
    code, out, err = run_cli(f"ledger {line}")
    assert (code, out, err.count("\n")) == (2, "", 1)


def stored(url: str, folder: Path) -> bytes:
    """All bytes that a store holds."""
    if not url.startswith("redis"):
        return b"".join(file.read_bytes() for file in sorted(folder.glob("ledger.db*")))
    import redis

    with redis.Redis.from_url(url) as server:
        return b" ".join([*(part for key in server.scan_iter() for part in (key, server.dump(key)))])


def test_all_that_is_stored_of_a_client_is_erased(url, run_cli, tmp_path):
    for model in ("toy", "other"):
        asked(url, "ann", model)
        asked(url, "bob", model)
    for client in ("ann", "ann", "bob"):
        run_cli(f"keys add {client} --group card")
    run_cli("keys revoke ann")
    code, out, _ = run_cli("ledger erase gateway.toml ann")
    assert (code, out) == (0, "erased of ann: its account of toy, its account of other, 2 keys\n")
    assert b"ann" not in stored(url, tmp_path) + (tmp_path / "keys.db").read_bytes()
    assert run_cli("ledger show gateway.toml bob --model other")[0] == 0
    assert run_cli("ledger show gateway.toml card --group --model toy")[0] == 0


def test_a_group_is_erased_with_its_last_client(url, run_cli, tmp_path):
    asked(url)
    run_cli("keys add ann --group card")
    assert "its group card, which has no other client" in run_cli("ledger erase gateway.toml ann")[1]
    assert b"card" not in stored(url, tmp_path)


def test_a_groups_own_account_is_erased(url, run_cli):
    asked(url)
    assert run_cli("ledger erase gateway.toml card --group")[1] == "erased of card: its account of toy\n"
    assert run_cli("ledger show gateway.toml card --group --model toy")[0] == 2
    assert run_cli("ledger show gateway.toml ann --model toy")[0] == 0


def test_who_is_erased_again_was_erased_and_each_time_is_entered(url, run_cli, tmp_path):
    asked(url)
    run_cli("ledger erase gateway.toml ann")
    code, out, _ = run_cli("ledger erase gateway.toml ann")
    assert (code, out) == (0, "erased of ann: nothing, as nothing was stored\n")
    entered = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(entry["action"], entry["client"]) for entry in entered] == [("account erased", "ann")] * 2


def test_a_client_is_kept_where_the_erasure_cannot_be_entered(url, run_cli, tmp_path):
    asked(url)
    (tmp_path / "audit.jsonl").mkdir()
    assert run_cli("ledger erase gateway.toml ann")[0] == 2
    assert run_cli("ledger show gateway.toml ann --model toy")[0] == 0


def test_an_account_that_was_erased_begins_anew_in_a_running_gateway(url, run_cli):
    async def scene():
        session = LedgerSession(open_store(url, "toy"))
        for _ in range(2):
            transaction = session.begin("ann")
            transaction.total("budget")
            transaction.add("budget", 1.0)
            assert await session.commit(transaction)
        assert await session.store.erase(AccountName("client", "ann"))
        assert await session.store.clients() == []
        other = session.begin("bob")
        other.add("budget", 1.0)
        assert await session.commit(other)  # and no data count as lost, for bob or for ann
        again = session.begin("ann")
        assert again.total("budget") == 0
        assert await session.commit(again)
        await session.store.close()

    asyncio.run(scene())


def test_a_reset_is_entered_in_the_audit_log(url, run_cli, tmp_path):
    asked(url)
    run_cli("ledger reset gateway.toml ann --model toy")
    (entry,) = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert entry["action"] == "account reset"
    assert entry["client"] == "ann"
    assert entry["by"]
