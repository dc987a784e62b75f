"""The language of the source: unique classes, variables that are nouns, documented modules, no circles."""

import ast
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRONOUNS = {"it", "found", "told", "said", "seen", "given", "own", "kept"}
FILES = {".".join(file.relative_to(ROOT / "src").with_suffix("").parts): file for file in ROOT.glob("src/**/*.py")}
TREES = {name.removesuffix(".__init__"): ast.parse(file.read_text()) for name, file in FILES.items()}
NODES = [(module, node) for module, tree in TREES.items() for node in ast.walk(tree)]


def test_class_names_are_defined_once():
    names = Counter(node.name for _, node in NODES if isinstance(node, ast.ClassDef))
    assert {name for name, count in names.items() if count > 1} == set()


def test_no_variable_argument_or_attribute_is_a_pronoun():
    kinds = ast.Name | ast.Attribute | ast.arg | ast.alias | ast.ExceptHandler | ast.MatchAs
    bound = [(at, node) for at, node in NODES if isinstance(node, kinds)]
    bound = [(at, node) for at, node in bound if isinstance(getattr(node, "ctx", ast.Store()), ast.Store)]
    names = [(at, node, {"id", "attr", "arg", "asname", "name"} & vars(node).keys()) for at, node in bound]
    assert [(at, node.lineno) for at, node, keys in names if PRONOUNS & {getattr(node, key) for key in keys}] == []


def test_architecture_page_lists_every_module():
    (page,) = ROOT.glob("docs/**/architecture.md")
    listed = set(re.findall(r"^\| `(feint[\w.]*)` \|", page.read_text(), re.MULTILINE))
    assert listed == TREES.keys(), "make tables lists the modules anew"


def test_few_modules_are_outside_of_packages():
    assert len([*ROOT.glob("src/feint/*.py")]) <= 1 + 14  # __init__.py and 14 more


def test_no_modules_import_each_other_in_a_circle():
    """An import for the type checker or within a function counts too."""
    graph = {module: set() for module in TREES}
    for at, node in [(at, node) for at, node in NODES if isinstance(node, ast.Import | ast.ImportFrom)]:
        base = getattr(node, "module", "")
        names = {f"{base}.{alias.name}".strip(".") for alias in node.names}
        graph[at] |= {name if name in TREES else base for name in names} & TREES.keys() - {at}
    TopologicalSorter(graph).prepare()
