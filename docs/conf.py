"""How Sphinx builds these pages: `make docs`."""

from feint import __version__

project, release = "Feint", __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.bibtex"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
html_theme = "furo"
html_title = f"Feint {__version__}"
exclude_patterns = ["_build"]
autodoc_typehints = "none"
