"""ICMP errors: with linux_recverr=True each is told once, and the loop waits again."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest
from helpers import LOCALHOST

import uvbind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="IP_RECVERR is Linux's")

IP_RECVERR = 11


def unused(host="127.0.0.1"):
    """An address that nobody has."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return host, sock.getsockname()[1]


@pytest.fixture(params=[False, True], ids=["recvmsg", "recvmmsg"])
def udp(loop, request):
    udp = uvbind.UDP(loop, recvmmsg=request.param)
    yield udp
    udp.close()
    loop.run()


def settle(loop, turns=20):
    """Run many turns, none of which waits."""
    for _ in range(turns):
        loop.run(uvbind.RunMode.NOWAIT)


class Seen:
    def __init__(self):
        self.errors, self.data = [], []

    def __call__(self, udp, data, address, flags, error):
        if error is not None:
            self.errors.append(error.name)
        else:
            self.data.append(data)


@pytest.mark.parametrize(
    ("host", "peer"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "::1"), ("::", "::ffff:127.0.0.1")],
)
def test_each_error_is_told_once(loop, udp, host, peer):
    seen = Seen()
    udp.bind((host, 0), linux_recverr=True)
    udp.recv_start(seen)
    dead = unused(peer)
    for count in range(1, 4):
        udp.send(b"x", dead)
        settle(loop)
        assert seen.errors == ["ECONNREFUSED"] * count


def test_several_that_have_queued_up(loop, udp):
    seen = Seen()
    udp.bind(LOCALHOST, linux_recverr=True)
    dead = unused()
    sent = 0
    while sent < 5:  # the error of the one before makes a send fail
        with contextlib.suppress(ConnectionRefusedError):
            sent += udp.try_send(b"x", dead)
    udp.recv_start(seen)
    settle(loop)
    assert seen.errors == ["ECONNREFUSED"] * 5


def test_the_loop_waits_after_an_error(loop, udp):
    seen = Seen()
    udp.bind(LOCALHOST, linux_recverr=True)
    udp.recv_start(seen)
    udp.send(b"x", unused())
    settle(loop)
    turns = []
    prepare = uvbind.Prepare(loop)
    prepare.start(turns.append)
    end = uvbind.Timer(loop)
    end.start(lambda end: loop.stop(), 50)
    loop.run()
    assert len(turns) < 10
    prepare.close()
    end.close()


def test_datagrams_come_after_thousands_of_errors(loop, udp):
    """The queue counts against the receive buffer."""
    seen = Seen()
    udp.bind(LOCALHOST, linux_recverr=True)
    udp.recv_buffer_size = 4096
    udp.recv_start(seen)
    dead = unused()
    for _ in range(1000):
        with contextlib.suppress(ConnectionRefusedError):
            udp.try_send(b"x" * 100, dead)
        loop.run(uvbind.RunMode.NOWAIT)
    sender = uvbind.UDP(loop)
    sender.send(b"still here", udp.getsockname())
    settle(loop)
    assert seen.data == [b"still here"]
    assert set(seen.errors) == {"ECONNREFUSED"}
    sender.close()


@pytest.mark.parametrize("what", ["stop", "close"])
def test_the_callback_stops_between_two_errors(loop, udp, what):
    errors = []

    def on_datagram(udp, data, address, flags, error):
        errors.append(error.name)
        udp.recv_stop() if what == "stop" else udp.close()

    udp.bind(LOCALHOST, linux_recverr=True)
    dead = unused()
    for _ in range(3):
        try:
            udp.try_send(b"x", dead)
        except ConnectionRefusedError:
            udp.try_send(b"x", dead)
    udp.recv_start(on_datagram)
    settle(loop)
    assert errors == ["ECONNREFUSED"]
    if what == "stop":
        udp.recv_start(lambda udp, data, address, flags, error: errors.append(error.name))
        settle(loop)
        assert errors == ["ECONNREFUSED"] * 3


def test_a_socket_taken_over_that_queues_errors(loop, udp):
    seen = Seen()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(LOCALHOST)
    sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    udp.open(sock)
    udp.recv_start(seen)
    udp.send(b"x", unused())
    settle(loop)
    assert seen.errors == ["ECONNREFUSED"]


def test_without_the_option_a_connected_socket_hears_of_it_once(loop, udp):
    seen = Seen()
    udp.connect(unused())
    udp.recv_start(seen)
    udp.send(b"x")
    settle(loop)
    assert seen.errors == ["ECONNREFUSED"]
