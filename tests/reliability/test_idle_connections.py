"""Ten thousand idle connections and 200 busy ones: memory and descriptors stay flat."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from uvbind._bench.contenders import Server
from uvbind._bench.load import Load

IDLE, BUSY = 10_000, 200
ROUNDS, MESSAGES, SIZE = 5, 20_000, 1000
NEEDED = IDLE + BUSY + 300

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.fixture
def enough_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < NEEDED:
        pytest.skip(f"the system allows {hard} descriptors only, {NEEDED} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, NEEDED), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def until(server: Server, expected: int) -> None:
    """Wait until the server has accepted, or closed, so many; it answers between its turns."""
    deadline = time.monotonic() + 60
    while descriptors(server) != expected and time.monotonic() < deadline:
        server.tally()
    assert descriptors(server) == expected


def resident(server: Server) -> int:
    """Return the server's memory in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def connect(idle: ExitStack, port: int) -> list[socket.socket]:
    """Open the idle connections one after another; each has its answer before the next begins.

    When more connections come at once than the listening socket's queue holds, Linux answers with
    SYN cookies, and a late packet of a closed connection then opens one that has no client.
    """
    clients = []
    for _ in range(IDLE):
        clients.append(idle.enter_context(socket.create_connection(("127.0.0.1", port), 60)))
        echo(clients[-1:])
    return clients


def echo(clients: list[socket.socket]) -> None:
    for client in clients:
        client.sendall(b"x")
    for client in clients:
        assert client.recv(2) == b"x"


@pytest.mark.parametrize("kind", ["uvbind", "uvbind.aio"])
def test_ten_thousand_idle_connections_cost_the_busy_ones_nothing(enough_descriptors, kind):
    with Server(kind, "tcp_servers") as server, Load() as busy, ExitStack() as idle:
        server.ready()
        busy.connect_tcp(kind, server.port, 1, SIZE)  # what is made once is there from now on
        busy.run(seconds=60.0, messages=1)
        busy.disconnect()
        server.tally()
        before = descriptors(server)
        clients = connect(idle, server.port)
        used = []
        for _ in range(ROUNDS):
            busy.connect_tcp(kind, server.port, BUSY, SIZE, timeout=60.0)
            result = busy.run(seconds=60.0, messages=MESSAGES)  # raises for a wrong byte
            assert result["errors"] == 0
            until(server, before + IDLE + BUSY)
            used.append(resident(server))
            busy.disconnect()
            until(server, before + IDLE)
        # The first rounds warm up: malloc grows, PyPy compiles. After them nothing accumulates.
        assert max(used[3:]) < 1.05 * used[2], used
        echo(clients)
        idle.close()
        until(server, before)
