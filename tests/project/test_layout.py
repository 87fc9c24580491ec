"""The structure and the packaging that ARCHITECTURE.md promises."""

from __future__ import annotations

import ast
import fnmatch
import importlib.metadata
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import uvbind
import uvbind._uvbind
from uvbind import _ctypes

PACKAGE = Path(uvbind.__file__).parent
# Each module may import from layers above it.
LAYERS = [
    ["_uvbind"],
    ["_ctypes", "_errors", "_check", "_callbacks", "_version"],
    ["_address", "_core"],
    ["_wakeup", "_network", "_ownership"],
    ["_metrics", "_dns_threads", "_dns_arguments", "_multicast"],
    ["_loop_inside"],
    ["_loop"],
    ["_handle", "_request"],
    [
        "_timer",
        "_async",
        "_signal",
        "_poll",
        "_watchers",
        "_writing",
        "_udp_options",
        "_udp_sending",
        "_dns_requests",
    ],
    ["_dns", "_stream", "_udp"],
    ["_tcp"],
    ["_pipe"],
    ["__init__"],
    ["aio"],
    ["_bench", "_cli"],
    ["__main__"],
]
LAYER = {name: number for number, names in enumerate(LAYERS) for name in names}


def imports_at_import_time(path: Path) -> set[str]:
    """The modules of uvbind that a module imports when it is imported."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return  # imports inside a function do not run now
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "uvbind":
                names = [alias.name for alias in node.names]
                found.update(name if name in LAYER else "__init__" for name in names)
            elif node.module.startswith("uvbind."):
                found.add(node.module.split(".")[1])
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "uvbind":
                    found.add(parts[1] if len(parts) > 1 else "__init__")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_run_one_way(path):
    for imported in imports_at_import_time(path):
        assert LAYER[imported] < LAYER[path.stem], f"{path.stem} imports {imported}"


def ctypes_asked_for(path: Path) -> set[str]:
    """What a module asks cffi for by name; "*" where the name is put together."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        for argument in node.args:
            parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
            texts = [part.value if isinstance(part, ast.Constant) else "*" for part in parts]
            name = "".join(text for text in texts if isinstance(text, str))
            takes_types = ast.unparse(node.func) in ("ffi.new", "ffi.cast", "ffi.from_buffer")
            if name.endswith("_t *") or (takes_types and name.strip("*")):
                found.add(name)
    return found


@pytest.mark.parametrize(
    "path", sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("aio/*.py")]), ids=lambda path: path.stem
)
def test_ctypes_are_parsed_when_uvbind_is_imported(path):
    """In PyPy the first use of one may go wrong in several threads."""
    for asked in ctypes_asked_for(path):
        assert fnmatch.filter(_ctypes.NAMES, asked.replace("[", "[[]")), asked


def test_what_is_parsed_is_asked_for_somewhere():
    paths = [*PACKAGE.glob("*.py"), *PACKAGE.glob("aio/*.py")]
    asked = {name.replace("[", "[[]") for path in paths for name in ctypes_asked_for(path)}
    for name in _ctypes.NAMES:
        assert any(fnmatch.fnmatchcase(name, one) for one in asked), name


def test_importing_uvbind_imports_no_asyncio():
    program = "import sys, uvbind; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_cffi_is_the_only_dependency_at_run_time():
    required = importlib.metadata.requires("uvbind") or []
    assert [line.split(">")[0] for line in required if "extra" not in line] == ["cffi"]


@pytest.mark.skipif(sys.platform != "linux", reason="nm -D of an ELF file")
def test_the_extension_exports_its_init_function_only():
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", uvbind._uvbind.__file__],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.split()[-1] for line in listing.stdout.splitlines()]
    assert len(names) == 1 and names[0].lower().endswith("init__uvbind"), names


def test_the_version_is_told_alike():
    assert uvbind.__version__ == importlib.metadata.version("uvbind")
    assert uvbind.version_string() == ".".join(
        str(uvbind.version() >> shift & 0xFF) for shift in (16, 8, 0)
    )


def test_public_names_have_docstrings_and_say_what_they_wrap():
    for name in uvbind.__all__:
        thing = getattr(uvbind, name)
        if not isinstance(thing, type):
            continue
        for attribute in dir(thing):
            if any(
                attribute in vars(base) for base in thing.__mro__ if base.__module__ == "builtins"
            ):
                continue  # Python's own, of tuples and exceptions
            value = inspect.getattr_static(thing, attribute)
            function = value.fget if isinstance(value, property) else value
            function = getattr(function, "__func__", function)
            if attribute.startswith("_") or not hasattr(function, "__code__"):
                continue
            assert function.__doc__, f"{name}.{attribute}"
            if attribute not in ("loop", "fileno") and name != "UVError":
                assert "raps" in function.__doc__, f"{name}.{attribute} wraps what?"
