"""The examples, run as a new user would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start():
    """Start a Python program and return it; it is ended with the test."""
    children = []

    def start(*command: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_tcp_hello_world_talks_to_tcp_echo_server(start):
    server = start(str(ROOT / "examples/tcp_echo_server.py"), "0")
    assert server.stdout is not None
    port = server.stdout.readline().split()[-1]
    for _ in range(2):
        client = start(str(ROOT / "examples/tcp_hello_world.py"), port)
        output, errors = client.communicate(timeout=30)
        assert (output, errors, client.returncode) == ("Hello, world!", "", 0)


def test_tcp_hello_world_says_why_it_failed(start):
    client = start(str(ROOT / "examples/tcp_hello_world.py"), "1")
    _, errors = client.communicate(timeout=30)
    assert client.returncode == 1 and "connect: connection refused" in errors


def test_the_readmes_echo_server_works(start, tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in source.splitlines() if line]) <= 15
    assert "7000" in source
    program = source.replace("7000", "0").replace(
        "loop.run()", "print(server.getsockname()[1], flush=True)\nloop.run()"
    )
    (tmp_path / "server.py").write_text(program)
    server = start(str(tmp_path / "server.py"))
    assert server.stdout is not None
    client = start(str(ROOT / "examples/tcp_hello_world.py"), server.stdout.readline().strip())
    assert client.communicate(timeout=30) == ("Hello, world!", "")
