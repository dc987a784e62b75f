"""The house keeps its own rules: every method has a citation and a docs row, and what is public is on the list."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import feint
from feint import attacks, defenses
from feint.attacks import Attack, Augmentation, Lens, LensedAttack, PointwiseLens
from feint.defenses.boundary import Boundary
from feint.defenses.inputs import Input
from feint.defenses.outputs import Output

ROOT = Path(__file__).parents[1]
PUBLIC = [
    "Answer", "Defense", "Matrix", "Oracle", "Query", "Service", "Training",
    "attacks", "connect", "data", "defenses", "export", "metrics", "networks", "runners", "train", "victims",
]  # fmt: skip


def methods():
    rooms = (attacks, defenses.access, defenses.boundary, defenses.inputs, defenses.outputs)
    found = {getattr(room, name): room for room in rooms for name in room.__all__}
    return [
        pytest.param(it, room, id=it.__name__)
        for it, room in found.items()
        if it not in (Attack, Augmentation, Boundary, Input, Lens, PointwiseLens, LensedAttack, Output)
        and (
            issubclass(it, (Attack, Augmentation, Boundary, Input, Lens, Output))
            or hasattr(it, "admit")
            or hasattr(it, "observe")
        )
    ]


@pytest.mark.parametrize(("method", "room"), methods())
def test_every_method_cites_its_paper_and_has_a_docs_row(method, room):
    bibliography = (ROOT / "docs" / "references.bib").read_text()
    assert re.search(rf"^@\w+{{{method.cite},$", bibliography, re.MULTILINE), f"{method.cite} is not in references.bib"
    page = "attacks" if room is attacks else "defenses"
    assert re.search(rf"^\| `{method.__name__}", (ROOT / "docs" / "reference" / f"{page}.md").read_text(), re.MULTILINE)
    assert method.__doc__
    assert re.search(r"\d{4}", method.__doc__) or "not a method of that paper" in method.__doc__


def test_every_reference_begins_and_ends():
    lines = (ROOT / "docs" / "references.bib").read_text().splitlines()
    marks = [line[0] for line in lines if line.startswith(("@", "}"))]
    assert marks == ["@", "}"] * (len(marks) // 2)


def test_every_reference_is_cited_and_every_citation_is_there():
    bibliography = set(re.findall(r"^@\w+{(\w+),$", (ROOT / "docs" / "references.bib").read_text(), re.MULTILINE))
    text = "\n".join(file.read_text() for file in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py")])
    cited = set(re.findall(r"{cite:[pt]}`(\w+)`", text)) | set(re.findall(r'cite: ClassVar\[str\] = "(\w+)"', text))
    assert cited == bibliography


def test_the_public_names_are_these():
    assert sorted(feint.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(feint, name) is not None


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("name", ["metrics", "Matrix", "train"])
def test_a_public_name_is_there_in_a_fresh_process(name):
    assert name in run(f"import feint; print(feint.{name})")


def test_the_command_line_starts_without_torch():
    assert run("import sys, feint.cli; print('torch' in sys.modules)") == "False"


def test_nothing_heavy_comes_with_the_public_names():
    code = f"import sys, feint; [getattr(feint, name) for name in {PUBLIC}]; print(*sys.modules)"
    loaded = set(run(code).split())
    assert not loaded & {
        "sklearn",
        "matplotlib",
        "datasets",
        "pandas",
        "httpx2",
        "jinja2",
        "torchvision",
        "cyclopts",
        "ray",
    }


def test_no_pickle_is_loaded_from_anywhere_but_the_own_processes():
    for file in (ROOT / "src").rglob("*.py"):
        text = file.read_text()
        assert not re.search(r"torch\.load\(|allow_pickle=True|(?<![.\w])eval\(|\bexec\(", text), file
        assert ("import pickle" in text) == (file.parent.name == "runners" and file.name == "local.py"), file


def test_the_product_knows_nothing_of_its_workshop():
    for file in [*(ROOT / "src").rglob("*.*"), *(ROOT / "docs").glob("**/*.md"), *ROOT.glob("*.md"), ROOT / "Makefile"]:
        if file.suffix in (".py", ".md", ".html", ".toml", ""):
            assert "shared/" not in file.read_text(), file
