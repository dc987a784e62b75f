"""What is documented runs as printed, and what is tabled is what was measured."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from benchmarks.load.processes import free_port
from docs.tables import pages as tables

from feint import bench, cli, data
from feint.bench.load import shipped
from feint.gateway.array_query import ArrayQuery
from feint.gateway.server.bootstrap import load
from feint.gateway.settings_file import read
from feint.signature import DOMAINS
from feint.victims import Adapter, ClassOutputs, ColumnInputs, ModelFile, PixelInputs, TextInputs, TokenInputs
from feint.victims.json_api.answers import Pointers
from feint.victims.json_api.victim_file import VictimFile

ROOT = Path(__file__).parents[1]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def uncommented(code: str) -> str:
    return re.sub(r" *#.*", "", code)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "prints"),
    {
        "README.md": r"600 queries bought 9\d\.\d% fidelity",  # through labels only
        "docs/start/quickstart.md": r"600 queries bought \d\d?\.\d% fidelity\n\| attack \| none \| apgp \|",
        "docs/guides/research.md": r"\| attack \| none \| ModelGuard-W \|",
    }.items(),
)
def test_python_examples_run(page, prints, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    assert re.search(prints, capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "least", "says"),
    [
        ("README.md", 5, "digits.onnx, in this process"),
        ("docs/start/quickstart.md", 6, "stealer accuracy"),
        ("docs/guides/defend.md", 9, "stealer accuracy"),
        ("docs/guides/research.md", 1, "cells"),
        ("docs/reference/suites.md", 2, "18 cells"),
        ("docs/guides/export.md", 7, "with     served/digits/config.pbtxt, served/digits.yaml"),
    ],
)
def test_commands_run(page, least, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "toml"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
    assert run_commands(page) >= least
    assert says in capsys.readouterr().out


def run_commands(page: str) -> int:
    """Run a page's commands here, and return how many they are.

    A mistake raises `SystemExit`. An audit may end with code 3: within the minutes of a page nothing need be known.
    """
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.startswith("feint ")]
    for line in lines:
        try:
            cli.main(shlex.split(line)[1:])
        except SystemExit as end:
            if end.code != 3:
                raise
    return len(lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "name", "says"),
    [
        ("docs/start/credit.md", "lightgbm-credit", "tried credit: right on 77.3% of 300 samples"),
        ("docs/start/sentiment.md", "tfidf-imdb", "tried sentiment: right on "),
        ("docs/start/file_types.md", "magika", "tried files: right on "),
        ("docs/start/images.md", "cifar-imagenet", "tried served: right on "),
    ],
)
def test_pages_of_owners_models_run(page, name, says, stranger_of, tmp_path, monkeypatch, capsys):
    stranger = stranger_of(name)
    for file in {stranger.model, *stranger.data.parent.iterdir()}:
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run_commands(page) >= 4
    assert says in capsys.readouterr().out


def test_domains_page_names_every_domain():
    text = (ROOT / "docs" / "reference" / "domains.md").read_text()
    for domain in DOMAINS.values():
        assert f"| `{domain.__name__}` |" in text
        assert domain.noun in text


def test_suites_page_counts_the_thefts_of_every_suite():
    text = (ROOT / "docs" / "reference" / "suites.md").read_text()
    counts = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \| [^|]+ \|$", text, re.MULTILINE))
    cells = {name: bench.load(name).cells() for name in shipped()}
    assert counts == {name: f"{sum(bool(cell.attack) for cell in here):,}" for name, here in cells.items()}


def test_api_page_lists_every_package_and_module():
    listed = re.findall(r"^   (feint[\w.]*)$", (ROOT / "docs" / "reference" / "api.md").read_text(), re.MULTILINE)
    source = ROOT / "src" / "feint"
    public = {file.stem for file in source.glob("[a-z]*.py")} | {
        file.parent.name for file in source.glob("*/__init__.py")
    }
    assert sorted(listed) == sorted({"feint", *(f"feint.{name}" for name in public)})


def test_model_files_page_names_every_field():
    text = (ROOT / "docs" / "reference" / "model_files.md").read_text()
    inputs = PixelInputs, ColumnInputs, TokenInputs, TextInputs
    for kind in (ModelFile, Adapter, *inputs, ClassOutputs, VictimFile, Pointers):
        for field in fields(kind):
            assert field.name == "path" or f"`{field.name}`" in text, f"{kind.__name__}.{field.name}"


@pytest.mark.slow
def test_the_gateway_answers_as_its_page_says(tmp_path, monkeypatch, capsys):
    """In one folder: the commands, the gateway as a process of its own, and then the clients."""
    page, ports = "docs/guides/serve.md", {"8080": free_port(), "8081": free_port()}
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "toml"):
        (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(with_ports(block, ports))
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    assert lines.pop() == "feint serve gateway.toml"
    for line in lines:
        capsys.readouterr()
        if line.startswith("python "):
            subprocess.run(line.replace("python", sys.executable, 1), shell=True, check=True)
            continue
        cli.main(shlex.split(line)[1:])
        if line.startswith("feint keys"):
            monkeypatch.setenv("FEINT_KEY", capsys.readouterr().out.strip())
    with subprocess.Popen(
        [sys.executable, "-c", "from feint.cli import main; main()", "serve", "gateway.toml"], stdout=subprocess.PIPE
    ) as served:
        try:
            assert served.stdout is not None
            assert any(b'"message":"serving http' in line for line in served.stdout)
            assert "ladder.onnx, in this process" in capsys.readouterr().out  # of --check
            for block in blocks(page, "python"):
                exec(compile(with_ports(block, ports), page, "exec"), {})
        finally:
            served.terminate()
            served.stdout.read()
    assert served.returncode == 0
    assert len(json.loads(capsys.readouterr().out)) == 10


@pytest.mark.slow
def test_the_page_before_you_enforce_runs_beside_a_ledger_of_clients(tmp_path, monkeypatch, capsys):
    page = "docs/guides/enforce.md"
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "toml"):
        (tmp_path / block.splitlines()[0].removeprefix("# ")).write_text(block)
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), {})
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    printed = {}
    for line in lines:
        if line.startswith("feint shadow"):
            asyncio.run(asked_by_clients(120))
        cli.main(shlex.split(line)[1:])
        printed[line.split()[1]] = capsys.readouterr().out
    assert "digits: x FP32 (N, 1, 8, 8) → 10 classes, in shadow mode" in printed["serve"]
    assert "of 120 clients would be accused" in printed["shadow"]
    assert re.search(r"threshold = [\d.]+(e-\d+)?  # of 120 clients, share 0.01", printed["shadow"])
    assert re.search(r"clients: 120\n  queries: 3600\n", printed["fit"])


async def asked_by_clients(n: int) -> None:
    """Send ten digits of each of so many clients through the gateway of gateway.toml here."""
    state = await load(read(Path("gateway.toml")))
    x = data.load("digits").test.inputs().numpy()
    for i in range(n):
        drawn = np.random.default_rng(i).integers(len(x), size=10)
        await state.gateway.endpoints["digits"].answer(ArrayQuery(x[drawn], f"client {i}"))
    await state.close()


def with_ports(text: str, ports: dict[str, int]) -> str:
    return re.sub("|".join(ports), lambda match: f"{ports[match[0]]}", text)


def test_both_languages_show_the_same_code_tables_and_pictures():
    for language in ("sh", "python"):
        ours, theirs = (
            [uncommented(block) for block in blocks(page, language)] for page in ("README.md", "README.zh.md")
        )
        assert ours == theirs
    pages = [(ROOT / page).read_text() for page in ("README.md", "README.zh.md")]
    for pattern in (r"<!-- table: (\w+) -->", r"\]\((docs/\S+)\)", r"^## "):
        assert len({len(re.findall(pattern, page, re.MULTILINE)) for page in pages}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("page", tables.PAGES)
def test_tables_are_those_of_the_results(page):
    assert (ROOT / page).read_text() == tables.filled(page), "run `make tables`"


PAGES = [*ROOT.glob("*.md"), *(page for page in ROOT.glob("docs/**/*.md") if "_build" not in page.parts)]


def headings(page: Path) -> set[str]:
    """The anchors of a page, as Markdown readers make them of its headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "results" / "README.md"], ids=lambda it: f"{it.relative_to(ROOT)}")
def test_links_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in headings(there), f"{target}#{anchor}"


def test_readme_has_at_most_120_lines():
    for page in ("README.md", "README.zh.md"):
        assert len((ROOT / page).read_text().splitlines()) <= 120


def test_architecture_page_names_every_module():
    text = (ROOT / "docs" / "reference" / "architecture.md").read_text()
    source = ROOT / "src"
    for file in (source / "feint").rglob("*.py"):
        parts = file.relative_to(source).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        assert f"| `{name}` |" in text, f"{name}: run `make tables`"


def test_the_tree_of_packages_fits_its_page():
    lines = (ROOT / "docs" / "reference" / "architecture.md").read_text().splitlines()
    tree = lines[lines.index("feint/") : lines.index("<!-- /table -->")]
    assert max(map(len, tree)) <= 92, "shorten the first sentence of the package's docstring"


def test_table_cells_hold_one_line():
    for page in PAGES:
        for line in page.read_text().splitlines():
            cells = re.split(r"(?<!\\)\|", line) if line.startswith("| ") else []
            assert max(map(len, cells), default=0) <= 160, f"{page.name}: {max(cells, key=len)}"


def test_no_line_of_a_page_is_a_comment_of_myst():
    for page in PAGES:
        assert not re.search(r"^ *%.*", page.read_text(), re.MULTILINE), page.name  # the line is left out


def test_pages_say_attacker():
    for page in PAGES:
        written = re.sub(r"<!-- table: .*?<!-- /table -->", "", page.read_text(), flags=re.DOTALL)
        assert not re.search(r"\b(thief|thieves|he|him|his)\b", written, re.IGNORECASE), page.name
