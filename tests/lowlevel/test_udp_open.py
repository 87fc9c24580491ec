"""Sockets that a UDP handle takes over: who else may bind to their address."""

from __future__ import annotations

import socket

import pytest
from helpers import LOCALHOST, has_libuv, needs_libuv

import uvbind


def bound(*options):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in options:
        sock.setsockopt(socket.SOL_SOCKET, option, 1)
    sock.bind(LOCALHOST)
    return sock


def option(udp, name):
    with socket.socket(fileno=udp.fileno()) as sock:
        value = sock.getsockopt(socket.SOL_SOCKET, name)
        sock.detach()
    return value


def bind_another(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(address)


@pytest.fixture
def udp(loop):
    udp = uvbind.UDP(loop)
    yield udp
    udp.close()
    loop.run()


def test_nobody_else_can_bind_to_the_address(udp):
    udp.open(bound())
    with pytest.raises(OSError, match="in use"):
        bind_another(udp.getsockname())


def test_others_can_when_the_caller_has_said_so(udp):
    udp.open(bound(socket.SO_REUSEADDR))
    bind_another(udp.getsockname())
    assert option(udp, socket.SO_REUSEADDR) == 1


def test_reuseport_stays(udp):
    udp.open(bound(socket.SO_REUSEPORT))
    assert option(udp, socket.SO_REUSEPORT) == 1
    assert option(udp, socket.SO_REUSEADDR) == 0


def test_a_socket_that_open_refuses_keeps_its_options(udp):
    udp.open(bound())
    with bound() as sock:
        with pytest.raises(uvbind.UVError):
            udp.open(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 0


@pytest.mark.parametrize("shared", [0, 1])
def test_a_socket_that_arrives_over_a_pipe(loop, udp, shared):
    ours, theirs = socket.socketpair()
    sender, receiver = uvbind.Pipe(loop, ipc=True), uvbind.Pipe(loop, ipc=True)
    sender.open(ours)
    receiver.open(theirs)
    sock = bound()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shared)
    udp.open(sock)
    arrived = []

    def on_read(pipe, data, error):
        arrived.append(pipe.accept())
        loop.stop()

    receiver.read_start(on_read)
    sender.write2(b"!", udp)
    loop.run()
    assert option(arrived[0], socket.SO_REUSEADDR) == shared
    assert arrived[0].getsockname() == udp.getsockname()
    for handle in (*arrived, sender, receiver):
        handle.close()


@needs_libuv(1, 52)
def test_open_ex_sets_what_is_asked_for(loop):
    for asked in ("reuseaddr", "reuseport"):
        udp = uvbind.UDP(loop)
        udp.open_ex(bound(), **{asked: True})
        assert option(udp, socket.SO_REUSEADDR) == (asked == "reuseaddr")
        assert option(udp, socket.SO_REUSEPORT) == (asked == "reuseport")
        udp.close()
    udp = uvbind.UDP(loop)
    udp.open_ex(bound())
    with pytest.raises(OSError, match="in use"):
        bind_another(udp.getsockname())
    udp.close()
    loop.run()


@pytest.mark.skipif(has_libuv(1, 52), reason="this libuv has uv_udp_open_ex")
def test_open_ex_says_which_libuv_it_needs(udp):
    with bound() as sock, pytest.raises(NotImplementedError, match=r"needs libuv 1\.52"):
        udp.open_ex(sock, reuseaddr=True)
