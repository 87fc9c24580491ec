"""The CFFI build script: one extension module, `uvbind._uvbind`, over real libuv.

setup.py hands `ffibuilder` to cffi and `BuildExt` to setuptools. libuv is compiled from
vendor/libuv/ with CMake when the extension is built; `UVBIND_SYSTEM_LIBUV=1` links the
system's libuv instead and never looks at vendor/. `UVBIND_SANITIZE=address,undefined` is a build
for tests/reliability/sanitizers: libuv has its assertions, and both are compiled for the sanitizers
of these names; `none` has assertions and debug information only.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from cffi import FFI
from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

ROOT = Path(__file__).resolve().parent
SOURCE = Path("src/_uvbind")  # relative: setuptools wants the sources of an extension so
LIBUV = ROOT / "vendor" / "libuv"

# In the order in which the types build on each other.
STEMS = ["version", "errors", "loop", "metrics", "handle", "request", "stream", "tcp", "timer"]
STEMS += ["async", "signal", "poll", "watchers", "pipe", "udp", "dns", "network", "shim", "load"]

# Functions that the compiled libuv gets from src/_uvbind/system.c and watching.c on Linux.
WRAPPED = ["socket", "accept4", "epoll_create1", "eventfd", "socketpair", "pipe2", "open64"]
WRAPPED += ["syscall", "epoll_ctl", "epoll_pwait", "uv__strdup"]

SYSTEM_LIBUV = os.environ.get("UVBIND_SYSTEM_LIBUV", "") not in ("", "0")
SANITIZE = os.environ.get("UVBIND_SANITIZE", "")
CPYTHON = sys.implementation.name == "cpython"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# One extension for every CPython with a GIL; elsewhere there is no stable ABI to build for.
ABI3 = CPYTHON and not FREE_THREADED


# cffi's init function, of CPython or of PyPy.
EXPORTS = "{ global: PyInit_*; _cffi_pypyinit_*; local: *; };\n"


def fortify(level: int) -> list[str]:
    """Return the options for checks of buffer sizes in the C library, in place of the system's."""
    return ["-U_FORTIFY_SOURCE", f"-D_FORTIFY_SOURCE={level}"]


def sanitizer_flags() -> list[str]:
    """Return the options that the compiler and the linker get beside those of every build."""
    if not SANITIZE:
        return []
    flags = ["-g", "-O1", "-fno-omit-frame-pointer"]
    if SANITIZE != "none":
        flags += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
    return flags


def _fetch_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("uvbind_fetch", ROOT / "vendor" / "fetch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def vendored_source() -> Path:
    """Return the folder of libuv's source, fetched first where it has to be.

    An sdist carries the source and no vendor/fetch.py.
    """
    if (ROOT / "vendor" / "fetch.py").exists():
        _fetch_module().ensure()
    elif not (LIBUV / "CMakeLists.txt").exists():
        raise SystemExit(f"{LIBUV} is empty and there is no vendor/fetch.py to fill it")
    return LIBUV


def make_ffibuilder() -> FFI:
    ffi = FFI()
    ffi.cdef("struct sockaddr { ...; };")
    for stem in STEMS:
        ffi.cdef((ROOT / SOURCE / "cdef" / f"{stem}.h").read_text())
    # The one struct of ours that Python looks into: a field costs no release of the GIL.
    ffi.cdef("struct uvb_loop { unsigned long owner; int running, looking_up, closed; ...; };")
    crossings = (ROOT / SOURCE / "cdef" / "callbacks.h").read_text()
    ffi.cdef('extern "Python+C" {\n' + crossings + "\n}")

    options: dict[str, Any] = {
        "sources": sorted(str(path.relative_to(ROOT)) for path in (ROOT / SOURCE).glob("*.c")),
        "include_dirs": [str(SOURCE)],
        "depends": sorted(str(path.relative_to(ROOT)) for path in (ROOT / SOURCE).rglob("*.h")),
        "define_macros": [("UVB_SYSTEM_LIBUV", str(int(SYSTEM_LIBUV)))],
    }
    if ABI3:
        options["define_macros"].append(("Py_LIMITED_API", "0x030b0000"))
    if sys.platform == "win32":
        options["libraries"] = ["psapi", "user32", "advapi32", "iphlpapi", "userenv", "ws2_32"]
        options["libraries"] += ["dbghelp", "ole32", "shell32"]
    else:
        options["extra_compile_args"] = ["-std=c11", "-O2", "-fvisibility=hidden"]
        options["extra_compile_args"] += sanitizer_flags()
        options["extra_link_args"] = sanitizer_flags()
    if sys.platform == "linux":
        options["define_macros"].append(("_GNU_SOURCE", None))
        if not SYSTEM_LIBUV:
            options["define_macros"].append(("UVB_WRAPS", "1"))
            options["extra_link_args"] += [f"-Wl,--wrap={name}" for name in WRAPPED]

    include = '#include "uvbind.h"\n#include "cdef/load.h"\n'
    if SYSTEM_LIBUV:
        ffi.set_source_pkgconfig("uvbind._uvbind", ["libuv >= 1.44"], include, **options)
    else:
        options["include_dirs"].append(str(vendored_source() / "include"))
        if sys.platform == "linux":
            options["libraries"] = ["pthread", "dl", "rt"]
        ffi.set_source("uvbind._uvbind", include, **options)
    return ffi


class BuildExt(build_ext):
    """Compiles libuv first and links it into the extension."""

    def run(self) -> None:
        if not SYSTEM_LIBUV:
            archive = self.build_libuv(Path(self.build_temp).resolve() / "libuv")
            for extension in self.extensions:
                extension.extra_objects.append(str(archive))
                extension.depends.append(str(archive))
        super().run()

    def build_extensions(self) -> None:
        if sys.platform == "linux":
            for extension in self.extensions:
                self.harden(extension)
        super().build_extensions()

    def harden(self, extension: Extension) -> None:
        """Add the options that make faults harder to exploit, as far as the compiler and the linker
        take them, and have the init function be the only symbol that is exported.

        CMakeLists.txt does the same for libuv.
        """
        script = Path(self.build_temp).resolve() / "exports.map"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(EXPORTS)
        given = " ".join([*self.compiler.compiler_so, *extension.extra_compile_args])
        compiling: list[list[str]] = [["-fstack-protector-strong"]]
        if "_FORTIFY_SOURCE" not in given and "-fsanitize" not in given:
            level = next(filter(self.accepts, map(fortify, (3, 2))), None)
            compiling += [] if level is None else [level]
        linking = [[f"-Wl,--version-script={script}"], ["-Wl,-z,relro"], ["-Wl,-z,now"]]
        linking += [["-Wl,-z,noexecstack"]]
        if not SANITIZE and not re.search(r"(^|\s)-g", os.environ.get("CFLAGS", "")):
            compiling.append(["-g0"])  # else Python's own flags ask for what triples the size
            linking.append(["-Wl,--strip-debug"])  # and some compilers' libraries have it
        for options in filter(self.accepts, compiling):
            extension.extra_compile_args += options
        for options in filter(self.links, linking):
            extension.extra_link_args += options

    def links(self, options: list[str]) -> bool:
        return self.accepts([], options)

    def accepts(self, compiling: list[str], linking: Sequence[str] = ()) -> bool:
        """Try options of the compiler and the linker on a small program."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.c"
            source.write_text("#include <stdlib.h>\nint PyInit_probe(void) { return abs(-1); }\n")
            try:
                objects = self.compiler.compile(
                    [str(source)],
                    output_dir=folder,
                    extra_postargs=["-O2", "-Werror", *compiling],
                )
                self.compiler.link_shared_object(
                    objects, str(Path(folder) / "probe.so"), extra_postargs=list(linking)
                )
            except (CompileError, LinkError):
                print(f"not used: {' '.join([*compiling, *linking])}")
                return False
        return True

    def build_libuv(self, folder: Path) -> Path:
        kind = "Debug" if SANITIZE else "Release"
        configure = ["cmake", "--fresh", "-S", str(ROOT), "-B", str(folder)]
        configure += [f"-DLIBUV_SOURCE={LIBUV}", f"-DCMAKE_BUILD_TYPE={kind}"]
        if SANITIZE:
            configure += [f"-DCMAKE_C_FLAGS={' '.join(sanitizer_flags())}"]
        if sys.platform != "win32":
            configure += ["-G", "Ninja"]
        subprocess.check_call(configure)
        subprocess.check_call(["cmake", "--build", str(folder), "--config", kind])
        return folder / "libuv-static.a"


ffibuilder = make_ffibuilder()
