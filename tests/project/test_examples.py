"""The examples, run as a new user would: those over TCP and pipes."""

from __future__ import annotations

import re
import socket
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
LATE = 16 * 2**20  # bytes: more than the kernel keeps for a client that reads late


def test_tcp_hello_world_talks_to_tcp_echo_server(start):
    server = start(EXAMPLES / "tcp_echo_server.py", "0")
    port = server.stdout.readline().split()[-1]
    for _ in range(2):
        client = start(EXAMPLES / "tcp_hello_world.py", port)
        output, errors = client.communicate(timeout=120)
        assert (output, errors, client.returncode) == ("Hello, world!", "", 0)


def test_tcp_hello_world_says_why_it_failed(start):
    client = start(EXAMPLES / "tcp_hello_world.py", "1")
    assert client.communicate(timeout=120) == ("", "port 1: connect: connection refused\n")
    assert client.returncode == 1


def test_the_readmes_echo_server_works(start, tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in source.splitlines() if line]) <= 15
    assert "7000" in source
    program = source.replace("7000", "0").replace(
        "server.loop.run()", "print(server.getsockname()[1], flush=True)\nserver.loop.run()"
    )
    (tmp_path / "server.py").write_text(program)
    server = start(tmp_path / "server.py")
    client = start(EXAMPLES / "tcp_hello_world.py", server.stdout.readline().strip())
    assert client.communicate(timeout=120) == ("Hello, world!", "")


def test_tcp_echo_server_sends_all_before_it_closes(start):
    server = start(EXAMPLES / "tcp_echo_server.py", "0")
    port = int(server.stdout.readline().split()[-1])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(bytes(LATE))
        client.shutdown(socket.SHUT_WR)
        received = 0
        while chunk := client.recv(1 << 20):
            received += len(chunk)
    assert received == LATE


def test_the_readme_of_the_examples_names_each_of_them():
    named = re.findall(r"`(\w+\.py)", (EXAMPLES / "README.md").read_text())
    assert sorted(set(named)) == sorted(path.name for path in EXAMPLES.glob("*.py"))
