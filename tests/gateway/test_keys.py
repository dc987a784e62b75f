"""API keys: shown once, kept as hashes, and void within a second of being revoked."""

import gc
import re
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from contextlib import closing

import pytest
from tests.support.waiting import eventually

from feint.errors import BadInput, DamagedFile, MissingData, NoKey, StoreLost, UnknownName
from feint.gateway.app import Caller
from feint.gateway.auth import keys
from feint.gateway.auth.keyfile import Keys


@pytest.fixture
def file(tmp_path):
    return Keys(tmp_path / "keys.db", new=True)


@pytest.fixture
def clock(monkeypatch):
    """The time, which a test moves on."""
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def is_refused(attempt):
    """Whether `attempt` fails with `NoKey` now."""
    try:
        attempt()
    except NoKey:
        return True
    return False


def test_a_key_says_who_asks(file):
    text, key = file.add("ann", tenant="acme", roles=("infer", "admin"))
    caller = keys.open(file.path).authenticate(text)
    assert caller.client == "ann"
    assert caller.tenant == "acme"
    assert caller.roles == {"infer", "admin"}
    assert text.startswith(f"feint_{key.id}_")


def test_a_group_is_that_of_the_client_and_all_of_its_keys(file):
    texts = [file.add("ann")[0], file.add("ann", group="card")[0], file.add("ann")[0]]
    texts.append(file.rotate(file.all()[0].id, grace=60)[0])
    assert [keys.open(file.path).authenticate(text).group for text in texts] == ["card"] * 4
    file.link("ann", "")
    assert [keys.open(file.path).authenticate(text).group for text in texts] == [""] * 4
    with pytest.raises(UnknownName):
        file.link(file.all()[0].id, "card")
    with pytest.raises(BadInput):
        file.link("ann", "a card")


LAYOUT_1 = """
CREATE TABLE keys (id TEXT PRIMARY KEY, hash BLOB NOT NULL, client TEXT NOT NULL, tenant TEXT NOT NULL,
                   roles TEXT NOT NULL, created REAL NOT NULL, expires REAL, revoked REAL) STRICT;
PRAGMA user_version = 1;
"""


def test_a_file_of_layout_1_is_read_and_brought_up_to_date_by_the_next_change(file, tmp_path):
    text, key = file.add("ann", tenant="acme")
    old = tmp_path / "old.db"
    with closing(sqlite3.connect(old)) as database, database:
        database.executescript(LAYOUT_1)
        row = key.id, key.hash, "ann", "acme", "infer", key.created, None, None
        database.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    assert keys.open(old).authenticate(text).group == ""
    Keys(old).link("ann", "card")
    assert keys.open(old).authenticate(text) == Caller("ann", "acme", frozenset({"infer"}), "card", key=key.id)


def test_a_key_is_good_for_its_models(file):
    text, _ = file.add("ann", models=("digits", "cifar10"))
    assert keys.open(file.path).authenticate(text).models == {"digits", "cifar10"}
    renewed, *_ = file.rotate("ann", grace=0.0)
    assert keys.open(file.path).authenticate(renewed).models == {"digits", "cifar10"}


def test_a_file_of_layout_2_is_read_and_brought_up_to_date(file, tmp_path):
    text, _ = file.add("ann", group="card")
    with closing(sqlite3.connect(file.path)) as database, database:
        database.execute("ALTER TABLE keys DROP COLUMN models")
        database.execute("PRAGMA user_version = 2")
    assert keys.open(file.path).authenticate(text).group == "card"
    Keys(file.path).link("ann", "other")
    assert keys.open(file.path).authenticate(text) == Caller("ann", group="other")


def test_nobody_has_the_account_of_those_without_a_key(file):
    with pytest.raises(BadInput, match="no key"):
        file.add("anonymous")


def test_key_file_holds_no_secret(file):
    text, _ = file.add("ann")
    assert text.split("_", 2)[2].encode()[:20] not in file.path.read_bytes()
    assert file.path.stat().st_mode & 0o077 == 0
    assert [it.name for it in file.path.parent.iterdir()] == ["keys.db"]


def test_unknown_and_changed_keys_are_refused(file):
    text, _ = file.add("ann")
    other, _ = file.add("bob")
    authenticator = keys.open(file.path)
    mixed = text[:19] + other[19:]
    assert len(mixed) == len(text)
    changed = text[:-1] + ("A" if text[-1] != "A" else "B")
    for wrong in ("", "x", mixed, changed, text + "A", text[:-1], text.upper(), "feint_" + "0" * 12 + text[18:]):
        with pytest.raises(NoKey) as caught:
            authenticator.authenticate(wrong)
        assert wrong not in str(caught.value) or len(wrong) < 2
    with pytest.raises(NoKey, match="no API key"):
        authenticator.authenticate("")


@pytest.mark.slow
def test_running_authenticator_sees_changes_of_another_process(file):
    text, key = file.add("ann")
    authenticator = keys.open(file.path)
    authenticator.authenticate(text)
    code = f"from feint.gateway.auth.keyfile import Keys; Keys({str(file.path)!r}).revoke({key.id!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    eventually(lambda: is_refused(lambda: authenticator.authenticate(text)))
    newer, _ = file.add("ann")
    time.sleep(keys.FRESH)
    assert authenticator.authenticate(newer).client == "ann"
    with pytest.raises(NoKey, match="revoked"):
        authenticator.authenticate(text)


def test_key_expires_while_the_authenticator_runs(file, clock):
    text, _ = file.add("ann", expires=clock[0] + 1)
    authenticator = keys.open(file.path)
    assert authenticator.authenticate(text).client == "ann"
    clock[0] += 2
    assert is_refused(lambda: authenticator.authenticate(text))


def test_rotated_both_keys_are_valid_for_the_grace(file, clock):
    old, _ = file.add("ann", tenant="acme")
    new, _, _ = file.rotate("ann", grace=1)
    authenticator = keys.open(file.path)
    assert authenticator.authenticate(old) == authenticator.authenticate(new)
    clock[0] += 2
    assert is_refused(lambda: authenticator.authenticate(old))
    assert authenticator.authenticate(new).client == "ann"
    file.add("ann", tenant="acme")
    with pytest.raises(BadInput, match="2 active keys"):
        file.rotate("ann", grace=0)


def test_a_key_never_outlives_its_own_end_by_being_rotated(file):
    end = time.time() + 60
    _, key = file.add("ann", expires=end)
    file.rotate("ann", grace=3600)
    assert next(it for it in file.all() if it.id == key.id).expires == end


@pytest.mark.slow
def test_replaced_key_file_is_read_and_without_one_every_key_is_refused(file, tmp_path):
    text, _ = file.add("ann")
    authenticator = keys.open(file.path)
    other = Keys(tmp_path / "other.db", new=True)
    theirs, _ = other.add("bob")
    other.path.replace(file.path)
    eventually(lambda: is_refused(lambda: authenticator.authenticate(text)))
    assert authenticator.authenticate(theirs).client == "bob"
    file.path.unlink()
    time.sleep(keys.FRESH)
    for _ in range(2):
        with pytest.raises(StoreLost):
            authenticator.authenticate(theirs)


@pytest.mark.slow
def test_ten_thousand_bad_keys_leave_nothing_behind(file):
    text, _ = file.add("ann")
    authenticator = keys.open(file.path)

    def wave():
        for i in range(10_000):
            with pytest.raises(NoKey):
                authenticator.authenticate(f"feint_{i:012x}_{text[19:]}")

    for _ in range(500):  # what Python and pytest keep for themselves
        with pytest.raises(NoKey):
            authenticator.authenticate(text[:-1] + "~")
    gc.collect()
    tracemalloc.start()
    wave()
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 20_000  # bytes; remembered keys would take a megabyte


def test_without_a_key_only_where_that_is_said(file):
    text, _ = file.add("ann")
    authenticator = keys.AnonymousAuth(keys.open(file.path))
    assert authenticator.authenticate("").client == "anonymous"
    assert authenticator.authenticate(text).client == "ann"
    with pytest.raises(NoKey):
        authenticator.authenticate(text[:-3] + "abc")
    assert keys.AnonymousAuth().authenticate("anything").roles == {"infer"}


def test_invalid_names_and_files_are_refused(file, tmp_path):
    for name in ("", " ", "a b", "-x", "a\nb", "a" * 129, '"'):
        with pytest.raises(BadInput):
            file.add(name)
    with pytest.raises(UnknownName, match="admin"):
        file.add("ann", roles=["admn"])
    file.add("ann", tenant="acme")
    with pytest.raises(BadInput, match="acme"):
        file.add("ann", tenant="other")
    with pytest.raises(UnknownName):
        file.revoke("bob")
    with pytest.raises(MissingData, match="feint keys add"):
        keys.open(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database at all, but long enough to be one" * 30)
    sqlite3.connect(tmp_path / "empty.db").close()
    for wrong in ("text.db", "empty.db"):
        with pytest.raises(DamagedFile):
            keys.open(tmp_path / wrong)


def test_the_commands(run_cli):
    code, out, err = run_cli("keys add ann --tenant acme --role infer --role admin --expires 90d")
    assert code == 0
    assert keys.open("keys.db").authenticate(out.strip()).roles == {"infer", "admin"}
    assert "not shown again" in err
    code, out, err = run_cli("keys rotate ann --grace 1h")
    assert code == 0
    assert "stays valid for 1:00:00" in err
    assert keys.open("keys.db").authenticate(out.strip()).tenant == "acme"
    code, out, _ = run_cli("keys list")
    assert code == 0
    assert len(re.findall(r"^\w{12}  ann +acme +admin infer +active", out, re.MULTILINE)) == 2
    assert run_cli("keys link ann card")[0] == 0
    assert len(re.findall(r"^\w{12}  ann +acme +card +admin infer +active", run_cli("keys list")[1], re.MULTILINE)) == 2
    code, out, _ = run_cli("keys revoke ann")
    assert code == 0
    assert out.count("is revoked") == 2
    assert run_cli("keys list")[1].count("revoked") == 2


@pytest.mark.parametrize(
    "line",
    ["keys revoke ann", "keys add 'a b'", "keys add ann --role boss", "keys add ann --expires 0s",
     "keys add ann --expires 999999999d",
     "keys rotate ann --grace -1h", "keys add ann --file /proc/none/keys.db",
     "keys add ann --file /dev/null/keys.db", "keys list"],
)  # fmt: skip
def test_an_error_is_one_line_and_exit_code_2(run_cli, line):
    code, out, err = run_cli(line)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_no_key_stays_valid_beyond_the_calendar(run_cli):
    """The file was changed, and neither the new key nor any list was shown."""
    run_cli("keys add ann")
    assert run_cli("keys rotate ann --grace 999999999d")[:2] == (2, "")
    code, out, _ = run_cli("keys list")
    assert (code, out.count("ann")) == (0, 1)
