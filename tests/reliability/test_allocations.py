"""One failed allocation, at each place in turn, takes neither the process nor a descriptor."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(sys.implementation.name != "cpython", reason="CPython's allocations"),
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD of Linux"),
    pytest.mark.skipif("san.so" in os.environ.get("LD_PRELOAD", ""), reason="has its own malloc"),
    pytest.mark.skipif(
        not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler for the library"
    ),
]


@pytest.mark.parametrize(
    "scenario",
    ["tcp_echo", "udp_batch_echo", "lookup", "passing", "loops", "descriptors", "asyncio_echo"],
)
def test_each_failed_allocation_is_survived(scenario):
    """Some of them; `python tests/reliability/allocations` has each fail."""
    kinds = ["--only", "c"] if scenario in ("asyncio_echo", "descriptors") else []
    folder = Path(__file__).with_name("allocations")
    done = subprocess.run(
        [sys.executable, folder, "--at-most", "15", *kinds, scenario],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    assert "allocations, {" in done.stdout
