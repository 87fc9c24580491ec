"""Programs that look names up with a slow resolver, for the fixtures of tests/lowlevel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forking import Forks
from preloading import preloaded

# The beginning of each script. `began(n)` waits until n more slow lookups run in threads.
PRELUDE = """
import os, socket, sys
import uvbind
from uvbind import UVError, getaddrinfo, getnameinfo

def new_gate():
    global began_reader, leave_writer
    began_reader, began_writer = os.pipe()
    leave_reader, leave_writer = os.pipe()
    os.environ.update(SLOW_BEGAN=str(began_writer), SLOW_LEAVE=str(leave_reader))

new_gate()

def began(count):
    while count:
        count -= len(os.read(began_reader, count))

def none_began():
    os.set_blocking(began_reader, False)
    try:
        os.read(began_reader, 1)
    except BlockingIOError:
        return True
    finally:
        os.set_blocking(began_reader, True)
    return False

def leave(count):
    os.write(leave_writer, bytes(count))

done = []

def callback(request, result, error):
    done.append((request, error.name if error else result))
"""


def build_resolver(folder: Path) -> Path:
    """Compile slow_resolver.c, where it can be put before the C library's."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux":
        pytest.skip("LD_PRELOAD of Linux")
    if compiler is None:
        pytest.skip("no C compiler for the slow resolver")
    library = folder / "slow_resolver.so"
    source = Path(__file__).with_name("slow_resolver.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def run_script(resolver: Path, forks: Forks, script: str, **environment: str) -> None:
    """Run PRELUDE and a script in a process of their own, which has to end without a word."""
    if not environment:
        assert forks.run(PRELUDE + script) == [(0, "")]
        return
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + script],
        env={**preloaded(resolver), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
    )
    assert (done.returncode, done.stdout) == (0, "")
