"""The examples of interfaces and pipes, run as a new user would."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from namespaces import Namespace, linked

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def finish(child):
    output, errors = child.communicate(timeout=120)
    return output, errors, child.returncode


# -- ifconfig.py


def test_ifconfig_prints_what_ip_has_set(start):
    with linked() as (left, _):
        left.ip(
            "link set left address 02:00:00:12:34:56",
            "address add 192.0.2.1/27 dev left",
            "address add 2001:db8::1/48 dev left nodad",
        )
        (link,) = json.loads(left.run("ip", "-j", "link", "show", "dev", "left"))
        index = link["ifindex"]
        output, errors, status = finish(start(EXAMPLES / "ifconfig.py", "left", host=left))
        assert (errors, status) == ("", 0)
        first, *others = output.splitlines()
        assert first == f"left: number {index}"
        assert sorted(others) == [
            "    ether 02:00:00:12:34:56",
            "    inet 192.0.2.1 netmask 255.255.255.224",
            "    inet6 2001:db8::1 prefix length 48",
            f"    inet6 fe80::1 prefix length 64 scope {index}",
        ]
        everything, errors, status = finish(start(EXAMPLES / "ifconfig.py", host=left))
        assert (errors, status) == ("", 0)
        assert output in everything and "lo: number 1, internal\n" in everything


def test_ifconfig_says_that_there_is_no_such_interface(start):
    output, errors, status = finish(start(EXAMPLES / "ifconfig.py", "nosuch0"))
    assert (output, status) == ("", 1)
    assert errors == "nosuch0: no interface of that name is up and has an address\n"


def test_ifconfig_of_a_host_without_a_network(start):
    with Namespace() as host:
        host.ip("link set lo down")
        assert finish(start(EXAMPLES / "ifconfig.py", host=host)) == ("", "", 0)


# -- pipe_echo_server.py, pipe_hello_world.py


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_pipe_hello_world_talks_to_pipe_echo_server(start, tmp_path, signum):
    path = tmp_path / "socket"
    server = start(EXAMPLES / "pipe_echo_server.py", str(path))
    assert server.stdout.readline() == f"listening at {path}\n"
    for _ in range(2):
        client = start(EXAMPLES / "pipe_hello_world.py", str(path))
        assert finish(client) == ("Hello, world!", "", 0)
    os.kill(server.pid, signum)
    assert finish(server) == ("", "", 0)
    assert not path.exists()


def test_pipe_echo_server_says_that_the_path_is_in_use(start, tmp_path):
    path = tmp_path / "socket"
    path.write_text("something else")
    output, errors, status = finish(start(EXAMPLES / "pipe_echo_server.py", str(path)))
    assert (output, status) == ("", 1)
    assert errors.endswith("address already in use\n") and str(path)[:60] in errors
    assert path.read_text() == "something else"


def test_pipe_hello_world_says_that_nobody_is_there(start, tmp_path):
    path = str(tmp_path / "socket")
    output, errors, status = finish(start(EXAMPLES / "pipe_hello_world.py", path))
    assert (output, status) == ("", 1)
    assert errors == f"{path}: connect: no such file or directory\n"


@pytest.mark.parametrize("example", ["pipe_echo_server.py", "pipe_hello_world.py"])
def test_without_an_argument_they_say_how_they_are_used(start, example):
    output, errors, status = finish(start(EXAMPLES / example))
    assert (output, status) == ("", 1) and f"python {example} PATH" in errors
