"""Connecting: after a failure, while it lasts, to addresses that are not whole."""

from __future__ import annotations

import socket

import pytest
from helpers import LOCALHOST, ignore, listening

import uvbind


def refusing():
    """An address where nobody listens."""
    with socket.socket() as sock:
        sock.bind(LOCALHOST)
        return sock.getsockname()


@pytest.fixture
def tcp(loop):
    tcp = uvbind.TCP(loop)
    yield tcp
    tcp.close()
    loop.run()


@pytest.mark.parametrize("failures", [1, 2, 3])
def test_connect_after_it_was_refused(loop, tcp, failures):
    outcome = []
    for _ in range(failures):
        tcp.connect(refusing(), lambda tcp, error: outcome.append(error and error.name))
        loop.run()
    server = listening(loop, lambda server, error: (server.accept().write(b"x"), server.close()))
    tcp.connect(server.getsockname(), lambda tcp, error: outcome.append(error))
    while len(outcome) <= failures:
        loop.run(uvbind.RunMode.ONCE)
    assert outcome == ["ECONNREFUSED"] * failures + [None]
    assert tcp.getpeername()
    received = []
    tcp.read_start(lambda tcp, data, error: (received.append(data), loop.stop()))
    loop.run()
    assert received == [b"x"]
    loop.walk(lambda handle: handle.is_closing() or (handle.has_ref() and handle.close()))


def test_a_connect_that_raises_leaves_it_not_connected(loop, tcp):
    tcp.connect(refusing(), ignore)
    loop.run()
    with pytest.raises(uvbind.UVError) as caught:
        tcp.connect(("::1", 9), ignore)
    assert caught.value.name == "EAFNOSUPPORT"
    assert not tcp.is_writable() and "not connected" in repr(tcp)
    with pytest.raises(uvbind.UVError) as caught:
        tcp.write(b"x")
    assert caught.value.name == "ENOTCONN"


def test_reading_begins_when_connected(loop, tcp):
    """libuv takes read_start() before, and when connecting fails reads the end of a stream."""
    tcp.connect(refusing(), ignore)
    with pytest.raises(uvbind.UVError) as caught:
        tcp.read_start(ignore)
    assert caught.value.name == "ENOTCONN"
    assert not tcp.is_readable()
    loop.run()


@pytest.mark.parametrize("address", [("fe80::1", 80), ("FE80::1", 80), ("fe80::1", 80, 0, 0)])
def test_a_link_local_address_needs_its_interface(tcp, address):
    """libuv would take the first interface that has such an address."""
    with pytest.raises(uvbind.UVError, match="link-local, give its interface") as caught:
        tcp.connect(address, ignore)
    assert caught.value.name == "EINVAL"


def test_close_reset_waits_for_shutdown(loop, tcp):
    with socket.socket() as peer:
        peer.bind(LOCALHOST)
        peer.listen()
        tcp.connect(peer.getsockname(), lambda tcp, error: tcp.shutdown(lambda *_: loop.stop()))
        other, _ = peer.accept()
        with other:
            loop.run()
            other.settimeout(10)
            assert other.recv(1) == b""
            tcp.close_reset()
            loop.run(uvbind.RunMode.NOWAIT)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                while True:
                    other.send(b"x")
