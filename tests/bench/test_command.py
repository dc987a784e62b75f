"""`feint bench` as its user meets it: a plan, a run that continues, failures that are said, and what is unknown."""

import json
import re
from pathlib import Path

import pytest
from tests.support.suite_files import SMALL

from feint import bench
from feint.bench.estimate import estimate
from feint.bench.matrix import Matrix
from feint.evaluation.results import Results


@pytest.fixture
def run_cli(run_cli):
    """Run a command line in a directory with a small suite; returns its exit code and what it printed."""
    Path("small.toml").write_text(SMALL)
    return run_cli


@pytest.mark.slow
def test_a_dry_run_plans_and_makes_nothing(run_cli):
    code, out, _ = run_cli("bench small.toml --dry-run --out rows")
    cells = bench.load("small.toml").cells()
    asked = sum(it.budget for it in cells)
    assert code == 0
    assert f"{len(cells)} cells: 6 utilities and {len(cells) - 6} thefts" in out
    assert f"{asked:,} queries in all: budgets 40, 80; 1 seed" in out
    assert "known parameters, not on none · APGP · nasty teacher: it is not one map of single probabilities" in out
    assert "how fast the surrogate trains here in one thread (wide: " in out
    assert re.search(r"^About \d:\d\d:\d\d \(h:mm:ss\) on \d+ worker", out, re.MULTILINE)
    assert not Path("rows").exists()


@pytest.mark.slow
def test_a_bench_runs_continues_and_says_what_was_published(run_cli, monkeypatch):
    code, out, err = run_cli("bench small.toml --out rows --runner here --only 'wide, (none|sigmoid), .*, 40'")
    assert code == 0
    assert "Robust stealer accuracy" in out
    assert "victim_accuracy of wide, none: 0." in out
    assert "in ma2021undistillable" in out
    assert "Next: feint report rows" in out
    assert "cells: 0 of 13 done" in err
    assert Path("rows/suite.toml").read_text() == SMALL
    assert len(list(Path("rows").glob("*.json"))) == len(Results.load("rows")) == 13
    monkeypatch.setattr(Matrix, "row", lambda *_, **__: pytest.fail("ran again"))
    assert run_cli("bench small.toml --out rows --runner here --only 'wide, (none|sigmoid), .*, 40'")[0] == 0
    _, out, _ = run_cli("bench small.toml --dry-run --out rows --only 'wide, none, KnockoffNets$|wide, none, RS, '")
    assert "from rows of the same attack that are there" in out


@pytest.mark.slow
def test_processes_make_the_same_victims_defenses_and_rows(run_cli):
    for out, runner in (("here", "here"), ("apart", "processes --workers 1")):
        assert (
            run_cli(f"bench small.toml --out {out} --runner {runner} --only 'narrow, nasty.*, KnockoffNets, 40'")[0]
            == 0
        )
    here, apart = (
        {row.fingerprint: row.scores.get("fidelity") for row in Results.load(it)} for it in ("here", "apart")
    )
    assert here == apart
    assert len(here) == 2


def test_a_cell_that_fails_is_said_and_the_exit_code_is_1(run_cli, monkeypatch):
    row = Matrix.row
    monkeypatch.setattr(Matrix, "row", lambda it, cell, **more: 1 / 0 if cell.attack == "RS" else row(it, cell, **more))
    code, out, err = run_cli("bench small.toml --out rows --runner here --only 'narrow, none, (RS|KnockoffNets), 40'")
    assert code == 1
    assert "failed: narrow, none, RS, 40 queries, seed 0: ZeroDivisionError" in err
    assert "1 cell failed" in err
    assert "KnockoffNets" in out
    (file,) = Path("rows").glob("*-rs-*.json")
    assert json.loads(file.read_text())["error"].startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("bench smol.toml", "the suite 'smol.toml'"),
        ("bench quik", "did you mean 'quick'"),
        ("bench small.toml --only nothing_of_this", "matches no cell"),
        ("bench small.toml --runner raye", "the runner 'raye'"),
        ("bench small.toml --runner here --workers 2", "--workers with the runner here"),
        ("bench small.toml --seeds 0", "0 seeds"),
    ],
)
def test_what_is_unknown_is_said_in_one_line_and_exits_with_2(run_cli, line, says):
    code, _, err = run_cli(f"{line} --dry-run")
    assert code == 2
    assert says in err
    assert len(err.splitlines()) == 1


def test_an_estimate_is_made_of_rows_where_there_are_some(run_cli):
    read = bench.load("small.toml")
    cells = [it for it in read.cells("narrow, none, RS") if it.attack]
    assert [it.budget for it in cells if it.attack == "RS"] == [40, 80]
    run_cli("bench small.toml --out rows --runner here --only 'narrow, none, RS, 40'")
    results = Results.load("rows")
    (row,) = [it for it in results if it.attack]
    only = [it for it in cells if it.attack == "RS"]
    found = estimate(read, only, results)
    assert found.seconds == pytest.approx(2 * row.seconds)  # twice the queries; the row that is there costs nothing
    assert found.rests_on == "1 theft from rows of the same attack that are there"


def test_a_bench_is_collected_into_one_file_that_reports_and_benches_read(run_cli, monkeypatch):
    line = "bench small.toml --out rows --runner here --only 'narrow, none, KnockoffNets, 40'"
    code, out, _ = run_cli(f"{line} --collect")
    assert code == 0
    assert "Next: feint report rows.jsonl" in out
    assert list(Results.load("rows.jsonl")) == list(Results.load("rows"))
    assert len(Path("rows.jsonl").read_text().splitlines()) == len(list(Path("rows").glob("*.json"))) == 2
    for file in Path("rows").glob("*.json"):
        file.unlink()
    monkeypatch.setattr(Matrix, "row", lambda *_, **__: pytest.fail("ran again"))
    assert run_cli(line)[0] == 0
    reports = [run_cli(f"report {place} --no-pictures") for place in ("rows", "rows.jsonl")]
    assert {(code, out.splitlines()[0]) for code, out, _ in reports} == {(0, "# Two small victims")}
    assert reports[0][1] == reports[1][1]
    assert [err.strip() for _, _, err in reports] == ["rows/report.html", "rows.html"]
    assert Path("rows.html").read_bytes() == Path("rows/report.html").read_bytes()
