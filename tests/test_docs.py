"""What is documented runs as printed, and what is tabled is what was measured."""

import re
import shlex
from pathlib import Path

import pytest
from docs import tables

from feint import cli

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def uncommented(code: str) -> str:
    return re.sub(r" *#.*", "", code)


@pytest.mark.parametrize(
    ("page", "prints"),
    {
        "README.md": r"600 queries bought 9\d\.\d% fidelity",  # through labels only
        "docs/quickstart.md": r"600 queries bought \d\d?\.\d% fidelity\n\| attack \| none \| apgp \|",
    }.items(),
)
def test_python_examples_run(page, prints, capsys):
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    assert re.search(prints, capsys.readouterr().out)


@pytest.mark.parametrize(
    ("page", "least", "says"),
    [
        ("README.md", 4, "stealer accuracy"),
        ("docs/quickstart.md", 4, "stealer accuracy"),
        ("docs/suites.md", 2, "18 cells"),
    ],
)
def test_commands_run(page, least, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "toml"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("feint ")]
    assert len(lines) >= least
    for line in lines:
        cli.main(shlex.split(line)[1:])  # a mistake raises SystemExit
    assert says in capsys.readouterr().out


def test_both_languages_show_the_same_code_tables_and_pictures():
    for language in ("sh", "python"):
        ours, theirs = ([uncommented(it) for it in blocks(page, language)] for page in ("README.md", "README.zh.md"))
        assert ours == theirs
    pages = [(ROOT / page).read_text() for page in ("README.md", "README.zh.md")]
    for pattern in (r"<!-- table: (\w+) -->", r"\]\((docs/\S+)\)", r"^## "):
        assert len({len(re.findall(pattern, page, re.MULTILINE)) for page in pages}) == 1


@pytest.mark.parametrize("page", tables.PAGES)
def test_tables_are_those_of_the_results(page):
    assert (ROOT / page).read_text() == tables.filled(page), "run `make tables`"


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "results" / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
