"""How Sphinx builds the documentation. CONTRIBUTING.md has the command."""

import sys
from pathlib import Path

import uvbind

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "uvbind"
author = "the uvbind contributors"
release = version = uvbind.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.doctest", "api"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"uvbind {release}"
html_copy_source = False
html_show_copyright = False
myst_heading_anchors = 3

# Docstrings are plain text: what they have in backticks is code.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 80

# Everything that the pages refer to is found without a network, so other projects' names are not
# links: only those of uvbind have to be there.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!uvbind\b).*"),
    ("py:.*", r"uvbind\.(aio\.)?_\w+\.(Self|Name|Done|T)"),
]

# Each page of doctests begins like this, and leaves no loop open.
doctest_test_doctest_blocks = ""
doctest_global_setup = "import socket; import uvbind"
doctest_global_cleanup = """
from uvbind._loop import _loops
assert not [loop for loop in _loops if loop._c is not None], "a loop was left open"
"""
