"""TCP_NODELAY and SO_KEEPALIVE: remembered while there is no socket."""

from __future__ import annotations

import socket
import sys

import pytest
from helpers import LOCALHOST, has_libuv, ignore, listening, needs_libuv

import uvbind

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="socket options named as in Linux")


def options(tcp):
    """The options of a handle's socket: nodelay, keepalive, idle and interval seconds, probes."""
    with socket.socket(fileno=tcp.fileno()) as sock:
        found = (
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        )
        sock.detach()
    return found


def connected(loop, tcp):
    server = listening(loop)
    tcp.connect(server.getsockname(), lambda tcp, error: loop.stop())
    loop.run()
    server.close()


def opened(loop, tcp):
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.open(sock)


def accepted(loop, tcp):
    server = listening(loop, lambda server, error: (server.accept(tcp), loop.stop()))
    with socket.create_connection(server.getsockname()):
        loop.run()
    server.close()


def listened(loop, tcp):
    tcp.listen(ignore)


WAYS = {
    "bind": lambda loop, tcp: tcp.bind(LOCALHOST),
    "connect": connected,
    "listen": listened,
    "open": opened,
    "accept": accepted,
}


@pytest.fixture(params=WAYS)
def make_socket(request):
    return WAYS[request.param]


@pytest.fixture
def tcp(loop):
    tcp = uvbind.TCP(loop)
    yield tcp
    tcp.close()
    loop.run()


def test_set_before_there_is_a_socket(loop, tcp, make_socket):
    tcp.nodelay(True)
    tcp.keepalive(True, 7)
    make_socket(loop, tcp)
    assert options(tcp) == (1, 1, 7, 1, 10)


def test_the_last_word_counts(loop, tcp, make_socket):
    tcp.nodelay(True)
    tcp.keepalive(True, 7)
    tcp.nodelay(False)
    tcp.keepalive(False)
    make_socket(loop, tcp)
    assert options(tcp)[:2] == (0, 0)


def test_nothing_is_set_unasked(loop, tcp):
    opened(loop, tcp)
    assert options(tcp)[:2] == (1, 1)


def test_set_when_there_is_one(loop):
    tcp = uvbind.TCP(loop, socket.AF_INET)
    tcp.nodelay(True)
    tcp.keepalive(True, 8)
    assert options(tcp) == (1, 1, 8, 1, 10)
    connected(loop, tcp)
    assert options(tcp) == (1, 1, 8, 1, 10)
    tcp.nodelay(False)
    tcp.keepalive(False)
    assert options(tcp)[:2] == (0, 0)
    tcp.close()
    loop.run()


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET])
def test_a_delay_that_is_too_long_is_refused_at_once(loop, family):
    tcp = uvbind.TCP(loop, family)
    with pytest.raises(uvbind.UVError) as caught:
        tcp.keepalive(True, 32768)
    assert caught.value.name == "EINVAL"
    tcp.close()
    loop.run()


def test_off_is_no_error_for_a_socket_of_another_kind(loop, tcp):
    tcp.nodelay(False)
    ours, theirs = socket.socketpair()
    tcp.open(ours)
    with theirs, pytest.raises(uvbind.UVError) as caught:
        tcp.nodelay(True)
    assert caught.value.name == "ENOTSUP"


@needs_libuv(1, 52)
def test_keepalive_ex(loop, tcp, make_socket):
    tcp.keepalive_ex(True, 7, 5, 3)
    make_socket(loop, tcp)
    assert options(tcp)[1:] == (1, 7, 5, 3)
    tcp.keepalive_ex(True, 8)
    assert options(tcp)[1:] == (1, 8, 1, 10)
    tcp.keepalive_ex(False)
    assert options(tcp)[1] == 0
    with pytest.raises(uvbind.UVError) as caught:
        tcp.keepalive_ex(True, count=128)
    assert caught.value.name == "EINVAL"


@pytest.mark.skipif(has_libuv(1, 52), reason="this libuv has uv_tcp_keepalive_ex")
def test_keepalive_ex_says_which_libuv_it_needs(tcp):
    with pytest.raises(NotImplementedError, match=r"keepalive_ex\(\) needs libuv 1\.52"):
        tcp.keepalive_ex(True)
    with pytest.raises(ValueError, match="count: expected an int from 1"):
        tcp.keepalive_ex(True, count=0)
