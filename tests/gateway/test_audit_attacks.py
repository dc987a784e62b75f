"""Edits of an audit log in whole records by who can write its files and those of others, and does not hold the key."""

import json
from pathlib import Path

import pytest

from feint.errors import BadInput, DamagedFile
from feint.gateway.telemetry.audit_chain import Head, verify
from feint.gateway.telemetry.audit_log import AuditLog

KEY = "0123456789abcdef0123456789abcdef"
SIZE = 4  # entries of a file; a log is two, as it was rotated once
LOG, ANOTHER = "audit.jsonl", "another.jsonl"


class Scene:
    """Two logs with one key, rotated once, in the shipped log of both."""

    def __init__(self, path: Path) -> None:
        self.path, self.heads = path, list[Head]()
        for name in (LOG, ANOTHER):
            self.go_on(name)
            (path / name).rename(path / f"{name}.1")
            self.go_on(name)
        self.name = self.heads[0].log
        self.note()

    def note(self) -> None:
        """The operator notes the last head of the log, as `feint audit-log` prints it."""
        self.noted = [head for head in self.heads if head.log == self.name][-1]._replace(log="")

    def go_on(self, name: str = LOG) -> None:
        """The gateway that writes a log starts, enters and stops."""
        with AuditLog(self.path / name, KEY, ship=self.heads.append) as log:
            for _ in range(SIZE):
                log.enter("refused", client=f"client {len(self.heads)}")  # in one millisecond others were the same

    def lines(self, name: str = LOG) -> list[bytes]:
        return (self.path / name).read_bytes().splitlines(keepends=True)

    def write(self, *lines: bytes, name: str = LOG) -> None:
        (self.path / name).write_bytes(b"".join(lines))

    def check(self, heads: list[Head], **how):
        files = [self.path / f"{LOG}.1", self.path / LOG]
        return verify([file for file in files if file.exists()], key=KEY, heads=heads, **how)


@pytest.fixture
def scene(tmp_path):
    return Scene(tmp_path)


def swap(scene, i, j):
    lines = scene.lines()
    lines[i], lines[j] = lines[j], lines[i]
    scene.write(*lines)


def swap_across_files(scene):
    old, new = scene.lines(f"{LOG}.1"), scene.lines()
    old[1], new[1] = new[1], old[1]
    scene.write(*old, name=f"{LOG}.1")
    scene.write(*new)


def swap_files(scene):
    old, new = scene.lines(f"{LOG}.1"), scene.lines()
    scene.write(*new, name=f"{LOG}.1")
    scene.write(*old)


def put(scene, at, *records, count=1):
    """Put records in the place of `count` ones."""
    lines = scene.lines()
    lines[at : at + count] = records
    scene.write(*lines)


def take_another(scene, *, gateway_goes_on):
    """Put the whole log of another gateway, and its head, in this one's place."""
    for name in ("", ".1", ".head"):
        (scene.path / f"{ANOTHER}{name}").replace(scene.path / f"{LOG}{name}")
    if gateway_goes_on:
        scene.go_on()


def replay(scene, *, gateway_goes_on):
    """Put an older log back, with the head of its time."""
    kept = {file: file.read_bytes() for file in scene.path.iterdir()}
    scene.go_on()
    scene.note()
    for file, content in kept.items():
        file.write_bytes(content)
    if gateway_goes_on:
        scene.go_on()


def cut_last_and_go_on_without_a_head(scene):
    scene.write(*scene.lines()[:-2])
    (scene.path / f"{LOG}.head").unlink()
    scene.go_on()


def continue_another(scene):
    """Let the gateway go on after a record of another log, without the head beside the file."""
    scene.write(*scene.lines(ANOTHER)[-1:])
    (scene.path / f"{LOG}.head").unlink()
    (scene.path / f"{LOG}.1").unlink()
    scene.go_on()


def begin_anew(scene):
    for name in ("", ".1", ".head"):
        (scene.path / f"{LOG}{name}").unlink()
    for _ in range(3):
        scene.go_on()


ATTACKS = {
    "swap two records": lambda it: swap(it, 1, 2),
    "swap the last two": lambda it: swap(it, -1, -2),
    "swap records of two files": swap_across_files,
    "swap the files": swap_files,
    "copy over the next": lambda it: put(it, 2, it.lines()[1]),
    "copy over the last": lambda it: put(it, SIZE - 1, it.lines()[0]),
    "copy behind the last": lambda it: put(it, SIZE, it.lines()[-1], count=0),
    "replace by another log's": lambda it: put(it, 2, it.lines(ANOTHER)[2]),
    "insert another log's": lambda it: put(it, 2, it.lines(ANOTHER)[2], count=0),
    "append another log's next": lambda it: put(it, SIZE, *it.lines(ANOTHER), count=0),
    "end as another log": lambda it: put(it, 2, *it.lines(ANOTHER)[2:], count=2),
    "file of another log": lambda it: it.write(*it.lines(ANOTHER)),
    "older file of another log": lambda it: it.write(*it.lines(f"{ANOTHER}.1"), name=f"{LOG}.1"),
    "whole other log": lambda it: take_another(it, gateway_goes_on=False),
    "whole other log, gone on": lambda it: take_another(it, gateway_goes_on=True),
    "seal of the head as a record": lambda it: put(it, SIZE, (it.path / f"{LOG}.head").read_bytes() + b"\n", count=0),
    "replay": lambda it: replay(it, gateway_goes_on=False),
    "replay, gone on": lambda it: replay(it, gateway_goes_on=True),
    "cut, gone on without a head": cut_last_and_go_on_without_a_head,
    "another log's record, gone on without a head": continue_another,
    "begun anew": begin_anew,
    "cut behind a head": lambda it: it.write(*it.lines()[:2]),
    "cut before a head": lambda it: it.write(*it.lines()[2:]),
    "beginning cut at a head": lambda it: put(it, 0, count=2),
    "older file gone": lambda it: (it.path / f"{LOG}.1").unlink(),
    "beginning of the older file cut at a head": lambda it: it.write(*it.lines(f"{LOG}.1")[1:], name=f"{LOG}.1"),
    "newer file emptied": lambda it: it.write(),
    "newer file gone": lambda it: (it.path / LOG).unlink(),
    "both logs behind each other": lambda it: it.write(*it.lines(), *it.lines(f"{ANOTHER}.1"), *it.lines(ANOTHER)),
    "log twice": lambda it: it.write(*it.lines(), *it.lines(f"{LOG}.1"), *it.lines()),
    "older file twice": lambda it: it.write(*it.lines(f"{LOG}.1"), *it.lines(f"{LOG}.1"), name=f"{LOG}.1"),
    "end of the older file again": lambda it: it.write(*it.lines(f"{LOG}.1")[-2:], *it.lines()),
    "beginning of the newer file twice": lambda it: it.write(*it.lines()[:2], *it.lines()),
    "newer file in the older one, too": lambda it: it.write(*it.lines(f"{LOG}.1"), *it.lines(), name=f"{LOG}.1"),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("known", ["shipped", "noted"])
def test_an_edit_in_whole_records_fails(scene, known, attack):
    attack(scene)
    heads, log = (scene.heads, scene.name) if known == "shipped" else ([scene.noted], "")
    with pytest.raises((DamagedFile, BadInput)):
        scene.check(heads, log=log)


def test_what_was_written_passes(scene):
    for chain in (scene.check(scene.heads, log=scene.name), scene.check([scene.noted])):
        assert (chain.first, chain.head._replace(log="")) == (0, scene.noted)


def test_heads_of_several_logs_do_not_tell_which_is_checked(scene):
    with pytest.raises(BadInput, match=f"heads of 2 logs.*--log {scene.name}"):
        scene.check(scene.heads)


def test_a_beginning_is_missing_only_where_the_operator_says_so(scene):
    (scene.path / f"{LOG}.1").unlink()
    with pytest.raises(DamagedFile, match=f"from number {SIZE}.*--first {SIZE}"):
        scene.check(scene.heads, log=scene.name)
    assert scene.check(scene.heads, log=scene.name, first=SIZE).first == SIZE
    for first in (SIZE - 1, SIZE + 1):
        with pytest.raises(DamagedFile):
            scene.check(scene.heads, log=scene.name, first=first)
    with pytest.raises(DamagedFile, match=f"no head {SIZE - 1} that is known"):
        scene.check([scene.noted], first=SIZE)


def test_the_command_names_the_log_and_its_first_entry(run_cli, scene):
    (scene.path / "key").write_text(KEY)
    check = f"audit-log {scene.path / LOG} --key-file {scene.path / 'key'} --shipped {scene.path / 'shipped'}"
    heads = [{"ecs": {}, "feint": {"audit": head._asdict()}} for head in scene.heads]
    (scene.path / "shipped").write_text("\n".join(map(json.dumps, heads)))
    assert run_cli(check)[0] == 2
    assert run_cli(f"{check} --log {scene.name}")[0] == 2
    code, out, _ = run_cli(f"{check} --log {scene.name} --first {SIZE}")
    assert code == 0
    assert f"entries {SIZE} to {2 * SIZE - 1} of {scene.name}, sealed and unbroken" in out
