"""Real servers from Debian's packages, each started for a test and ended with it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from namespaces import Namespace

_PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"


def installed(program: str, package: str) -> str:
    """Return the path of a program; skip the test, loudly, where it is not installed."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        pytest.skip(f"{program} is not installed: apt-get install {package}")
    return found


def free_port() -> int:
    """A port that nobody has, for servers that cannot choose one themselves.

    It is below those that the system gives to whoever asks for any.
    """
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(ports.read_text().split()[0]) if ports.exists() else 32768
    while True:
        port = random.SystemRandom().randrange(first // 2, first)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def answers(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """What to wait for: that one can connect."""

    def ready() -> bool:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError:
            return False
        return True

    return ready


def says(log: Path, line: str) -> Callable[[], bool]:
    """What to wait for: that a server's log has a line with this in it."""
    return lambda: line in (log.read_text() if log.exists() else "")


@contextmanager
def running(
    *command: str,
    package: str,
    ready: Callable[[], bool],
    host: Namespace | None = None,
    log: Path,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, which must stay in the foreground, until the block is left.

    `package`: where the program is from. `ready` tells whether it answers. `host`: where to run
    it. `log`: the file that gets what it prints.
    """
    line = [installed(command[0], package), *command[1:]]
    if host is not None:
        line = host.command(*line)
    with open(log, "ab") as output:
        server = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 120
        while not ready():
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.02)
            said = log.read_text(errors="replace")
            assert server.returncode is None, f"{command[0]} ended at once: {said}"
            assert time.monotonic() < deadline, f"{command[0]} does not answer: {said}"
        yield server
    finally:
        server.terminate()
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
            raise


def dnsmasq(
    host: Namespace, log: Path, *options: str
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A name server and a DHCP server, as a router at home has one, with these options alone."""
    return running(
        "dnsmasq",
        "--no-daemon",  # nor another user, of whom the namespace has none
        "--conf-file=/dev/null",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        "--leasefile-ro",
        *options,
        package="dnsmasq-base",
        ready=says(log, "started, version"),  # once all sockets are open
        host=host,
        log=log,
    )
