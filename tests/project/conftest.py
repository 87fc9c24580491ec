"""What tests fetch from, on loopback; the benchmark's load; programs that a test starts."""

from __future__ import annotations

import http.server
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fetching import Project
from namespaces import Namespace

from uvbind._bench.load import Load


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("UVBIND_"):
            monkeypatch.delenv(name)
    project = Project(tmp_path)
    monkeypatch.setenv("PATH", str(project.bin))
    return project


@pytest.fixture
def served(project: Project) -> Iterator[dict[str, bytes]]:
    """The paths that the project's upstream serves."""
    contents: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = contents.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    # No HTTPServer, which looks up the name of its address.
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        port = server.server_address[1]
        project.write_pin(upstream_url=f"http://127.0.0.1:{port}/lib-1.tar.gz")
        yield contents
        server.shutdown()
        thread.join()


class LastingLoad(Load):
    """Knows whether it is connected."""

    connected = False

    def _do(self, job: str, seconds: float, *arguments: Any) -> Any:
        answer = super()._do(job, seconds, *arguments)
        if job != "run":
            self.connected = job != "disconnect"
        return answer


@pytest.fixture(scope="module")
def load_process() -> Iterator[LastingLoad]:
    with LastingLoad() as process:
        yield process


@pytest.fixture
def load(load_process: LastingLoad) -> Iterator[Load]:
    """A load generator without connections, in a process that the tests of a module share."""
    yield load_process
    if load_process.connected:  # the test has failed
        load_process.disconnect()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a Python program, as `start(path, *arguments, host=None, stdin=PIPE)`;
    it ends with the test."""
    children: list[subprocess.Popen[str]] = []

    def end() -> None:
        for child in children:
            child.kill()

    watchdog = threading.Timer(300, end)  # so that a test that reads from them cannot hang
    watchdog.start()

    def start(
        program: Path, *arguments: str, host: Namespace | None = None, stdin: int = subprocess.PIPE
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-X", "dev", str(program), *arguments]
        if host is not None:
            command = host.command(*command)
        child = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    watchdog.cancel()
    watchdog.join()
    end()
    for child in children:
        child.communicate()
