"""What tests/servers.py promises to the tests that use it."""

from __future__ import annotations

import sys

import pytest
from servers import answers, free_port, running, says

SERVER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    print("listening", flush=True)
    while True:
        server.accept()[0].close()
"""


@pytest.mark.parametrize("kind", ["answers", "says"])
def test_it_answers_inside_the_block_and_is_gone_after_it(tmp_path, kind):
    port, log = free_port(), tmp_path / "log"
    ready = answers(port) if kind == "answers" else says(log, "listening")
    command = [sys.executable, "-c", SERVER, str(port)]
    with running(*command, package="python3", ready=ready, log=log) as server:
        assert answers(port)() and server.poll() is None
    assert server.returncode is not None and not answers(port)()


def test_one_that_ends_at_once_is_quoted(tmp_path):
    command = [sys.executable, "-c", "print('no such option')"]
    about = {"package": "python3", "ready": lambda: False, "log": tmp_path / "log"}
    with pytest.raises(AssertionError, match="ended at once: no such option"):
        running(*command, **about).__enter__()


def test_one_that_is_not_installed_skips_and_names_its_package(tmp_path):
    about = {"package": "no-such-package", "ready": lambda: True, "log": tmp_path / "log"}
    with pytest.raises(pytest.skip.Exception, match="apt-get install no-such-package"):
        running("no-such-program", **about).__enter__()
