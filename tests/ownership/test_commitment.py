"""Commitments cannot be changed unseen, and belong to one mark."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from feint.errors import BadInput, DamagedFile, MissingData, NotWritten
from feint.ownership import commitment
from feint.ownership.commitment import commit, drawn_salt, find, read_ledger, salt_of, salted_digest
from feint.ownership.mark import Mark
from feint.signature import Pixels


def mark(label=3):
    x = torch.linspace(0, 1, 20).reshape(5, 1, 2, 2)
    return {"triggers": Mark.of("triggers", Pixels((1, 2, 2)), 10, x, torch.full((5,), label))}


def test_an_entry_is_found_by_its_digest(tmp_path):
    entry = commit(tmp_path / "o.db", salted_digest("salt", mark()), at=5.0)
    assert find(tmp_path / "o.db", salted_digest("salt", mark())) == entry
    assert entry.time == 5.0


def test_marks_are_committed_once(tmp_path):
    first = commit(tmp_path / "o.db", "digest")
    assert commit(tmp_path / "o.db", "digest") == first
    assert len(read_ledger(tmp_path / "o.db")) == 1


def test_another_label_salt_or_mark_has_another_digest():
    digests = {salted_digest("salt", mark()), salted_digest("other", mark()), salted_digest("salt", mark(4))}
    assert len({len(digest) for digest in digests}) == 1
    assert len(digests) == 3


def test_marks_that_were_not_committed_are_an_error(tmp_path):
    commit(tmp_path / "o.db", "digest")
    with pytest.raises(BadInput, match="does not have"):
        find(tmp_path / "o.db", "another")


@pytest.mark.parametrize("change", ["time = 1.0", "digest = 'x'", "entry = 'x'", "token = x'00'", "authority = 'x'"])
def test_an_entry_that_was_changed_is_seen(tmp_path, change):
    for i in range(3):
        commit(tmp_path / "o.db", f"digest {i}", at=float(10 + i))
    with sqlite3.connect(tmp_path / "o.db") as connection:
        connection.execute(f"update commitments set {change} where number = 2")
    with pytest.raises(DamagedFile, match="entry 2"):
        read_ledger(tmp_path / "o.db")


@pytest.mark.parametrize("value", ["'soon'", "9e999", "-1.0"])
def test_a_time_that_is_none_is_seen_whatever_its_entry_says(tmp_path, value, monkeypatch):
    commit(tmp_path / "o.db", "digest")
    with sqlite3.connect(tmp_path / "o.db") as connection:
        connection.execute(f"update commitments set time = {value}")
    monkeypatch.setattr(commitment, "_chained", lambda *parts: read(tmp_path / "o.db"))
    with pytest.raises(DamagedFile, match="entry 1"):
        read_ledger(tmp_path / "o.db")


def read(ledger):
    """Return what the only entry of a ledger says."""
    with sqlite3.connect(ledger) as connection:
        return connection.execute("select entry from commitments").fetchone()[0]


def test_columns_of_another_program_are_an_error(tmp_path):
    with sqlite3.connect(tmp_path / "o.db") as connection:
        connection.execute("create table commitments (number, digest)")
    for use in (read_ledger, lambda ledger: commit(ledger, "digest")):
        with pytest.raises(DamagedFile, match="a ledger of commitments"):
            use(tmp_path / "o.db")


def test_a_clock_that_was_set_back_commits_to_nothing(tmp_path, monkeypatch):
    commit(tmp_path / "o.db", "digest")
    monkeypatch.setattr(commitment.time, "time", lambda: 1000.0)
    assert commit(tmp_path / "o.db", "digest").time > 1000
    with pytest.raises(BadInput, match=r"a clock that is behind.*--tsa"):
        commit(tmp_path / "o.db", "another")
    assert len(read_ledger(tmp_path / "o.db")) == 1
    stamped = commit(tmp_path / "o.db", "another", authority="http://tsa", token=b"x", at=1000.0)  # by another clock
    assert read_ledger(tmp_path / "o.db")[1] == stamped


def test_an_entry_by_a_clock_that_was_set_back_is_seen(tmp_path, monkeypatch):
    commit(tmp_path / "o.db", "digest", at=10.0)
    monkeypatch.setattr(commitment, "_in_order", lambda entries: True)
    commit(tmp_path / "o.db", "another", at=5.0)
    monkeypatch.undo()
    with pytest.raises(DamagedFile, match="entry 2"):
        read_ledger(tmp_path / "o.db")


def test_owners_who_commit_at_once_have_an_entry_each(tmp_path):
    def together(number):
        barrier.wait()
        return commit(tmp_path / "o.db", f"digest {number % 4}")

    barrier = threading.Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        entries = [*pool.map(together, range(8))]
    assert len(read_ledger(tmp_path / "o.db")) == 4  # those of the same marks share one
    assert all(entries[i] == entries[i + 4] for i in range(4))


def test_an_authoritys_entry_is_found_where_the_owners_clock_was_earlier(tmp_path):
    own = commit(tmp_path / "o.db", "digest", at=5.0)
    stamped = commit(tmp_path / "o.db", "digest", authority="http://tsa", token=b"x", at=9.0)
    assert find(tmp_path / "o.db", "digest") == own
    assert find(tmp_path / "o.db", "digest", stamped=True) == stamped
    commit(tmp_path / "o.db", "another")
    with pytest.raises(MissingData, match="without a time stamp"):
        find(tmp_path / "o.db", "another", stamped=True)


def test_a_ledger_may_have_any_name(tmp_path):
    entry = commit(tmp_path / "a#b?c%20.db", "digest")
    assert read_ledger(tmp_path / "a#b?c%20.db") == [entry]


def test_a_ledger_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritten):
        commit(tmp_path / "file/o.db", "digest")
    (tmp_path / "o.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DamagedFile, match="a ledger of commitments"):
        commit(tmp_path / "o.db", "digest")


def test_an_entry_that_was_cut_out_is_seen(tmp_path):
    for i in range(3):
        commit(tmp_path / "o.db", f"digest {i}")
    with sqlite3.connect(tmp_path / "o.db") as connection:
        connection.execute("delete from commitments where number = 2")
    with pytest.raises(DamagedFile):
        read_ledger(tmp_path / "o.db")


def test_an_entry_that_was_cut_out_and_those_after_it_renumbered_is_seen(tmp_path):
    for i in range(3):
        commit(tmp_path / "o.db", f"digest {i}")
    with sqlite3.connect(tmp_path / "o.db") as connection:
        connection.execute("delete from commitments where number = 2")
        connection.execute("update commitments set number = 2 where number = 3")
    with pytest.raises(DamagedFile, match="entry 2"):
        read_ledger(tmp_path / "o.db")


def test_a_file_that_is_no_ledger_is_an_error(tmp_path):
    with pytest.raises(MissingData):
        read_ledger(tmp_path / "none.db")
    (tmp_path / "o.db").write_bytes(b"not a database" * 100)
    with pytest.raises(DamagedFile, match="a ledger of commitments"):
        read_ledger(tmp_path / "o.db")


def test_a_salt_is_drawn_once_and_is_its_owners_alone(tmp_path):
    with pytest.raises(MissingData, match="without a salt"):
        salt_of(tmp_path)
    with drawn_salt(tmp_path) as salt:
        assert salt_of(tmp_path) == salt  # stored before the ledger has its digest
    with drawn_salt(tmp_path) as again:
        assert again == salt
    assert len(salt) == 64
    assert (tmp_path / "salt").stat().st_mode & 0o077 == 0


def test_a_commitment_that_failed_leaves_no_salt_but_the_one_that_was_there(tmp_path):
    (tmp_path / "file").write_text("no directory")

    def failed():
        with pytest.raises(NotWritten), drawn_salt(tmp_path) as salt:
            commit(tmp_path / "file" / "o.db", salted_digest(salt, mark()))

    failed()
    assert not (tmp_path / "salt").exists()
    with drawn_salt(tmp_path) as salt:
        commit(tmp_path / "o.db", salted_digest(salt, mark()))
    failed()
    assert salt_of(tmp_path) == salt
