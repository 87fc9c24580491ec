"""open() of odd descriptors: refused with the reason, or their state is known."""

from __future__ import annotations

import os
import socket
import ssl

import pytest
from helpers import LOCALHOST, ignore

import uvbind

CLASSES = [uvbind.TCP, uvbind.UDP, uvbind.Pipe]


def tcp_pair():
    with socket.socket() as listener:
        listener.bind(LOCALHOST)
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        return client, listener.accept()[0]


def turns(loop, count=5):
    for _ in range(count):
        loop.run(uvbind.RunMode.NOWAIT)


@pytest.fixture(params=CLASSES)
def handle(loop, request):
    handle = request.param(loop)
    yield handle
    handle.close()
    loop.run()


def suitable(handle):
    kind = socket.SOCK_DGRAM if isinstance(handle, uvbind.UDP) else socket.SOCK_STREAM
    return socket.socketpair(type=kind)


# -- what is no plain socket


@pytest.mark.parametrize("kind", [uvbind.TCP, uvbind.Pipe])
def test_an_ssl_socket_is_refused(loop, kind):
    """libuv would send in the clear what is meant to be encrypted."""
    ours, theirs = tcp_pair()
    context = ssl.create_default_context()
    tls = context.wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False)
    handle = kind(loop)
    with tls, theirs:
        with pytest.raises(TypeError, match=r"SSLSocket has a recv\(\) of its own, as for TLS"):
            handle.open(tls)
        assert tls.fileno() != -1
        handle.open(os.dup(tls.fileno()))  # whoever asks for the bytes below
        handle.write(b"x")
        assert theirs.recv(1) == b"x"
    handle.close()
    loop.run()


@pytest.mark.parametrize("verb", ["recv", "recv_into", "recvfrom", "send", "sendall", "sendto"])
def test_a_socket_class_with_verbs_of_its_own_is_refused(handle, verb):
    kind = type("Odd", (socket.socket,), {verb: ignore})
    ours, theirs = suitable(handle)
    with theirs, kind(fileno=ours.detach()) as odd:
        with pytest.raises(TypeError, match=rf"Odd has a {verb}\(\) of its own"):
            handle.open(odd)
        assert odd.fileno() != -1


def test_a_socket_class_without_is_not(handle):
    kind = type("Plain", (socket.socket,), {"fast": True})
    ours, theirs = suitable(handle)
    with theirs:
        handle.open(kind(fileno=ours.detach()))


@pytest.mark.parametrize("bad", [True, None, 1.5, "sock", b"sock"])
def test_what_is_no_socket_at_all(handle, bad):
    with pytest.raises(TypeError, match=r"expected a (socket or a )?file descriptor"):
        handle.open(bad)


def test_a_closed_socket(handle):
    ours, theirs = suitable(handle)
    ours.close()
    with theirs, pytest.raises(ValueError, match="-1 is not an open file descriptor"):
        handle.open(ours)


@pytest.mark.parametrize(
    ("opener", "kind"),
    [
        (uvbind.TCP, socket.SOCK_DGRAM),
        (uvbind.TCP, socket.SOCK_SEQPACKET),
        (uvbind.Pipe, socket.SOCK_DGRAM),
        (uvbind.Pipe, socket.SOCK_SEQPACKET),
        (uvbind.UDP, socket.SOCK_STREAM),
    ],
)
def test_a_socket_of_another_kind(loop, opener, kind):
    ours, theirs = socket.socketpair(type=kind)
    handle = opener(loop)
    with ours, theirs:
        wanted = "datagram" if opener is uvbind.UDP else "stream"
        with pytest.raises(uvbind.UVError, match=f"is not a {wanted} socket") as caught:
            handle.open(ours)
        assert caught.value.name == "EINVAL"
        assert ours.fileno() != -1
    handle.close()
    loop.run()


def test_a_socket_with_a_timeout_loses_it(loop):
    ours, theirs = tcp_pair()
    ours.settimeout(3)
    tcp, received = uvbind.TCP(loop), []
    tcp.open(ours)
    tcp.read_start(lambda tcp, data, error: (received.append(data), tcp.close()))
    with theirs:
        theirs.send(b"x")
        loop.run()
    assert received == [b"x"]


# -- one descriptor, two handles


def descriptor_of(loop, kind):
    """A handle and its descriptor, however it has come to it."""
    if kind == "opened":
        handle = uvbind.TCP(loop)
        ours, theirs = socket.socketpair()
        theirs.close()
        number = ours.detach()
        handle.open(number)
        return handle, number
    handle = uvbind.TCP(loop, socket.AF_INET) if kind == "made" else uvbind.TCP(loop)
    if kind == "bound":
        handle.bind(LOCALHOST)
    return handle, handle.fileno()


@pytest.mark.parametrize("kind", ["opened", "made", "bound"])
@pytest.mark.parametrize("where", ["same loop", "another loop"])
@pytest.mark.parametrize("second", [uvbind.TCP, uvbind.Pipe])
def test_a_descriptor_belongs_to_one_handle(loop, kind, where, second):
    first, number = descriptor_of(loop, kind)
    with uvbind.Loop() as other:
        handle = second(loop if where == "same loop" else other)
        with pytest.raises(uvbind.UVError, match=rf"{number} belongs to <TCP ") as caught:
            handle.open(number)
        assert caught.value.name == "EEXIST"
        handle.close()
    first.close()
    loop.run()


def test_the_number_is_free_when_its_handle_is_closed(loop):
    first, number = descriptor_of(loop, "opened")
    ours, theirs = socket.socketpair()
    first.close()
    with theirs:
        os.dup2(ours.fileno(), number)
        ours.close()
        second = uvbind.TCP(loop)
        second.open(number)
        second.write(b"x")
        assert theirs.recv(1) == b"x"
        second.close()
    loop.run()


def test_a_duplicate_is_another_descriptor(loop):
    first, number = descriptor_of(loop, "opened")
    second = uvbind.TCP(loop)
    second.open(os.dup(number))
    for handle in (first, second):
        handle.close()
    loop.run()


# -- not connected


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
@pytest.mark.parametrize("kind", [uvbind.TCP, uvbind.Pipe])
@pytest.mark.parametrize("listens", [False, True])
def test_a_socket_without_a_connection_is_known_for_it(loop, path, family, kind, listens):
    sock = socket.socket(family)
    if listens:
        hosts = {socket.AF_INET: LOCALHOST, socket.AF_INET6: ("::1", 0), socket.AF_UNIX: path}
        sock.bind(hosts[family])
        sock.listen()
    handle = kind(loop)
    handle.open(sock)
    assert not handle.is_readable() and not handle.is_writable()
    assert "not connected" in repr(handle)
    for verb in (
        lambda: handle.write(b"x"),
        lambda: handle.write(b"x", ignore),
        lambda: handle.try_write(b"x"),
        lambda: handle.read_start(ignore),
        lambda: handle.shutdown(),
    ):
        with pytest.raises(uvbind.UVError) as caught:
            verb()
        assert caught.value.name == "ENOTCONN"
    handle.close()
    loop.run()


def test_one_that_listens_can_listen(loop):
    listener = socket.socket()
    listener.bind(LOCALHOST)
    listener.listen()
    server, received = uvbind.TCP(loop), []

    def on_connection(server, error):
        connection = server.accept()
        connection.read_start(lambda tcp, data, error: (received.append(data), tcp.close()))

    server.open(listener)
    server.listen(on_connection)
    with socket.create_connection(server.getsockname()) as client:
        client.send(b"x")
        turns(loop)
    assert received == [b"x"]
    server.close()
    loop.run()


def test_one_that_is_not_connected_can_connect(loop):
    with socket.socket() as listener:
        listener.bind(LOCALHOST)
        listener.listen()
        tcp, outcome = uvbind.TCP(loop), []
        tcp.open(socket.socket())
        tcp.connect(listener.getsockname(), lambda tcp, error: outcome.append(error))
        turns(loop)
        assert outcome == [None]
        peer, _ = listener.accept()
        with peer:
            tcp.write(b"x")
            assert peer.recv(1) == b"x"
    tcp.close()
    loop.run()


def test_one_that_is_connecting_is_left_to_libuv(loop):
    with socket.socket() as listener:
        listener.bind(LOCALHOST)
        listener.listen()
        ours = socket.socket()
        ours.setblocking(False)
        ours.connect_ex(listener.getsockname())
        tcp = uvbind.TCP(loop)
        tcp.open(ours)
        tcp.write(b"x")
        peer, _ = listener.accept()
        with peer:
            turns(loop)
            assert peer.recv(1) == b"x"
    tcp.close()
    loop.run()


def test_one_that_was_reset_says_so(loop):
    ours, theirs = tcp_pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    tcp, errors = uvbind.TCP(loop), []
    tcp.open(ours)
    tcp.read_start(lambda tcp, data, error: errors.append(error.name))
    turns(loop)
    assert errors == ["ECONNRESET"]
    tcp.close()
    loop.run()
