"""The audit log: appended to by many, and no line of it changes unseen."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feint.errors import DamagedFile, MissingData, NotWritten
from feint.gateway.record import RequestRecord
from feint.gateway.telemetry.audit_log import AuditLog, AuditObserver, verify


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def filled(path, lines):
    with AuditLog(path) as log:
        for i in range(lines):
            log.enter("refused", client=f"client {i}", reason="Überschritten\n")
    return path.read_bytes().splitlines(keepends=True)


def said(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def record(client="ann", outcome="refused", reason="OverBudget", time=0.0, **more):
    return RequestRecord("digits", client, 3, time, outcome=outcome, reason=reason, **more)


def test_lines_follow_each_other_through_reopening(path):
    filled(path, 3)
    filled(path, 2)
    assert verify([path]).lines == 5
    assert verify([path]).torn == 0
    assert verify([path]).follows == ""
    assert path.stat().st_mode & 0o077 == 0


@given(st.data())
def test_any_change_but_a_cut_end_is_found(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    lines = filled(path, 5)
    at = data.draw(st.integers(0, 3))
    kinds = [
        lambda: lines.pop(at) if at else lines.pop(1),
        lambda: lines.insert(at + 1, lines[at]),
        lambda: lines.insert(at + 1, b"{}\n"),
        lambda: lines.__setitem__(at, lines[at].replace(b"client", b"klient", 1)),
        lambda: lines.__setitem__(slice(at, at + 2), lines[at : at + 2][::-1]),
    ]
    data.draw(st.sampled_from(kinds))()
    path.write_bytes(b"".join(lines))
    with pytest.raises(DamagedFile, match=r"line [1-6]"):
        verify([path])


def test_many_processes_write_one_chain(path):
    code = (
        "import sys; from feint.gateway.telemetry.audit_log import AuditLog\n"
        "with AuditLog(sys.argv[1]) as log:\n"
        "    for i in range(200): log.enter('refused', client=sys.argv[2])"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert verify([path]).lines == 600


def test_the_begin_and_the_end_of_a_campaign_alarm_are_entered_once(path):
    observer = AuditObserver(AuditLog(path))
    for campaign in (None, False, True, True, None, True, False, False, True):
        observer(record(outcome="answered", reason="", campaign=campaign))
    actions = [line["action"] for line in said(path)]
    assert actions == ["campaign alarm begins", "campaign alarm ends", "campaign alarm begins"]


def test_a_log_that_is_renamed_goes_on_in_a_new_file_once_it_is_opened_again(path):
    old = path.with_suffix(".1")
    with AuditLog(path) as log:
        log.enter("a")
        path.rename(old)
        log.enter("b")
        assert not path.exists()
        log.reopen()
        log.enter("c")
    assert [line["action"] for line in said(old) + said(path)] == ["a", "b", "c"]
    assert verify([old, path]).lines == 3
    assert verify([path]).follows == verify([old]).last
    with pytest.raises(DamagedFile):
        verify([path, old])


def test_a_log_that_cannot_be_opened_again_goes_on_in_the_old_file(path):
    old = path.with_suffix(".1")
    with AuditLog(path) as log:
        path.rename(old)
        path.mkdir()
        with pytest.raises(NotWritten):
            log.reopen()
        log.enter("a")
    assert verify([old]).lines == 1


def test_a_log_that_is_copied_and_truncated_goes_on(path):
    with AuditLog(path) as log:
        log.enter("a")
        path.with_suffix(".1").write_bytes(path.read_bytes())
        os.truncate(path, 0)
        log.enter("b")
    assert verify([path.with_suffix(".1"), path]).lines == 2


def test_a_torn_line_is_counted_and_the_chain_goes_on(path):
    filled(path, 2)
    with path.open("ab") as file:
        file.write(b'{"time":"2026')
    filled(path, 2)
    assert verify([path]).lines == 5
    assert verify([path]).torn == 1


def test_a_full_disk_loses_lines_and_says_how_many(path):
    with AuditLog(path) as log:
        log.enter("refused")
        here = log._file
        log._file = os.open("/dev/full", os.O_RDWR | os.O_APPEND)
        observer = AuditObserver(log)
        observer(record())  # a decision stands though its line is lost
        with pytest.raises(NotWritten):
            log.enter("enforced")
        os.close(log._file)
        log._file = here
        log.enter("refused")
    assert said(path)[-1]["lost"] == 2
    assert verify([path]).lines == 2


def test_a_flood_of_refusals_is_two_lines(path):
    observer = AuditObserver(AuditLog(path))
    for i in range(1000):
        observer(record(time=i / 1000))
        observer(record(client="bob", outcome="answered", reason="", time=i / 1000))
    observer(record(client="bob", outcome="answered", reason="", time=100))
    observer(record(time=101))
    observer.close()
    assert [(it["action"], it["client"], it.get("times")) for it in said(path)] == [
        ("refused", "ann", None),
        ("repeated", "ann", 999),
        ("refused", "ann", None),
    ]


def test_pending_counts_are_written_on_close(path):
    observer = AuditObserver(AuditLog(path))
    for _ in range(5):
        observer(record())
    observer.close()
    assert sum(it.get("times", 1) for it in said(path)) == 5


def test_audit_log_holds_changes_of_rung_and_no_answers(path):
    observer = AuditObserver(AuditLog(path))
    for rung in (0, 0, 1, 1, 2):
        observer(record(outcome="answered", reason="", rung=rung, evidence=rung * 1.00001))
    observer.close()
    assert [(it["left"], it["reached"], it["evidence"]) for it in said(path)] == [(0, 1, 1.0), (1, 2, 2.0)]


def test_what_is_remembered_is_bounded(path, monkeypatch):
    monkeypatch.setattr("feint.gateway.telemetry.audit_log.CLIENTS", 50)
    observer = AuditObserver(AuditLog(path))
    for i in range(500):
        observer(record(client=str(i), rung=1))
    assert max(len(observer._rungs), len(observer._repeats)) <= 51
    observer.close()


def test_the_command(run_cli, path):
    code, out, _ = run_cli(f"keys add ann --audit-log {path}")
    assert code == 0
    assert out.strip() not in path.read_text()
    assert run_cli(f"keys rotate ann --audit-log {path}")[0] == run_cli(f"keys revoke ann --audit-log {path}")[0] == 0
    assert [it["action"] for it in said(path)] == [
        "key added",
        "key rotated",
        "key rotated",
        "key revoked",
        "key revoked",
    ]
    assert run_cli(f"audit-log {path}")[1].startswith("5 lines, each after the one before it")
    path.write_text(path.read_text().replace("ann", "bob", 1))
    code, _, err = run_cli(f"audit-log {path}")
    assert code == 2
    assert "line 2, which does not follow" in err
    assert run_cli("audit-log nowhere.jsonl")[0] == 2
    code, out, _ = run_cli("keys add eve --audit-log /proc/none/log")
    assert code == 2
    assert out == ""
    assert "eve" not in run_cli("keys list")[1]  # what cannot be entered is not done


def test_missing_log_is_an_error(tmp_path):
    with pytest.raises(MissingData):
        verify([tmp_path / "none"])
    with pytest.raises(NotWritten):
        AuditLog(tmp_path / "none" / "log")
