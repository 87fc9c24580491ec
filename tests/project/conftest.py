"""What the tests of vendor/fetch.py fetch from, which is on loopback; the benchmark's load."""

from __future__ import annotations

import http.server
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fetching import Project

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


@pytest.fixture
def load() -> Iterator[Load]:
    with Load() as process:
        yield process
