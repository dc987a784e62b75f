"""Files of the workers' metrics: a full disk is an error, and never the end of a process."""

import errno
import os
from contextlib import closing

import pytest
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

from feint.errors import NotWritten
from feint.gateway.telemetry import metrics_files
from feint.gateway.telemetry.metrics_files import FIRST, AllocatedFile


def room(path) -> int:
    """The bytes that a file takes on the disk."""
    return 512 * path.stat().st_blocks


def test_the_room_of_a_file_is_taken_before_it_is_written(tmp_path):
    path = tmp_path / "counter_0.db"
    file = AllocatedFile(str(path))
    assert room(path) >= path.stat().st_size == FIRST
    for number in range(2000):
        file.write_value(f"{number:0100}", float(number), 0.0)
        assert room(path) >= file._capacity
    assert path.stat().st_size > FIRST
    file.close()
    with closing(MmapedDict(str(path), read_mode=True)) as read:
        assert [value for _, value, _ in read.read_all_values()] == [*range(2000)]


def test_a_file_that_is_there_goes_on(tmp_path):
    path = str(tmp_path / "counter_0.db")
    with closing(AllocatedFile(path)) as file:
        file.write_value("requests", 7.0, 0.0)
    with closing(AllocatedFile(path)) as file:
        assert file.read_value("requests")[0] == 7.0


def full(monkeypatch, *, after: int) -> None:
    """Have the disk take so many parts, and no more."""
    taken = []

    def allocate(file, start, size):
        taken.append(size)
        if len(taken) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", allocate)


FULL = r"workers' metrics \(No space left on device\).*TMPDIR"


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    full(monkeypatch, after=0)
    with pytest.raises(NotWritten, match=FULL):
        AllocatedFile(str(tmp_path / "counter_0.db"))


def test_where_the_disk_is_full_what_was_counted_stays(tmp_path, monkeypatch):
    full(monkeypatch, after=1)
    with closing(AllocatedFile(str(tmp_path / "counter_0.db"))) as file:
        file.write_value("requests", 7.0, 0.0)
        with pytest.raises(NotWritten, match=FULL):
            file.write_value("x" * FIRST, 1.0, 0.0)
        assert [(key, value) for key, value, *_ in file.read_all_values()] == [("requests", 7.0)]


def test_workers_count_in_such_files(monkeypatch):
    monkeypatch.setattr(values, "MmapedDict", MmapedDict)
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    metrics_files.count_as(3)
    assert values.MmapedDict is AllocatedFile
