"""The site of the documentation, which `make docs` builds: the repository's own pages, and a reference written from the code."""  # noqa: INP001

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))
from deploy.reference import generated

project = "SML Online"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = ["docs/**", "*.md", "client/README.md", "deploy/**.md", "benchmarks/**.md", "tests/poisoned/README.md"]
html_theme = "furo"
html_title = project
html_show_sourcelink = False
myst_heading_anchors = 4
nitpick_ignore_regex = [("myst", r"[./\w]+")]  # folders, which are no pages; that they exist, tests/test_docs.py sees to


def fill(_: Sphinx, __: str, source: list[str]) -> None:
    """Put what is generated where a page asks for it."""
    source[0] = re.sub(r"<!-- generated: (\S+) -->", lambda found: generated(found[1]), source[0])


def setup(app: Sphinx) -> None:
    """Fill each page when it is read."""
    app.connect("source-read", fill)
