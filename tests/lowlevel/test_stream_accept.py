"""Connections that the listen callback does not accept: the server goes on, none is lost."""

from __future__ import annotations

import socket

import pytest
from helpers import LOCALHOST, Oops, fail

import uvbind


def turns(loop, count=10):
    for _ in range(count):
        loop.run(uvbind.RunMode.NOWAIT)


class Server:
    """A server, its clients' sockets, and what accepted handles read."""

    def __init__(self, loop, kind):
        self.loop, self.clients, self.read = loop, [], []
        self.handle = getattr(uvbind, kind)(loop)
        self.handle.bind(LOCALHOST if kind == "TCP" else "socket")
        self.accepted = []

    def connect(self, *names):
        for name in names:
            family = socket.AF_INET if isinstance(self.handle, uvbind.TCP) else socket.AF_UNIX
            client = socket.socket(family)
            client.settimeout(10)
            client.connect(self.handle.getsockname())
            client.send(name)
            self.clients.append(client)
            turns(self.loop, 1)
        turns(self.loop)

    def accept(self, server=None, error=None):
        connection = self.handle.accept()
        connection.read_start(lambda stream, data, error: self.read.append(data))
        self.accepted.append(connection)

    def close(self):
        self.handle.close()
        for connection in self.accepted:
            connection.close()
        turns(self.loop)
        for client in self.clients:
            client.close()


@pytest.fixture(params=["TCP", "Pipe"])
def server(loop, path, request):
    server = Server(loop, request.param)
    yield server
    server.close()


NAMES = [b"one", b"two", b"three", b"four", b"five"]


def test_connections_wait_for_accept_the_oldest_first(server, loop):
    calls = []
    server.handle.listen(lambda *about: calls.append(about))
    server.connect(*NAMES)
    assert calls == [(server.handle, None)] * 5
    for _ in NAMES:
        server.accept()
    turns(loop)
    assert server.read == NAMES
    with pytest.raises(uvbind.UVError) as caught:
        server.accept()
    assert caught.value.name == "EAGAIN"
    server.connect(b"six")
    server.accept()
    turns(loop)
    assert server.read == [*NAMES, b"six"]


def test_accept_in_the_callback_takes_the_oldest_as_well(server, loop):
    left = [True, True, False, False, False]

    def on_connection(handle, error):
        if not left.pop(0):
            server.accept()

    server.handle.listen(on_connection)
    server.connect(*NAMES)
    assert server.read == NAMES[:3]
    server.accept()
    server.accept()
    turns(loop)
    assert server.read == NAMES


def test_all_that_wait_are_taken_in_one_callback(server, loop):
    def on_connection(handle, error):
        server.waiting = getattr(server, "waiting", 0) + 1
        if server.waiting == 3:
            for _ in range(3):
                server.accept()

    server.handle.listen(on_connection)
    server.connect(*NAMES[:3])
    assert server.read == NAMES[:3]


def test_the_backlog_bounds_how_many_wait(server, loop):
    calls = []
    server.handle.listen(lambda *about: calls.append(about), backlog=2)
    for name in NAMES[:3]:
        server.connect(name)
    assert len(calls) == 3  # two wait, the third holds the server
    server.connect(NAMES[3])
    assert len(calls) == 3
    server.accept()
    turns(loop)
    assert len(calls) == 4
    for _ in range(3):
        server.accept()
    turns(loop)
    assert server.read == NAMES[:4]
    server.connect(NAMES[4])
    assert len(calls) == 5
    server.accept()
    turns(loop)
    assert server.read == NAMES


def test_an_exception_closes_its_connection_only(server, loop):
    calls = []

    def on_connection(handle, error):
        calls.append(error)
        if len(calls) == 2:
            raise Oops
        server.accept()

    server.handle.listen(on_connection)
    server.connect(NAMES[0])
    with pytest.raises(Oops):
        server.connect(NAMES[1])
    server.connect(*NAMES[2:])
    assert calls == [None] * 5
    assert server.read == [NAMES[0], *NAMES[2:]]
    with pytest.raises(uvbind.UVError):
        server.accept()
    with pytest.raises(ConnectionResetError):  # what it had sent was not read
        server.clients[1].recv(1)


def test_an_exception_after_accept_leaves_the_connection_open(server, loop):
    def on_connection(handle, error):
        server.accept()
        raise Oops

    server.handle.listen(on_connection)
    with pytest.raises(Oops):
        server.connect(NAMES[0])
    turns(loop)
    assert server.read == [NAMES[0]]


@pytest.mark.parametrize("how", ["close", "close_reset"])
def test_closing_the_server_closes_what_waits(loop, how):
    server = Server(loop, "TCP")
    server.handle.listen(lambda *about: None)
    server.connect(b"one", b"two")
    getattr(server.handle, how)()
    turns(loop)
    for client in server.clients:
        with pytest.raises(ConnectionResetError):
            client.recv(1)  # what it had sent was not read
    server.close()


def test_the_loop_reports_each_exception(server, loop):
    server.handle.listen(fail)
    for name in NAMES:
        with pytest.raises(Oops):
            server.connect(name)


def test_a_handle_that_cannot_take_the_connection_does_not_stop_the_server(loop, path):
    """TCP_NODELAY cannot be set on a unix socket, and libuv closes the connection then."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    server, calls = uvbind.TCP(loop), []
    server.open(listener)
    server.listen(lambda *about: calls.append(about), backlog=0)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(path)
        turns(loop)
        unfit = uvbind.TCP(loop)
        unfit.nodelay(True)
        with pytest.raises(uvbind.UVError):
            server.accept(unfit)
        first.settimeout(10)
        assert first.recv(1) == b""
        second.connect(path)
        turns(loop)
        assert calls == [(server, None)] * 2
        fit = server.accept()
    for handle in (server, unfit, fit):
        handle.close()
    loop.run()
