"""The audit log: appended to by many, and no line of it changes, moves or goes unseen."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feint.errors import BadInput, BadRecipe, DamagedFile, MissingData, NotWritten
from feint.gateway.record import RequestRecord
from feint.gateway.telemetry.audit_chain import read_key, shipped_heads, verify
from feint.gateway.telemetry.audit_log import AuditLog, AuditObserver
from feint.gateway.telemetry.logs import Logs
from feint.gateway.telemetry.observers import Telemetry

KEY = "0123456789abcdef0123456789abcdef"
LINES = 5


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


def filled(path, lines, key=KEY, name="client"):
    """Append entries, and return the heads that were shipped. In one millisecond others of a name are the same."""
    heads = []
    with AuditLog(path, key, ship=heads.append) as log:
        for i in range(lines):
            log.enter("refused", client=f"{name} {i}", reason="Überschritten\n")
    return heads


def said(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def record(client="ann", outcome="refused", reason="OverBudget", time=0.0, **more):
    return RequestRecord("digits", client, 3, time, outcome=outcome, reason=reason, **more)


def test_lines_follow_each_other_through_reopening(path):
    filled(path, 3)
    heads = filled(path, 2)
    chain = verify([path], key=KEY, heads=heads)
    assert (chain.first, chain.head, chain.torn) == (0, heads[-1], 0)
    assert chain.head.number == 4
    assert path.stat().st_mode & 0o077 == 0


def edits(lines, place, byte, at, other):
    """Yield the contents of a file after each kind of edit of its lines."""
    content = b"".join(lines)
    yield content[:place] + byte + content[place + 1 :]
    yield content[:place] + byte + content[place:]
    yield content[:place] + content[place + 1 :]
    yield content[:place]
    yield content + content[place:]
    yield b"".join(lines[:at] + lines[at + 1 :])
    yield b"".join(lines[: at + 1] + lines[at:])
    yield b"".join([*lines[:at], b"{}\n", *lines[at:]])
    lines[at], lines[other] = lines[other], lines[at]
    yield b"".join(lines)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("log") / "audit.jsonl"
    heads = filled(path, LINES)
    return path, path.read_bytes(), heads


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_single_edit_fails(log, data):
    path, written, heads = log
    place, byte = data.draw(st.integers(0, len(written) - 1)), data.draw(st.binary(min_size=1, max_size=1))
    at, other = data.draw(st.integers(0, LINES - 1)), data.draw(st.integers(0, LINES - 1))
    for content in edits(written.splitlines(keepends=True), place, byte, at, other):
        path.write_bytes(content)
        if content == written:
            continue
        with pytest.raises(DamagedFile):
            verify([path], key=KEY, heads=heads[-1:])


def test_a_torn_end_fails_whatever_is_known_of_it(path):
    heads = filled(path, 2)
    for content in (path.read_bytes()[:-1], path.read_bytes() + b"{", path.read_bytes() + b"{\n"):
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match="torn"):
            verify([path], key=KEY, heads=heads[:1])


def test_entries_cut_away_with_the_head_beside_the_file_are_missed_by_the_shipped_head(path):
    filled(path, 2)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    heads = filled(path, 1)
    for file, content in before.items():
        file.write_bytes(content)
    with pytest.raises(DamagedFile, match="entries up to number 1, where number 2 was written"):
        verify([path], key=KEY, heads=heads)
    filled(path, 2, name="later")  # the gateway goes on
    with pytest.raises(DamagedFile, match="another hash than the head 2"):
        verify([path], key=KEY, heads=heads)


def test_a_log_that_is_emptied_fails(path):
    heads = filled(path, 2)
    path.write_bytes(b"")
    with pytest.raises(DamagedFile):
        verify([path], key=KEY, heads=heads)


def test_a_log_that_begins_anew_fails(path):
    heads = filled(path, 2)
    for file in path.parent.iterdir():
        file.unlink()
    with AuditLog(path, KEY, ship=heads.append) as log:
        log.enter("another beginning")
    with pytest.raises(DamagedFile, match="two heads with the number 0"):
        verify([path], key=KEY, heads=heads)


def test_a_log_whose_end_was_changed_while_nobody_wrote_does_not_go_on_unseen(path):
    filled(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    heads = filled(path, 1)
    with pytest.raises(DamagedFile, match="line 3, which does not follow"):
        verify([path], key=KEY, heads=heads)


def test_who_does_not_hold_the_key_cannot_write_the_log_anew(path):
    heads = filled(path, 2)
    for file in path.parent.iterdir():
        file.unlink()
    filled(path, 3, key="f" * 32)
    with pytest.raises(DamagedFile, match="line 1, which has no seal of this key"):
        verify([path], key=KEY, heads=heads[-1:])


def test_a_chain_is_not_believed_without_a_key_or_a_head(path):
    heads = filled(path, 1)
    with pytest.raises(BadInput, match="key"):
        verify([path], key="", heads=heads)
    with pytest.raises(BadInput, match="head"):
        verify([path], key=KEY, heads=[])
    with pytest.raises(BadInput, match="no head of"):
        verify([path], key=KEY, heads=[heads[0]._replace(log="another")])


def test_files_before_a_known_head_may_be_gone(path):
    heads = filled(path, 2)
    path.unlink()
    heads += filled(path, 2)
    assert verify([path], key=KEY, heads=heads, first=2).first == 2
    with pytest.raises(DamagedFile, match="entries from number 2"):
        verify([path], key=KEY, heads=heads[-1:])


WRAPS = {
    "plain": str,
    "docker": lambda line: json.dumps({"log": line + "\n", "stream": "stdout"}),
    "containerd": lambda line: f"2026-01-01T00:00:00Z stdout F {line}",
    "parsed": lambda line: json.dumps({"kubernetes": {"pod": "a"}, "log_processed": json.loads(line)}, indent=None),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_every_head_is_in_the_shipped_log(path, tmp_path, wrap):
    out = io.StringIO()
    telemetry = Telemetry(audit_log=path, audit_key=KEY, logs=Logs("error", to=out))
    telemetry(record())
    telemetry.enter("mode enforce", model="digits")
    telemetry.close()
    shipped = tmp_path / "gateway.log"
    shipped.write_text("\n".join(["Feint listens", *map(wrap, out.getvalue().splitlines())]))
    heads = shipped_heads([shipped])
    assert [head.number for head in heads] == [0, 1]
    assert verify([path], key=KEY, heads=heads).head == heads[-1]


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_no_client_writes_a_head_into_the_shipped_log(tmp_path, wrap):
    made_up = json.dumps({"ecs": {}, "feint": {"audit": {"log": "a", "number": 0, "hash": "0" * 32}}})
    line = {
        "ecs": {"version": "8"},
        "message": made_up,
        "user_agent": {"original": made_up},
        "feint": {"model": made_up},
    }
    (tmp_path / "log").write_text(wrap(json.dumps(line)) + "\n{" + "[" * 100_000)
    assert shipped_heads([tmp_path / "log"]) == []


def test_a_sealed_log_takes_no_line_without_a_seal(path):
    filled(path, 1)
    with pytest.raises(BadRecipe, match="its key"):
        AuditLog(path)


@pytest.mark.parametrize("key", ["", "secret"])
def test_a_key_that_could_be_guessed_is_refused(tmp_path, key):
    (tmp_path / "key").write_text(key)
    with pytest.raises(BadRecipe, match="16 or more"):
        read_key("", tmp_path / "key")


def test_many_processes_write_one_chain(path):
    code = (
        "import sys; from feint.gateway.telemetry.audit_log import AuditLog\n"
        f"with AuditLog(sys.argv[1], {KEY!r}) as log:\n"
        "    for i in range(200): log.enter('refused', client=sys.argv[2])"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    assert verify([path], key=KEY, heads=filled(path, 0)).head.number == 599


def test_the_begin_and_the_end_of_a_campaign_alarm_are_entered_once(path):
    observer = AuditObserver(AuditLog(path))
    for campaign in (None, False, True, True, None, True, False, False, True):
        observer(record(outcome="answered", reason="", campaign=campaign))
    actions = [line["action"] for line in said(path)]
    assert actions == ["campaign alarm begins", "campaign alarm ends", "campaign alarm begins"]


def test_a_log_that_is_renamed_goes_on_in_a_new_file_once_it_is_opened_again(path):
    old = path.with_suffix(".1")
    with AuditLog(path, KEY) as log, AuditLog(path, KEY) as another:
        log.enter("a")
        path.rename(old)
        log.enter("b")
        assert not path.exists()
        log.reopen()
        another.enter("c")
        head = log.enter("d")
    assert [line["action"] for line in said(old)] == ["a", "b"]
    assert [line["action"] for line in said(path)] == ["c", "d"]
    assert verify([old, path], key=KEY, heads=[head]).head == head
    with pytest.raises(DamagedFile):
        verify([path, old], key=KEY, heads=[head])


def test_a_log_that_cannot_be_opened_again_goes_on_in_the_old_file(path):
    old = path.with_suffix(".1")
    with AuditLog(path, KEY) as log:
        path.rename(old)
        path.mkdir()
        with pytest.raises(NotWritten):
            log.reopen()
        head = log.enter("a")
    assert verify([old], key=KEY, heads=[head]).head == head


def test_a_log_that_is_copied_and_truncated_goes_on(path):
    with AuditLog(path, KEY) as log:
        log.enter("a")
        path.with_suffix(".1").write_bytes(path.read_bytes())
        os.truncate(path, 0)
        head = log.enter("b")
    assert verify([path.with_suffix(".1"), path], key=KEY, heads=[head]).head.number == 1


def test_a_torn_line_is_counted_and_the_chain_goes_on(path):
    heads = filled(path, 2)
    with path.open("ab") as file:
        file.write(b'{"time":"2026')
    with pytest.raises(DamagedFile, match="torn"):
        verify([path], key=KEY, heads=heads)
    heads = filled(path, 2)
    assert verify([path], key=KEY, heads=heads).torn == 1


def test_a_torn_line_is_attested_by_the_next_entry(path):
    filled(path, 2)
    with path.open("ab") as file:
        file.write(b'{"time":"2026')
    heads = filled(path, 2)
    path.write_bytes(path.read_bytes().replace(b'{"time":"2026\n', b'{"time":"2025\n'))
    with pytest.raises(DamagedFile, match="does not follow"):
        verify([path], key=KEY, heads=heads)


@pytest.mark.parametrize("missing", [b"", b"{"])
def test_a_process_that_ended_before_it_noted_the_head_breaks_no_chain(path, missing):
    beside = path.with_name("audit.jsonl.head")
    filled(path, 2)
    noted = beside.read_bytes()
    filled(path, 1)
    beside.write_bytes(missing or noted)
    heads = filled(path, 1)
    assert verify([path], key=KEY, heads=heads).head.number == 3


def test_a_full_disk_loses_lines_and_their_number_is_entered(path, monkeypatch):
    def full(file, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with AuditLog(path, KEY) as log:
        log.enter("refused")
        with monkeypatch.context() as patch:
            patch.setattr("feint.gateway.telemetry.audit_log.os.write", full)
            AuditObserver(log)(record())  # a decision stands though its line is lost
            with pytest.raises(NotWritten):
                log.enter("enforced")
        head = log.enter("refused")
    assert said(path)[-1]["lost"] == 2
    assert verify([path], key=KEY, heads=[head]).head.number == 1


def test_a_gateway_ends_where_its_last_lines_cannot_be_written(path, monkeypatch, caplog):
    """As on a file system that was remounted read-only."""

    def read_only(file, content):
        raise OSError(errno.EROFS, "Read-only file system")

    telemetry = Telemetry(audit_log=path, audit_key=KEY)
    telemetry(record())
    telemetry(record())
    monkeypatch.setattr("feint.gateway.telemetry.audit_log.os.write", read_only)
    telemetry.close()
    assert "lacks its last lines: got audit.jsonl (Read-only file system)" in caplog.text
    assert telemetry.audit._file < 0


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


def test_a_clock_that_is_set_back_hides_no_refusal(path):
    observer = AuditObserver(AuditLog(path))
    for time in (1e6, 1e6, 1e6 - 86400):
        observer(record(time=time))
    assert [it["action"] for it in said(path)] == ["refused", "repeated", "refused"]
    observer.close()


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


def test_the_command(run_cli, path, tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    log = f"--audit-log {path} --audit-key-file {tmp_path / 'key'}"
    code, out, _ = run_cli(f"keys add ann {log}")
    assert code == 0
    assert out.strip() not in path.read_text()
    assert run_cli(f"keys rotate ann {log}")[0] == 0
    code, _, error = run_cli(f"keys revoke ann {log}")
    head = error.rpartition("head is ")[2].strip()
    actions = ["key added", "key rotated", "key rotated", "key revoked", "key revoked"]
    assert [it["action"] for it in said(path)] == actions
    check = f"audit-log {path} --key-file {tmp_path / 'key'} --head {head}"
    assert run_cli(check)[:2] == (
        0,
        f"entries 0 to 4 of {said(path)[0]['log']}, sealed and unbroken\nthe head is {head}\n",
    )
    path.write_text(path.read_text().replace("ann", "bob", 1))
    code, _, error = run_cli(check)
    assert code == 2
    assert "line 1, which has no seal" in error


def test_the_command_fails_without_a_key_a_head_or_a_log(run_cli, path, tmp_path):
    (tmp_path / "key").write_text(KEY)
    filled(path, 1)
    assert run_cli(f"audit-log {path}")[0] == 2
    assert run_cli(f"audit-log {path} --key-file {tmp_path / 'key'}")[0] == 2
    assert run_cli(f"audit-log {path} --key-file {tmp_path / 'none'} --head 0:{'0' * 32}")[0] == 2
    assert run_cli(f"audit-log nowhere.jsonl --key-file {tmp_path / 'key'} --head 0:{'0' * 32}")[0] == 2
    assert run_cli(f"audit-log {path} --key-file {tmp_path / 'key'} --head 0")[0] == 2


def test_a_key_that_cannot_be_entered_is_not_added(run_cli):
    code, out, _ = run_cli("keys add eve --audit-log /proc/none/log")
    assert code == 2
    assert out == ""
    assert "eve" not in run_cli("keys list")[1]


def test_missing_log_is_an_error(tmp_path):
    with pytest.raises(MissingData):
        verify([tmp_path / "none"], key=KEY, heads=filled(tmp_path / "log", 1))
    with pytest.raises(NotWritten):
        AuditLog(tmp_path / "none" / "log")
