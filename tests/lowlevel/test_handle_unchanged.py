"""Verbs that fail leave a handle, and what they were given, as before."""

from __future__ import annotations

import os
import socket

import pytest
from helpers import LOCALHOST, ignore

import uvbind

ELSEWHERE = ("192.0.2.1", 1)  # no address of this machine's


def test_a_failed_open_leaves_the_handle_and_the_socket_as_before(loop):
    tcp = uvbind.TCP(loop)
    tcp.nodelay(True)  # which a unix socket does not have
    ours, peer = socket.socketpair()
    with ours, peer:
        for _ in range(2):
            with pytest.raises(uvbind.UVError, match="sock"):
                tcp.open(ours)
            assert os.get_blocking(ours.fileno()) and ours.gettimeout() is None
            assert not tcp.is_readable() and not tcp.is_writable()
            with pytest.raises(uvbind.UVError) as caught:
                tcp.write(b"x")
            assert caught.value.name == "ENOTCONN"
            with pytest.raises(uvbind.UVError) as caught:
                tcp.read_start(ignore)
            assert caught.value.name == "ENOTCONN"
            loop.run(uvbind.RunMode.NOWAIT)
        ours.sendall(b"still mine")
        assert peer.recv(100) == b"still mine"
    tcp.bind(LOCALHOST)
    tcp.close()
    loop.run()


def test_a_failed_bind_leaves_a_tcp_handle_for_another_family(loop):
    tcp = uvbind.TCP(loop)
    with pytest.raises(uvbind.UVError) as caught:
        tcp.bind(ELSEWHERE)
    assert caught.value.name == "EADDRNOTAVAIL"
    with pytest.raises(uvbind.UVError, match="fileno"):
        tcp.fileno()
    if socket.has_ipv6:
        tcp.bind(("::1", 0))
        assert tcp.getsockname()[0] == "::1"
    tcp.close()
    loop.run()


def test_a_failed_bind_leaves_a_udp_handle_for_another_family(loop):
    udp = uvbind.UDP(loop)
    with pytest.raises(uvbind.UVError) as caught:
        udp.bind(ELSEWHERE)
    assert caught.value.name == "EADDRNOTAVAIL"
    with pytest.raises(uvbind.UVError, match="fileno"):
        udp.fileno()
    udp.bind(LOCALHOST)
    udp.close()
    loop.run()


def test_a_refused_connect_leaves_no_socket(loop):
    tcp = uvbind.TCP(loop)
    with pytest.raises(uvbind.UVError):
        tcp.connect(("255.255.255.255", 9), ignore)  # broadcasts are not for TCP
    assert not tcp.is_readable() and not tcp.is_writable()
    with pytest.raises(uvbind.UVError, match="fileno"):
        tcp.fileno()
    tcp.close()
    loop.run()


def test_an_accept_that_fails_leaves_the_handle_unopened(loop, monkeypatch):
    ends = socket.socketpair()
    sender, receiver = (uvbind.Pipe(loop, ipc=True) for _ in ends)
    for pipe, end in zip((sender, receiver), ends):
        pipe.open(end)
    client, seen = uvbind.TCP(loop), []
    client.nodelay(True)  # which is not for a unix socket, here called a TCP one
    ours, theirs = socket.socketpair()
    passed = uvbind.Pipe(loop)
    passed.open(ours)
    monkeypatch.setattr(receiver, "_arrived", lambda: uvbind.TCP)

    def on_read(pipe, data, error):
        with pytest.raises(uvbind.UVError):
            pipe.accept(client)
        seen.append((client.is_readable(), client.is_writable(), pipe.pending_count()))
        loop.stop()

    receiver.read_start(on_read)
    sender.write2(b"x", passed)
    loop.run()
    assert seen == [(False, False, 0)]
    with pytest.raises(uvbind.UVError, match="fileno"):
        client.fileno()
    for handle in (sender, receiver, client, passed):
        handle.close()
    theirs.close()
    loop.run()
