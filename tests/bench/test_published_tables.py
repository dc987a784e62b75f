"""Published tables that no suite can express: every published row is a job of `python -m benchmarks.tables`."""

import pytest
from benchmarks.record import RESULTS
from benchmarks.tables.__main__ import TABLES, run
from benchmarks.tables.rows import slug
from docs.tables.published import audited

from feint.bench.load import shipped
from feint.evaluation import jsonl
from feint.progress import NO_PROGRESS


@pytest.mark.parametrize("folder", sorted({folder for folder, _ in TABLES.values()}))
def test_every_published_row_is_a_job(folder, real_data):
    names = {slug(name) for place, make in TABLES.values() if place == folder for name, _ in make(NO_PROGRESS)}
    published = {row["name"] for row in jsonl.read(RESULTS / f"{folder}.jsonl")}
    assert published
    assert published <= names


def test_a_row_is_made_once(tmp_path):
    def jobs():
        yield "a pool, with (d + 1) queries", lambda: {"accuracy": 0.5}

    folder = tmp_path / "adaptive"
    run("adaptive", folder, jobs, NO_PROGRESS)
    run(
        "adaptive",
        folder,
        lambda: iter([("a pool with d + 1 queries", lambda: pytest.fail("made again"))]),
        NO_PROGRESS,
    )
    (row,) = jsonl.read(tmp_path / "adaptive.jsonl")
    assert row["name"] == "a-pool-with-d-and-1-queries"
    assert row["accuracy"] == 0.5
    assert row["command"] == "python -m benchmarks.tables adaptive"


def test_no_table_is_stored_where_the_rows_of_a_suite_are():
    assert not set(shipped()) & {folder for folder, _ in TABLES.values()}


def test_no_audit_is_behind_its_suite_by_more_than_noise():
    compared = list(audited())
    assert compared
    for it in compared:
        assert it.cell["stealer_accuracy"] >= it.suite - it.noise, it
