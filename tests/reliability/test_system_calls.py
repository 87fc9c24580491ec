"""System calls that fail one by one, below a server whose other connections go on.

failing_calls.py goes through every call of a scenario, and every error that the kernel may answer
it with. Beside each scenario two bystanders get their answers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CC = shutil.which("cc") or shutil.which("gcc")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD of Linux"),
    pytest.mark.skipif(CC is None, reason="no C compiler for the library that lets calls fail"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("system_calls") / "system_calls.so"
    subprocess.run(
        [CC, "-shared", "-fPIC", "-o", library, HERE / "system_calls.c", "-ldl"], check=True
    )
    return library


def go_through(library: Path, *arguments: str, script: str = "") -> dict[str, Any]:
    """Run failing_calls.py, or a script that changes it first, and return what it printed."""
    program = ["-c", script] if script else [str(HERE / "failing_calls.py")]
    done = subprocess.run(
        [sys.executable, *program, *arguments],
        env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"exit code {done.returncode}; {done.stderr[-2000:]}"
    return json.loads(done.stdout)


@pytest.mark.parametrize(("kind", "least"), [("lowlevel", 300), ("asyncio", 400)])
def test_each_system_call_may_fail(library, kind, least):
    report = go_through(library, kind)
    assert report["faults"] == []
    assert report["failed"] > least


# -- that these tests can fail


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("World.tcp = lambda self: False", "did not end, and no error told of that"),
        ("World.tcp = lambda self: bool(os.dup(0))", "descriptors"),
        ("World.tcp = lambda self: bool(uvbind.TCP(self.loop).unknown)", "AttributeError"),
        ("World._echo = lambda *about: None", "the bystanders got"),
    ],
)
def test_faults_are_seen(library, change, fault):
    script = f"""
import os
import failing_calls, lowlevel_world, uvbind
failing_calls.CALLS = {{"accept4": ["EMFILE"], "connect": ["ENOBUFS"]}}
lowlevel_world.PATIENCE = 100
World = lowlevel_world.LowLevelWorld
{change}
failing_calls.main()
"""
    faults = go_through(library, "lowlevel", "tcp", script=script)["faults"]
    assert any(fault in line for line in faults), faults
