"""The documentation: complete, built without a warning, and right in what it shows."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import uvbind

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

MISSING = [name for name in ("sphinx", "myst_parser", "furo") if not importlib.util.find_spec(name)]
needs_sphinx = pytest.mark.skipif(
    bool(MISSING), reason=f"no {', '.join(MISSING)}: pip install 'uvbind[docs]' to build the docs"
)


def found(pattern: str, *folders: str) -> list[str]:
    """What a pattern finds in the pages of some folders."""
    pages = [path for folder in folders for path in sorted((DOCS / folder).glob("*.md"))]
    return [text for path in pages for text in re.findall(pattern, path.read_text("utf-8"))]


def test_each_public_name_is_documented_on_one_page():
    directive = r"^\.\. (?:auto\w+|py:data):: uvbind\.(\w+)$"
    assert Counter(found(f"(?m){directive}", "api")) == Counter(uvbind.__all__)


def test_each_table_of_functions_is_shown_once():
    tables = re.findall(r"(?m)^\[(\w+)\]", (DOCS / "functions.toml").read_text("utf-8"))
    assert Counter(found(r"```\{functions\} (\w+)", "api")) == Counter(tables)


def test_each_example_is_shown_in_the_guide():
    shown = found(r"```\{literalinclude\} \.\./\.\./examples/(\w+\.py)", "guide")
    assert set(shown) == {path.name for path in (ROOT / "examples").glob("*.py")}


def test_each_page_is_in_a_table_of_contents():
    for folder in ("guide", "api"):
        (toctree,) = re.findall(
            r"```\{toctree\}\n(.*?)```", (DOCS / folder / "index.md").read_text("utf-8"), re.DOTALL
        )
        entries = [line for line in toctree.splitlines() if line and line[0] != ":"]
        pages = [path.stem for path in (DOCS / folder).glob("*.md") if path.stem != "index"]
        assert sorted(entries) == sorted(pages)


def test_the_tests_that_hold_a_promise_exist():
    named = set(re.findall(r"`(tests/[^` ]+)", (DOCS / "reliability.md").read_text("utf-8")))
    assert len(named) > 10
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory):
    """Run one of Sphinx's builders, and return the folder with what it made."""
    folder = tmp_path_factory.mktemp("docs")

    def build(builder: str) -> Path:
        options = ["-W", "--keep-going", "-n", "-q", "-b", builder, "-d", str(folder / "trees")]
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / builder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert (done.returncode, done.stdout) == (0, "")
        return folder / builder

    return build


@needs_sphinx
def test_the_pages_build_without_a_warning_and_need_nothing_from_elsewhere(build):
    pages = build("html")
    tcp = (pages / "api" / "tcp.html").read_text("utf-8")
    assert 'id="uvbind.TCP.bind"' in tcp
    table = tcp[tcp.index("uv_tcp_bind</span>", tcp.index("<table")) :]
    assert re.search(r'href="#uvbind.TCP.bind"', table[: table.index("</tr>")])
    for page in pages.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|link|img)[^>]*(?:src|href)="(\w+:[^"]*)"', page.read_text("utf-8")
        )
        assert loaded == [], page.name


@needs_sphinx
def test_what_the_pages_show_is_so(build):
    summary = (build("doctest") / "output.txt").read_text("utf-8")
    tests = re.search(r"Doctest summary\n=+\n +(\d+) tests", summary)
    assert tests is not None and int(tests[1]) >= 25
