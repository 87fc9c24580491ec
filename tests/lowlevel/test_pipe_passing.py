"""Handles that are closed while they wait to be passed over an IPC pipe."""

from __future__ import annotations

import contextlib
import os
import select
import socket

import pytest
from helpers import LOCALHOST, MEGABYTES, ignore, serving

import uvbind

resource = pytest.importorskip("resource")


class Passing:
    """A pipe that is full, so that what it is to pass has to wait, and its other end."""

    def __init__(self, loop):
        self.loop = loop
        ends = socket.socketpair()
        self.sender, self.receiver = (uvbind.Pipe(loop, ipc=True) for _ in ends)
        for pipe, end in zip((self.sender, self.receiver), ends):
            pipe.open(end)
        self.sender.write(MEGABYTES)
        self.log = []
        self.arrived = []

    def turns(self, count=3):
        for _ in range(count):
            self.loop.run(uvbind.RunMode.NOWAIT)

    def write2(self, handle):
        self.sender.write2(b"!", handle, lambda pipe, error: self.log.append(error))

    def closed(self, handle):
        self.log.append("closed")

    def receive(self, started=ignore):
        """Run until a handle has arrived; `started` gets it at once."""

        def on_read(pipe, data, error):
            if pipe.pending_count():
                self.arrived.append(pipe.accept())
                started(self.arrived[0])

        self.receiver.read_start(on_read)
        while not self.arrived:
            self.loop.run(uvbind.RunMode.ONCE)
        return self.arrived[0]

    def close(self):
        for handle in (self.sender, self.receiver, *self.arrived):
            handle.close()
        self.loop.run()


@pytest.fixture
def passing(loop):
    passing = Passing(loop)
    yield passing
    passing.close()


@pytest.mark.parametrize("close", ["close", "close_reset"])
def test_a_connection_closed_before_it_is_passed_arrives(loop, peers, passing, close):
    meant = peers.server.getsockname(), peers.server.getpeername()
    passing.write2(peers.server)
    getattr(peers.server, close)(passing.closed)
    passing.turns()
    others = [uvbind.TCP(loop) for _ in range(20)]  # in memory that was freed, if it was
    for other in others:
        other.bind(LOCALHOST)
    assert passing.log == []
    arrived = passing.receive()
    assert (arrived.getsockname(), arrived.getpeername()) == meant
    passing.turns()
    assert passing.log == [None, "closed"]
    arrived.write(b"still connected")
    data = []
    peers.client.read_start(lambda client, *read: (data.append(read), client.read_stop()))
    while not data:
        loop.run(uvbind.RunMode.ONCE)
    assert data == [(b"still connected", None)]
    for other in others:
        other.close()


def test_a_connection_reset_after_it_was_passed_once_and_waits_again(peers, passing):
    passing.write2(peers.server)
    passing.write2(peers.server)
    peers.server.close_reset(passing.closed)
    passing.receive()
    while len(passing.log) < 3 or len(passing.arrived) < 2:
        passing.turns(1)
    assert passing.log == [None, None, "closed"]
    names = [handle.getpeername() for handle in passing.arrived]
    assert names == [peers.client.getsockname()] * 2


@pytest.mark.parametrize("recvmmsg", [False, True])
def test_datagrams_after_close_are_for_the_other_process(loop, passing, recvmmsg):
    udp, client = uvbind.UDP(loop, recvmmsg=recvmmsg), uvbind.UDP(loop)
    udp.bind(LOCALHOST)
    address = udp.getsockname()
    udp.recv_start(lambda *datagram: passing.log.append(datagram))
    passing.turns()
    passing.write2(udp)
    udp.close(passing.closed)
    client.send(b"for the other process", address)
    passing.turns()
    assert passing.log == []
    received = []
    passing.receive(lambda udp: udp.recv_start(lambda udp, data, *rest: received.append(data)))
    while not received:
        loop.run(uvbind.RunMode.ONCE)
    assert received == [b"for the other process"]
    passing.turns()
    assert passing.log == [None, "closed"]
    client.close()


@pytest.mark.parametrize("kind", ["TCP", "Pipe"])
def test_connections_after_close_are_for_the_other_process(loop, passing, kind):
    if kind == "TCP":
        server, client = uvbind.TCP(loop), socket.socket()
        server.bind(LOCALHOST)
        server.listen(lambda *about: passing.log.append(about))
    else:
        server = serving(loop, "socket", lambda *about: passing.log.append(about))
        os.link("socket", "still")  # closing removes the path
        client = socket.socket(socket.AF_UNIX)
    name = server.getsockname() if kind == "TCP" else "still"
    passing.turns()
    passing.write2(server)
    server.close(passing.closed)
    with client:
        client.connect(name)
        passing.turns()
        assert passing.log == []
        served = []

        def on_connection(server, error):
            served.append(server.accept())
            served[0].write(b"served")

        passing.receive(lambda server: server.listen(on_connection))
        while not served:
            loop.run(uvbind.RunMode.ONCE)
        assert client.recv(100) == b"served"
    served[0].close()
    assert passing.log == [None, "closed"]


def test_closing_a_handle_takes_no_free_descriptor(peers, passing):
    meant = peers.server.getpeername()
    passing.write2(peers.server)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    taken = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        peers.server.close(passing.closed)
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert passing.receive().getpeername() == meant


def test_a_handle_is_closed_although_its_pipe_is_closed_first(loop, peers, passing):
    passing.write2(peers.server)
    peers.server.close(passing.closed)
    passing.sender.close()
    while len(passing.log) < 2:
        loop.run(uvbind.RunMode.ONCE)
    assert passing.log[0].name == "ECANCELED" and passing.log[1] == "closed"


def test_a_loop_closes_with_a_handle_that_waits_to_be_passed():
    with uvbind.Loop() as loop:
        passing = Passing(loop)
        server = uvbind.TCP(loop)
        server.bind(LOCALHOST)
        passing.write2(server)
        server.close(passing.closed)
    assert passing.log[0].name == "ECANCELED" and passing.log[1] == "closed"


@pytest.mark.parametrize("verb", ["write2", "try_write2"])
@pytest.mark.parametrize("kind", ["TCP as ipc", "not ipc", "TCP"])
def test_a_handle_is_not_passed_where_it_would_be_dropped(loop, verb, kind):
    """The kernel sends the data over TCP and forgets the descriptor; so does a peer without ipc."""
    if kind == "TCP as ipc":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    else:
        ours, theirs = socket.socketpair()
    stream = uvbind.TCP(loop) if kind == "TCP" else uvbind.Pipe(loop, ipc=kind == "TCP as ipc")
    stream.open(ours)
    passed = uvbind.TCP(loop, socket.AF_INET)
    with theirs:
        with pytest.raises(uvbind.UVError, match="pass") as caught:
            getattr(stream, verb)(b"x", passed)
        assert caught.value.name == "EINVAL"
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
    for handle in (stream, passed):
        handle.close()
    loop.run()


def test_a_pipe_that_accepts_and_does_not_read_lets_the_loop_wait(loop, peers):
    """uv_accept has libuv poll the pipe: data that nobody reads would end each poll at once."""
    ends = socket.socketpair()
    sender, receiver = (uvbind.Pipe(loop, ipc=True) for _ in ends)
    sender.open(ends[0])
    receiver.open(ends[1])
    arrived = []

    def on_read(pipe, data, error):
        arrived.append(data)
        pipe.read_stop()

    sender.write2(b"x", peers.server)
    receiver.read_start(on_read)
    while not arrived:
        loop.run(uvbind.RunMode.ONCE)
    sender.write(b"more")
    accepted = receiver.accept()
    waker = uvbind.Async(loop, ignore)  # the loop polls while there is something to wait for
    for _ in range(3):  # libuv stops watching when there is an event for nobody
        loop.run(uvbind.RunMode.NOWAIT)
    assert select.select([loop.backend_fd()], [], [], 0)[0] == []
    receiver.read_start(on_read)
    while len(arrived) < 2:
        loop.run(uvbind.RunMode.ONCE)
    assert arrived == [b"x", b"more"]
    for handle in (sender, receiver, accepted, waker):
        handle.close()
    loop.run()
