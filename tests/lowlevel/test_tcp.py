"""TCP: connecting, addresses, options, and what it does with bad input."""

from __future__ import annotations

import errno
import socket
import sys

import pytest
from helpers import LOCALHOST, ignore, listening

import uvbind


@pytest.fixture
def tcp(loop):
    tcp = uvbind.TCP(loop)
    yield tcp
    tcp.close()
    loop.run()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_echo_over_both_families(loop, host):
    received = []

    def on_read(stream, data, error):
        if data is None:
            stream.close()
        else:
            stream.write(data)

    def on_connection(server, error):
        server.accept().read_start(on_read)
        server.close()

    def on_reply(client, data, error):
        received.append(data)
        client.close()

    def on_connect(client, error):
        assert error is None
        client.read_start(on_reply)
        client.write(b"hello")

    server = listening(loop, on_connection, (host, 0))
    uvbind.TCP(loop).connect(server.getsockname(), on_connect)
    loop.run()
    assert received == [b"hello"]


def test_names_of_both_ends(peers):
    assert peers.client.getpeername() == peers.server.getsockname()
    assert peers.client.getsockname() == peers.server.getpeername()
    assert peers.client.getpeername()[0] == "127.0.0.1"


def test_ipv6_names_have_four_parts(loop):
    server = listening(loop, address=("::1", 0, 0, 0))
    host, port, flowinfo, scope_id = server.getsockname()
    assert (host, flowinfo, scope_id) == ("::1", 0, 0) and port > 0
    server.close()
    loop.run()


def test_connection_refused_comes_in_the_callback(loop):
    with socket.socket() as unused:
        unused.bind(LOCALHOST)
        address = unused.getsockname()
        errors = []

        def on_connect(tcp, error):
            errors.append(error)
            tcp.close()

        uvbind.TCP(loop).connect(address, on_connect)
        loop.run()
    (error,) = errors
    assert isinstance(error, ConnectionRefusedError) and isinstance(error, uvbind.UVError)
    assert error.errno == errno.ECONNREFUSED and error.name == "ECONNREFUSED"
    assert str(error) == f"[Errno {errno.ECONNREFUSED}] connect: connection refused"


def test_closing_while_connecting_calls_back_with_ecanceled(loop):
    server = listening(loop)
    names = []
    client = uvbind.TCP(loop)
    client.connect(server.getsockname(), lambda tcp, error: names.append(error.name))
    client.close(lambda tcp: names.append("closed"))
    server.close()
    loop.run()
    assert names == ["ECANCELED", "closed"]


def test_address_in_use_comes_from_listen(loop, tcp):
    server = listening(loop)
    tcp.bind(server.getsockname())
    with pytest.raises(uvbind.UVError, match="address already in use"):
        tcp.listen(ignore)
    server.close()


def test_ipv6only_leaves_ipv4_to_others(loop):
    def both(last: bool) -> bool:
        server, other = uvbind.TCP(loop), uvbind.TCP(loop)
        try:
            server.bind(("::", 0), ipv6only=True)
            server.listen(ignore)
            other.bind(("127.0.0.1", server.getsockname()[1]))
            other.listen(ignore)
        except uvbind.UVError as error:
            if last or error.name != "EADDRINUSE":
                raise
            return False  # another program has the IPv4 port
        finally:
            server.close()
            other.close()
        return True

    assert any(both(attempt == 19) for attempt in range(20))


def test_reuseport_shares_the_port(loop, tcp):
    if uvbind.features()["libuv_compiled"] < "1.49":
        with pytest.raises(NotImplementedError, match=r"reuseport.*needs libuv 1\.49"):
            tcp.bind(LOCALHOST, reuseport=True)
        return
    tcp.bind(LOCALHOST, reuseport=True)
    tcp.listen(ignore)
    other = uvbind.TCP(loop)
    other.bind(tcp.getsockname(), reuseport=True)
    other.listen(ignore)
    other.close()


def test_options_reach_the_socket(peers):
    with socket.socket(fileno=peers.client.fileno()) as sock:
        try:
            peers.client.nodelay(True)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            peers.client.nodelay(False)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            peers.client.keepalive(True, 17)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 17
            peers.client.keepalive(False)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
        finally:
            sock.detach()
    peers.client.simultaneous_accepts(True)


def test_buffer_sizes(peers):
    peers.client.send_buffer_size = 50_000
    peers.client.recv_buffer_size = 60_000
    factor = 2 if sys.platform == "linux" else 1
    assert peers.client.send_buffer_size == factor * 50_000
    assert peers.client.recv_buffer_size == factor * 60_000


def test_a_family_makes_the_socket_at_once(loop, tcp):
    with pytest.raises(uvbind.UVError, match="bad file descriptor"):
        tcp.fileno()
    ipv6 = uvbind.TCP(loop, socket.AF_INET6)
    assert ipv6.fileno() > 2
    ipv6.close()


def test_open_takes_a_socket_object_over(loop):
    ours, theirs = socket.socketpair()
    with theirs:
        tcp = uvbind.TCP(loop)
        tcp.open(ours)
        assert ours.fileno() == -1
        received = []
        tcp.read_start(lambda tcp, data, error: (received.append(data), tcp.close()))
        theirs.send(b"to libuv")
        loop.run()
    assert received == [b"to libuv"]


def test_open_that_fails_leaves_the_socket_alone(loop, tcp, tmp_path):
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        with pytest.raises(uvbind.UVError, match="not a stream socket"):
            tcp.open(udp)
        assert udp.fileno() > 0
    with open(tmp_path / "file", "w") as file:
        with pytest.raises(TypeError, match="sock: expected a socket or a file descriptor"):
            tcp.open(file)
        with pytest.raises(uvbind.UVError, match=r"sock: \d+: socket operation on non-socket"):
            tcp.open(file.fileno())
        file.write("still open")
    with pytest.raises(uvbind.UVError, match="bad file descriptor"):
        tcp.open(10**6)
    with pytest.raises(TypeError, match="sock: expected a socket or a file descriptor"):
        tcp.open("sock")


def test_open_twice_is_refused(loop, peers):
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(uvbind.UVError, match="has a socket already"):
        peers.client.open(ours)


def test_socketpair_is_connected(loop):
    left, right = uvbind.TCP.socketpair(loop)
    received = []
    right.read_start(lambda tcp, data, error: (received.append(data), tcp.close(), left.close()))
    left.write(b"across")
    loop.run()
    assert received == [b"across"]


def test_close_reset_is_a_reset_for_the_peer(loop, peers):
    errors = []
    peers.server.read_start(lambda tcp, data, error: errors.append(error))
    closed = []
    peers.client.close_reset(closed.append)
    loop.run()
    (error,) = errors
    assert isinstance(error, ConnectionResetError)
    assert closed == [peers.client]
    peers.client.close()  # as idempotent as ever


def test_close_reset_excludes_shutdown(loop, peers):
    peers.client.shutdown()
    with pytest.raises(uvbind.UVError, match="invalid argument"):
        peers.client.close_reset()
    assert not peers.client.is_closing()


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        ("127.0.0.1:80", TypeError, "address: expected \\(host, port\\)"),
        (("127.0.0.1",), TypeError, "address: expected \\(host, port\\)"),
        (("::1", 80, 0), TypeError, "address: expected \\(host, port\\)"),
        (None, TypeError, "address: expected \\(host, port\\)"),
        ((b"127.0.0.1", 80), TypeError, "address: expected the host as a str, not bytes"),
        (("127.0.0.1", "80"), TypeError, "address: port: expected an int, not str"),
        (("127.0.0.1", -1), ValueError, "address: port: expected an int from 0 to 65535, not -1"),
        (("127.0.0.1", 65536), ValueError, "address: port: expected an int from 0 to 65535"),
        (("127.0.0.1", 2**70), ValueError, "address: port: expected an int from 0 to 65535"),
        (("localhost", 80), ValueError, "address: host 'localhost' is not a numeric"),
        (("", 80), ValueError, "bind to '0.0.0.0' or '::'"),
        (("127.0.0.1\0.evil", 80), ValueError, "is not a numeric"),
        (("\uff11.0.0.1", 80), ValueError, "is not a numeric"),
        (("1" * 10_000, 80), ValueError, "is not a numeric"),
        (("fe80::1%nosuch", 80), ValueError, "names no network interface after the %"),
        (("fe80::1%", 80), ValueError, "names no network interface after the %"),
        (("fe80::1%0", 80), ValueError, "names no network interface after the %"),
        (("fe80::1%2x", 80), ValueError, "names no network interface after the %"),
        (("fe80::1%18446744073709551617", 80), ValueError, "names no network interface"),
        (("::1", 80, -1, 0), ValueError, "address: flowinfo"),
        (("::1", 80, 0, 2**32), ValueError, "address: scope_id"),
    ],
)
def test_bad_addresses_are_named(tcp, address, error, message):
    with pytest.raises(error, match=message):
        tcp.bind(address)
    with pytest.raises(error, match=message):
        tcp.connect(address, ignore)


def test_verbs_that_need_a_connection_say_so(tcp):
    for verb in (
        lambda: tcp.read_start(ignore),
        lambda: tcp.write(b"x"),
        lambda: tcp.write(b"x", ignore),
        lambda: tcp.try_write(b"x"),
        lambda: tcp.writelines([b"x"]),
        lambda: tcp.shutdown(),
    ):
        with pytest.raises(uvbind.UVError) as caught:
            verb()
        assert caught.value.name == "ENOTCONN"
    for verb in (tcp.getsockname, tcp.getpeername, tcp.close_reset):
        with pytest.raises(uvbind.UVError) as caught:
            verb()
        assert caught.value.name in ("EBADF", "ENOTCONN")


def test_connecting_twice_is_refused(loop, tcp):
    server = listening(loop)
    tcp.connect(server.getsockname(), lambda tcp, error: None)
    with pytest.raises(uvbind.UVError, match="already in progress"):
        tcp.connect(server.getsockname(), ignore)
    server.close()
    loop.run(uvbind.RunMode.NOWAIT)
    loop.run(uvbind.RunMode.NOWAIT)


def test_connecting_when_connected_is_refused(peers):
    with pytest.raises(uvbind.UVError, match="socket is already connected"):
        peers.client.connect(peers.client.getpeername(), ignore)


def test_connect_of_a_listening_handle_is_refused(loop):
    server = listening(loop)
    with pytest.raises(uvbind.UVError):
        server.connect(server.getsockname(), ignore)
    server.close()
    loop.run()


def test_a_loop_is_asked_for():
    with pytest.raises(TypeError, match=r"loop: expected a uvbind\.Loop, not str"):
        uvbind.TCP("loop")


def test_a_bad_family_is_refused(loop):
    with pytest.raises(uvbind.UVError, match="TCP: "):
        uvbind.TCP(loop, socket.AF_UNIX)
    with pytest.raises(TypeError, match="family: expected an int"):
        uvbind.TCP(loop, "inet")
