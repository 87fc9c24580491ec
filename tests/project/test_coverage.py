"""What docs/functions.toml says of each of libuv's functions, held against uv.h and uvbind."""

from __future__ import annotations

import fnmatch
import inspect
import re
import tomllib
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

import uvbind
from uvbind._uvbind import lib

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "vendor" / "libuv" / "include" / "uv.h"
SOURCE = ROOT / "src" / "_uvbind"
TABLES = tomllib.loads((ROOT / "docs" / "functions.toml").read_text(encoding="utf-8"))
OUTSIDE = TABLES.pop("outside")
CONSTANTS = TABLES.pop("constants")
# With several tables an entry may be there twice, which TOML does not see.
ENTRIES = [(function, entry) for table in TABLES.values() for function, entry in table.items()]
FUNCTIONS = dict(ENTRIES)

# uvbind does it itself: the one as ARCHITECTURE.md says under "Errors", the other knows its loop.
NEVER_CALLED = {"uv_signal_start_oneshot", "uv_handle_get_loop"}

needs_header = pytest.mark.skipif(
    not HEADER.exists(), reason="no vendor/libuv to compare with: built with the system's libuv"
)


def without_comments(path: Path) -> str:
    return re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def functions_of_libuv() -> list[str]:
    """A declaration may take several lines and have function pointers among its arguments."""
    return re.findall(r"^UV_EXTERN\b[^;(]*?\b(uv_\w+)\s*\(", without_comments(HEADER), re.MULTILINE)


def constants_of_libuv() -> list[str]:
    """The enumerators that are spelled out; those of errors and types come from macros."""
    code = re.sub(r"^\s*#(\\\n|.)*$", "", without_comments(HEADER), flags=re.MULTILINE)
    bodies = re.findall(r"\benum\s*\w*\s*\{(.*?)\}", code, re.DOTALL)
    before_values = [part.partition("=")[0] for body in bodies for part in body.split(",")]
    # The last word of each part: a macro without a comma behind it may come before it.
    return [words[-1] for words in map(str.split, before_values) if words]


def newer_functions() -> set[str]:
    """Those that compat.h stands in for: the pinned libuv may be too old to have them."""
    return set(re.findall(r"\b(uv_\w+)\(", without_comments(SOURCE / "compat.h")))


def names(entry: Any) -> list[str]:
    """The Python names of an entry, none of one that is absent."""
    if isinstance(entry, dict):
        assert list(entry) == ["absent"] and entry["absent"], entry
        return []
    return [entry] if isinstance(entry, str) else entry


def find(name: str) -> Any:
    """What a dotted name stands for; a property, not its value."""
    return reduce(inspect.getattr_static, name.split("."), uvbind)


def documented(thing: Any) -> Any:
    """What has the docstring."""
    thing = thing.fget if isinstance(thing, property) else thing
    return getattr(thing, "__func__", thing)


def wrapped(thing: Any) -> set[str]:
    """The functions that a docstring says it wraps."""
    sentences = re.findall(r"\b[Ww]raps\b[^.]*", documented(thing).__doc__ or "")
    return {name for name in re.findall(r"\buv_\w+", " ".join(sentences)) if name[-2:] != "_t"}


PUBLIC = [(function, name) for function, entry in ENTRIES for name in names(entry)]


# -- against uv.h


@needs_header
def test_what_is_read_of_the_header_is_all_of_it():
    found = functions_of_libuv()
    marked = re.findall(r"^(?!\s*#).*\bUV_EXTERN\b", without_comments(HEADER), re.MULTILINE)
    assert len(found) == len(set(found)) == len(marked)
    # in one line, in several, behind a pointer, and one that takes a function
    assert {"uv_run", "uv_udp_try_send2", "uv_strerror", "uv_once"} <= set(found)
    assert {"UV_RUN_ONCE", "UV_UDP_RECVMMSG", "UV_PIPE_NO_TRUNCATE"} <= set(constants_of_libuv())


@needs_header
@pytest.mark.parametrize("kind", ["function", "constant"])
def test_each_of_libuvs_names_has_one_entry(kind):
    table = FUNCTIONS if kind == "function" else CONSTANTS
    for name in functions_of_libuv() if kind == "function" else constants_of_libuv():
        patterns = [pattern for pattern in OUTSIDE if fnmatch.fnmatchcase(name, pattern)]
        if name not in table:
            assert patterns, f"{name} is new: give it an entry in docs/functions.toml"


@needs_header
def test_no_entry_is_for_what_libuv_does_not_have():
    everything = functions_of_libuv() + constants_of_libuv()
    assert FUNCTIONS.keys() <= set(everything) | newer_functions()
    assert CONSTANTS.keys() <= set(everything)
    for pattern in OUTSIDE:
        assert fnmatch.filter(everything, pattern), f"{pattern} matches nothing"


def test_no_function_is_in_two_tables():
    assert len(FUNCTIONS) == len(ENTRIES)


# -- against Python


@pytest.mark.parametrize(("function", "name"), PUBLIC)
def test_the_python_name_exists_and_says_what_it_wraps(function, name):
    assert name.split(".")[0] in uvbind.__all__
    assert function in wrapped(find(name)), f"the docstring of {name} does not say so"


def test_whatever_says_that_it_wraps_a_function_is_in_the_table():
    listed = {(function, documented(find(name))) for function, name in PUBLIC}
    for name in uvbind.__all__:
        thing = getattr(uvbind, name)
        if getattr(thing, "__module__", "").partition(".")[0] != "uvbind":
            continue
        members = [inspect.getattr_static(thing, attribute) for attribute in dir(thing)]
        for member in [thing, *members] if isinstance(thing, type) else [thing]:
            if hasattr(documented(member), "__qualname__"):
                missing = {
                    function
                    for function in wrapped(member)
                    if (function, documented(member)) not in listed
                }
                enumeration = isinstance(member, type) and not issubclass(member, uvbind.Handle)
                assert not missing or enumeration, f"{name}: {documented(member)}"


@pytest.mark.parametrize(("constant", "entry"), CONSTANTS.items())
def test_the_constant_is_there_in_python(constant, entry):
    for name in names(entry):
        callee, _, argument = name.partition("(")
        if argument:
            assert argument.rstrip(")") in inspect.signature(find(callee)).parameters
        else:
            assert find(name) == getattr(lib, constant)


# -- against C


def test_what_has_a_python_name_is_called():
    declared = {name for name in dir(lib) if name.startswith("uv_")}
    c = "".join(without_comments(path) for path in SOURCE.glob("*.c"))
    called = declared | set(re.findall(r"\b(uv_\w+)\(", c))
    together: dict[str, set[str]] = {}
    for function, name in PUBLIC:
        together.setdefault(name, set()).add(function)
    for name, functions in together.items():
        assert functions & (called | NEVER_CALLED), f"{name} calls none of {functions}"
    assert declared <= {function for function, _ in PUBLIC}, "in the cdef, but not in the table"


@pytest.mark.parametrize("path", sorted(Path(uvbind.__file__).parent.glob("_*.py")), ids=str)
def test_what_python_calls_is_declared_in_the_cdef(path):
    for name in re.findall(r"\blib\.(\w+)", path.read_text(encoding="utf-8")):
        assert hasattr(lib, name), f"lib.{name} is declared nowhere"
