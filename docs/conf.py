"""How Sphinx builds these pages: `make docs`."""

import re
from pathlib import Path

from docutils import nodes

from feint import __version__

project, release = "Feint", __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
html_theme = "furo"
html_title = f"Feint {__version__}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["wide_tables.css"]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

HERE = Path(__file__).parent
for stub in (HERE / "reference" / "api").glob("*.rst"):  # of modules that are gone
    module = HERE.parent / "src" / stub.stem.replace(".", "/")
    if not (module.is_dir() or module.with_suffix(".py").is_file()):
        stub.unlink()

autosummary_generate = True  # a page for each module, from its docstrings
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True  # autodoc documents attributes itself
napoleon_attr_annotations = False  # no types here either
add_module_names = False
smartquotes = False  # two hyphens are an option of a command
default_role = "code"  # docstrings quote code in single backticks


def prepare(app, what, name, obj, options, lines: list[str]) -> None:
    """Turn indented blocks into literal ones, and escape the mathematics around them.

    Docstrings are written to be read in an editor: in |x| or x* nothing is markup.
    """
    before, block = "", False
    prepared = []
    for line in lines:
        indented = line.startswith("    ")
        if line and not indented:
            block = False
        elif indented and not block and before and prepared[-1] == "":
            block = True
            prepared += [] if before.endswith("::") else ["::", ""]
        prepared.append(line if block else _escaped(line))
        before = "" if indented else line or before
    lines[:] = prepared


def _escaped(line: str) -> str:
    parts = re.split(r"(``.+?``|`[^`]*`)", line)
    return "".join(it if it.startswith("`") else re.sub(r"[|*]|(?<=\w)_(?!\w)", r"\\\g<0>", it) for it in parts)


def sign(app, what, name, obj, options, signature, returns):
    """Leave out the signature of a protocol, which nobody calls."""
    return ("", None) if what == "class" and getattr(obj, "_is_protocol", False) else None


def tidy(app, doctree) -> None:
    """Leave out that a class inherits from object, and write a dash for two hyphens between a name and its text."""
    for text in [text for text in doctree.findall(nodes.Text) if text == " -- "]:
        text.parent.replace(text, nodes.Text(" – "))
    for line in [line for line in doctree.findall(nodes.paragraph) if line.astext() == "Bases: object"]:
        line.parent.remove(line)


def setup(app) -> None:
    app.connect("autodoc-process-docstring", prepare, priority=100)  # before napoleon adds markup of its own
    app.connect("autodoc-process-signature", sign)
    app.connect("doctree-read", tidy)
