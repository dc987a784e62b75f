"""The house keeps its own rules: every method has a citation and a docs row, and what is public is on the list."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests import examples

import feint
from feint import attacks, defenses
from feint.attacks import Attack, Augmentation, Disguise, Lens, LensedAttack
from feint.defenses.boundary import Boundary
from feint.defenses.inputs import Input
from feint.defenses.outputs import Output
from feint.recipes.recipe import exported_recipes
from feint.signature import DOMAINS

ROOT = Path(__file__).parents[1]
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
PUBLIC = [
    "Answer", "Defense", "Matrix", "Oracle", "Query", "Service", "Training",
    "attacks", "connect", "data", "defenses", "export", "metrics", "networks", "runners", "train", "victims",
]  # fmt: skip


def methods():
    in_rooms = [(example.recipe, examples.page_of(room)) for room in examples.ROOMS for example in room.values()]
    parts = [(part, "attacks") for part in examples.PARTS if isinstance(part, (Augmentation, Disguise))]
    return [
        pytest.param(type(recipe), page, id=type(recipe).__name__)
        for recipe, page in in_rooms + parts
        if not isinstance(recipe, LensedAttack)
    ]


def exported():
    return exported_recipes(attacks, defenses.access, defenses.boundary, defenses.inputs, defenses.outputs)


def classes_in(*rooms: str) -> list[ast.ClassDef]:
    """Return the classes that the public modules of these packages define, read without importing them."""
    files = [file for room in rooms for file in (ROOT / "src" / "feint" / room).rglob("[a-z]*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    return [node for node in nodes if isinstance(node, ast.ClassDef)]


def cites(node: ast.ClassDef) -> bool:
    fields = [line for line in node.body if isinstance(line, ast.AnnAssign) and line.value is not None]
    return any(ast.unparse(field.target) == "cite" for field in fields)


def test_every_method_is_exported():
    """A class with a citation is a method, unless others inherit it."""
    classes = classes_in("attacks", *(f"defenses/{room}" for room in ("access", "boundary", "inputs", "outputs")))
    inherited = {ast.unparse(base) for node in classes for base in node.bases}
    lacking = sorted({node.name for node in classes if cites(node)} - inherited - exported().keys())
    assert not lacking, f"not exported by the __init__.py of their package: {lacking}"


def test_every_domain_is_registered_and_has_an_example():
    domains = {node.name for node in classes_in("signature") if "Domain" in map(ast.unparse, node.bases)}
    registered = {kind.__name__ for kind in DOMAINS.values()}
    assert registered == domains, "not in DOMAINS of feint.signature, each under a dtype of its own"
    assert examples.DOMAINS.keys() == domains, "not in DOMAINS of tests/examples.py"


def test_everything_exported_has_an_example():
    recipes = [*examples.every_recipe(), *(example.recipe for room in examples.ROOMS for example in room.values())]
    lacking = sorted(kind.__name__ for kind in {*exported().values()} - {type(recipe) for recipe in recipes})
    assert not lacking, f"without an entry in tests/examples.py: {lacking}"


@pytest.mark.parametrize(
    ("room", "is_method"),
    [
        (examples.ATTACKS, lambda kind: issubclass(kind, Attack)),
        (examples.LENSES, lambda kind: issubclass(kind, Lens)),
        (examples.BOUNDARY, lambda kind: issubclass(kind, Boundary)),
        (examples.INPUTS, lambda kind: issubclass(kind, Input)),
        (examples.OUTPUTS, lambda kind: issubclass(kind, Output)),
        (examples.RULES, lambda kind: hasattr(kind, "admit")),
        (examples.DETECTORS, lambda kind: hasattr(kind, "observe")),
    ],
)
def test_every_method_is_tested_in_its_room(room, is_method):
    lacking = sorted({name for name, kind in exported().items() if is_method(kind)} - room.keys())
    assert not lacking, f"without an entry among those of their room in tests/examples.py: {lacking}"
    assert room.keys() <= exported().keys(), "an entry of tests/examples.py that its package does not export"


@pytest.mark.parametrize(("method", "page"), methods())
def test_every_method_cites_its_paper_and_has_a_docs_row(method, page):
    assert method.cite in bibliography(), "no entry in docs/references.bib"
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    rows = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    assert method.__name__ in rows, f"no row in docs/reference/{page}.md: run `make tables`"
    written = re.sub(r"<!-- table: .*?<!-- /table -->", "", text, flags=re.DOTALL)
    assert f"`{method.__name__}" in written, f"no line on cost and limits below its row in docs/reference/{page}.md"
    assert method.__doc__
    names_paper = re.search(r"\d{4}", method.__doc__) or "not a method of that paper" in method.__doc__
    assert names_paper, "the docstring names no paper: (Authors, Venue Year)"


def bibliography() -> set[str]:
    """Return the keys of docs/references.bib."""
    return set(re.findall(r"^@\w+{(\w+),$", (ROOT / "docs" / "references.bib").read_text(), re.MULTILINE))


def test_every_reference_begins_and_ends():
    lines = (ROOT / "docs" / "references.bib").read_text().splitlines()
    marks = [line[0] for line in lines if line.startswith(("@", "}"))]
    assert marks == ["@", "}"] * (len(marks) // 2)


def test_every_reference_is_cited_and_every_citation_is_there():
    text = "\n".join(file.read_text() for file in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py")])
    cited = set(re.findall(r"{cite:[pt]}`(\w+)`", text)) | set(re.findall(r'cite: ClassVar\[str\] = "(\w+)"', text))
    assert sorted(cited - bibliography()) == [], "cited, and not in docs/references.bib"
    assert sorted(bibliography() - cited) == [], "in docs/references.bib, and cited nowhere"


def test_the_public_names_are_these():
    assert sorted(feint.__all__) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(feint, name) is not None


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics", "Matrix", "train"])
def test_a_public_name_is_there_in_a_fresh_process(name):
    assert name in run(f"import feint; print(feint.{name})")


def test_the_command_line_starts_without_torch():
    assert run("import sys, feint.cli; print('torch' in sys.modules)") == "False"


@pytest.mark.slow
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
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        spelled = {(ast.unparse(node.func), *(ast.unparse(keyword) for keyword in node.keywords)) for node in calls}
        assert all("weights_only=True" in call for call in spelled if call[0] == "torch.load"), file
        assert not any(call[0] in ("eval", "exec") or "allow_pickle=True" in call for call in spelled), file
        assert ("import pickle\n" in text) == (file.parent.name == "runners" and file.name == "local.py"), file


def test_product_files_do_not_mention_the_shared_folder():
    for file in [*(ROOT / "src").rglob("*.*"), *(ROOT / "docs").glob("**/*.md"), *ROOT.glob("*.md"), ROOT / "Makefile"]:
        if file.suffix in (".py", ".md", ".html", ".toml", ""):
            assert "shared/" not in file.read_text(), file


@pytest.mark.parametrize("file", BENCHMARKS, ids=lambda file: "/".join(file.parts[-2:]))
def test_a_benchmark_imports_what_there_is(file):
    """Imports are looked up one by one, since most benchmarks need tools that the tests do not have."""
    statements = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    for node in (node for node in statements if str(node.module).partition(".")[0] == "feint"):
        module = importlib.import_module(str(node.module))
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")
