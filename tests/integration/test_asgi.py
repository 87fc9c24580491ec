"""uvicorn and hypercorn, started as one does, under the load of wrk and ended by a signal."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import MEGABYTES
from servers import free_port, installed, running

pytest.importorskip("uvicorn")
pytest.importorskip("hypercorn")
pytest.importorskip("httptools")
pytest.importorskip("wsproto")
pytest.importorskip("websockets")
from websockets.sync.client import connect

PROGRAMS = Path(__file__).parent / "programs"
SERVERS = {
    "uvicorn": ["uvicorn", "--http=h11", "--ws=websockets-sansio"],
    "uvicorn-httptools": ["uvicorn", "--http=httptools", "--ws=wsproto"],
    "hypercorn": ["hypercorn"],
}
TLS_OPTIONS = {"uvicorn": ("ssl-certfile", "ssl-keyfile"), "hypercorn": ("certfile", "keyfile")}
CONNECTIONS = 20


class Server:
    """A server of this kind on this loop: a process, which is `process` while it runs.

    `path`: where it listens, when it is not to be a port. `certificate`: to serve with TLS.
    """

    def __init__(
        self, kind: str, loop: str, folder: Path, path: Path | None = None, certificate: Any = None
    ) -> None:
        self.program, *options = SERVERS[kind]
        self.loop, self.log = loop, folder / "log"
        self.port = free_port()
        self.address: Any = str(path) if path else ("127.0.0.1", self.port)
        self._certificate = certificate
        if certificate:
            files = (certificate.cert_file, certificate.key_file)
            named = zip(TLS_OPTIONS[self.program], files)
            options += [f"--{option}={file}" for option, file in named]
        if self.program == "uvicorn":
            options += [f"--loop={'uvbind:new_event_loop' if loop == 'uvbind' else loop}"]
            options += [f"--uds={path}" if path else f"--port={self.port}", "--no-access-log"]
            self._application = "app:app"
        else:
            options += [f"--bind=unix:{path}" if path else f"--bind=127.0.0.1:{self.port}"]
            self._application = "app_on_uvbind:app" if loop == "uvbind" else "app:app"
        self._command = [sys.executable, "-m", self.program, *options]

    @contextlib.contextmanager
    def running(self, workers: int = 1) -> Iterator[Server]:
        if self.program == "hypercorn" and workers == 1:
            workers = 0  # with 1 it is two processes
        command = [*self._command, f"--workers={workers}", self._application]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(PROGRAMS))
            patch.chdir(self.log.parent)  # away from the checkout, for the whole module
            with running(*command, package="python3", ready=self.answers, log=self.log) as process:
                self.process = process
                yield self
        said = self.log.read_text()
        assert "Traceback" not in said, said

    def answers(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        sock = socket.socket(family)
        try:
            sock.settimeout(60)
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        if not self._certificate:
            return sock
        return self._certificate.client.wrap_socket(sock, server_hostname="127.0.0.1")

    def get(self, path: str) -> str:
        with self.connect() as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return read_answer(sock).decode()

    def load(self) -> int:
        """Have wrk send requests for a while; return how many were answered, all rightly."""
        command = [
            installed("wrk", "wrk"),
            "--threads=1",
            f"--connections={CONNECTIONS}",
            "--duration=1s",
            "--timeout=30s",
            f"--script={PROGRAMS / 'wrk.lua'}",
            f"{'https' if self._certificate else 'http'}://127.0.0.1:{self.port}/hello",
        ]
        done = subprocess.run(command, stdout=-1, stderr=subprocess.STDOUT, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
        counts = json.loads(done.stdout.splitlines()[-1])
        requests: int = counts.pop("requests")
        assert counts.pop("right") == requests > 0
        assert set(counts.values()) == {0}, counts
        return requests

    def says(self, text: str, times: int) -> list[str]:
        """Wait until the log has so many lines that begin so; return them."""
        for _ in range(1500):
            lines = self.log.read_text().splitlines()
            found = [line for line in lines if line.startswith(text)]
            if len(found) >= times:
                return found
            time.sleep(0.02)
        raise AssertionError(lines)


def read_answer(sock: socket.socket) -> bytes:
    with contextlib.closing(http.client.HTTPResponse(sock)) as answer:
        answer.begin()
        assert answer.status == 200
        return answer.read()


@pytest.fixture(scope="module", params=SERVERS)
def server(request, loop_name, tmp_path_factory):
    """One that runs on for several tests."""
    started = Server(request.param, loop_name, tmp_path_factory.mktemp("server"))
    with started.running():
        yield started


def test_under_load(server):
    assert server.get("/loop") == server.loop
    earlier = int(server.get("/served"))
    requests = server.load()
    # wrk leaves when its time is over, with a request under way on each connection.
    assert requests <= int(server.get("/served")) - earlier <= requests + CONNECTIONS


def test_bodies_of_megabytes_both_ways_at_once(server):
    with server.connect() as sock:
        head = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {len(MEGABYTES)}\r\n\r\n"
        sender = threading.Thread(target=sock.sendall, args=(head.encode() + MEGABYTES,))
        sender.start()
        assert read_answer(sock) == MEGABYTES
        sender.join()


def test_websocket(server):
    with connect(f"ws://127.0.0.1:{server.port}/") as client:
        assert client.recv() == server.loop
        for message in ("text", b"bytes", bytes(900_000)):
            client.send(message)
            assert client.recv() == message


@pytest.mark.parametrize("kind", SERVERS)
def test_tls_under_load(kind, loop_name, certificate, tmp_path):
    with Server(kind, loop_name, tmp_path, certificate=certificate).running() as server:
        assert server.get("/loop") == loop_name
        requests = server.load()
        assert requests <= int(server.get("/served")) <= requests + CONNECTIONS


@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn"])
def test_several_processes_serve_one_socket(kind, loop_name, tmp_path):
    with Server(kind, loop_name, tmp_path).running(workers=2) as server:
        started = server.says("startup", 2)
        assert len(set(started)) == 2 and all(line.endswith(loop_name) for line in started)
        server.load()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        # As soon as one of hypercorn's has ended it ends the others, which may not say so then.
        assert server.says("shutdown", 1 if kind == "hypercorn" else 2)


@pytest.mark.parametrize("kind", ["uvicorn", "hypercorn"])
def test_a_unix_socket(kind, loop_name, tmp_path):
    with Server(kind, loop_name, tmp_path, path=tmp_path / "s").running() as server:
        assert server.get("/loop") == loop_name


@pytest.mark.parametrize("kind", SERVERS)
def test_a_signal_lets_a_request_finish_and_closes_idle_connections(kind, loop_name, tmp_path):
    starting = Server(kind, loop_name, tmp_path)
    with starting.running() as server, server.connect() as busy, server.connect() as idle:
        idle.sendall(b"GET /loop HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(idle).decode() == loop_name
        busy.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst")
        with contextlib.closing(http.client.HTTPResponse(busy)) as answer:
            answer.begin()
            assert answer.read1() == b"first"
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(100) == b""
            assert server.process.poll() is None
            busy.sendall(b" last")
            assert answer.read() == b" last"
        # uvicorn gives the signal back to the system when it is done.
        status = -signal.SIGTERM if server.program == "uvicorn" else 0
        assert server.process.wait(60) == status
        assert not server.answers()
        said = server.says("startup", 1) + server.says("shutdown", 1)
        assert [line.split()[-1] for line in said] == [loop_name, loop_name]
