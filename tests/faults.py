"""Programs in which calls of the extension fail, see faults.c."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forking import Forks

import uvbind

# The beginning of each script.
PRELUDE = """
import ctypes, errno, os, socket, sys
import uvbind
faults = ctypes.CDLL(None)

def names(log):
    return [error.name if isinstance(error, OSError) else error for error in log]
"""

needs_compiled_libuv = pytest.mark.skipif(
    sys.platform != "linux" or uvbind.features()["libuv_origin"] != "vendored",
    reason="the linker gives these functions to a libuv that is compiled in, on Linux",
)


def build_faults(folder: Path) -> Path:
    """Compile faults.c, where it can be put before the C library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or os.confstr("CS_GNU_LIBC_VERSION") is None:
        pytest.skip("LD_PRELOAD, and the C library's allocator under names of its own")
    if compiler is None:
        pytest.skip("no C compiler for the faults")
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def run_with_faults(forks: Forks, script: str) -> None:
    """Run PRELUDE and a script in a process of their own, which has to end without a word."""
    assert forks.run(PRELUDE + script) == [(0, "")]
