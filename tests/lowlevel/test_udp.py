"""UDP: sending, receiving, addresses, and what it does with bad input."""

from __future__ import annotations

import errno
import socket
import sys

import pytest
from helpers import LOCALHOST, Ends, ignore

import uvbind


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("recvmmsg", [False, True])
def test_a_datagram_arrives_with_its_sender(loop, host, recvmmsg):
    ends = Ends(loop, host, recvmmsg)
    ends.client.bind((host, 0))
    ends.client.send(b"hello", ends.address)
    assert ends.receive(1) == [(b"hello", ends.client.getsockname(), 0, None)]
    ends.close()


@pytest.mark.parametrize("wanted", [False, True])
def test_using_recvmmsg_is_what_was_asked_for(loop, wanted):
    udp = uvbind.UDP(loop, recvmmsg=wanted)
    assert udp.using_recvmmsg() is (wanted and sys.platform == "linux")
    udp.close()


def test_empty_datagrams_travel_and_nothing_is_not_one(ends):
    ends.client.send(b"", ends.address)
    ends.client.send(b"x", ends.address)
    assert [data for data, *_ in ends.receive(2)] == [b"", b"x"]


@pytest.mark.parametrize("data", [b"x" * 1200, bytearray(b"y"), memoryview(b"abc")[1:], b""])
def test_all_ways_of_sending_send_any_bytes_like_object(ends, data):
    done = []
    ends.client.send(data, ends.address)
    assert ends.client.try_send(data, ends.address) == len(data)
    assert ends.client.try_send_batch([(data, ends.address)] * 2) == 2
    ends.client.send(data, ends.address, lambda udp, error: done.append((udp, error)))
    assert done == [], "never called back from inside send"
    assert [received for received, *_ in ends.receive(5)] == [bytes(data)] * 5
    while not done:
        ends.loop.run(uvbind.RunMode.ONCE)
    assert done == [(ends.client, None)]


def test_many_senders_are_told_apart(ends):
    clients = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(200)]
    for number, client in enumerate(clients):
        client.sendto(b"%d" % number, ends.address)
    received = ends.receive(len(clients))
    for number, client in enumerate(clients):
        assert received[number][:2] == (b"%d" % number, ("127.0.0.1", client.getsockname()[1]))
        client.close()


@pytest.mark.parametrize("with_callback", [False, True])
def test_what_the_kernel_does_not_take_is_sent_later(loop, with_callback):
    pair = socket.socketpair(type=socket.SOCK_DGRAM)
    sender, receiver = uvbind.UDP(loop), uvbind.UDP(loop)
    sender.open(pair[0])
    receiver.open(pair[1])
    done, received = [], []

    def on_datagram(udp, data, address, flags, error):
        received.append((data, address))
        if len(received) == 1000:
            udp.recv_stop()

    arguments = [lambda udp, error: done.append(error)] if with_callback else []
    for number in range(1000):
        sender.send(b"%d" % number, None, *arguments)
    assert sender.send_queue_count > 0 and sender.send_queue_size > 0
    assert sender.try_send_batch([(b"not past the queue", None)]) == 0
    with pytest.raises(BlockingIOError):
        sender.try_send(b"neither")
    receiver.recv_start(on_datagram)
    loop.run()
    assert received == [(b"%d" % number, None) for number in range(1000)]
    assert done == [None] * 1000 * with_callback
    sender.close()
    receiver.close()
    loop.run()


def test_a_truncated_datagram_is_flagged(loop):
    ends = Ends(loop)
    ends.client.send(b"x" * 65507, ends.address)
    ((data, _, flags, _),) = ends.receive(1)
    assert (len(data), flags) == (65507, 0)  # libuv's room is larger than any datagram
    assert uvbind.UDP.PARTIAL == 2
    ends.close()


def test_an_oversized_datagram_is_refused(ends):
    for verb in (
        lambda: ends.client.send(b"x" * 65508, ends.address),
        lambda: ends.client.send(bytearray(65508), ends.address),
        lambda: ends.client.send(b"x" * 10**6, ends.address),
        lambda: ends.client.try_send(b"x" * 65508, ends.address),
        lambda: ends.client.try_send_batch([(b"x" * 65508, ends.address)]),
        lambda: ends.client.try_send_batch([(b"x" * 65537, ends.address)]),
    ):
        with pytest.raises(uvbind.UVError, match="message too long") as caught:
            verb()
        assert caught.value.errno == errno.EMSGSIZE
    errors = []
    ends.client.send(b"x" * 65508, ends.address, lambda udp, error: errors.append(error.name))
    ends.loop.run()
    assert errors == ["EMSGSIZE"]


def test_connected_udp_sends_without_an_address(ends):
    with pytest.raises(uvbind.UVError, match="destination address required"):
        ends.client.send(b"x")
    with pytest.raises(uvbind.UVError, match="not connected"):
        ends.client.disconnect()
    ends.client.connect(ends.address)
    assert ends.client.getpeername() == ends.address
    with pytest.raises(uvbind.UVError, match="already connected"):
        ends.client.connect(ends.address)
    with pytest.raises(uvbind.UVError, match="already connected"):
        ends.client.send(b"x", ends.address)
    ends.client.send(b"one")
    assert ends.client.try_send(b"two") == 3
    assert ends.client.try_send_batch([(b"three", None)]) == 1
    ends.client.disconnect()
    ends.client.send(b"four", ends.address)
    assert [data for data, *_ in ends.receive(4)] == [b"one", b"two", b"three", b"four"]


@pytest.mark.skipif(sys.platform != "linux", reason="IP_RECVERR is Linux's")
@pytest.mark.parametrize("batch", [False, True])
def test_port_unreachable_reaches_the_receive_callback(loop, batch):
    with socket.socket(type=socket.SOCK_DGRAM) as unused:
        unused.bind(LOCALHOST)
        nobody = unused.getsockname()
    udp = uvbind.UDP(loop)
    udp.bind(LOCALHOST, linux_recverr=True)
    errors = []

    def on_datagram(udp, *about):
        errors.append(about[-1])
        udp.close()

    (udp.recv_batch_start if batch else udp.recv_start)(on_datagram)
    udp.send(b"x", nobody)
    loop.run()
    assert isinstance(errors[0], ConnectionRefusedError)


def test_closing_in_the_receive_callback_is_legal(ends):
    calls = []

    def on_datagram(udp, data, address, flags, error):
        calls.append(data)
        udp.close()

    ends.server.recv_start(on_datagram)
    ends.client.try_send_batch([(b"x", ends.address)] * 5)
    ends.loop.run()
    assert calls == [b"x"]


def test_an_exception_in_a_receive_callback_comes_out_of_run(ends):
    def fail(*about):
        raise LookupError("udp")

    ends.client.send(b"x", ends.address)
    ends.server.recv_batch_start(fail)
    with pytest.raises(LookupError, match="udp"):
        ends.loop.run()


def test_closing_with_datagrams_queued_cancels_them(loop):
    pair = socket.socketpair(type=socket.SOCK_DGRAM)
    sender = uvbind.UDP(loop)
    sender.open(pair[0])
    names = []
    for _ in range(600):
        sender.send(b"x", None, lambda udp, error: names.append(error and error.name))
    assert sender.send_queue_count > 0
    sender.close()
    loop.run()
    pair[1].close()
    assert set(names) == {None, "ECANCELED"} and len(names) == 600


@pytest.mark.parametrize(
    ("verb", "arguments", "error", "message"),
    [
        ("send", ("text", LOCALHOST), TypeError, "data: expected a bytes-like object, not str"),
        ("send", (b"x", "localhost"), TypeError, r"address: expected \(host, port\)"),
        ("send", (b"x", ("localhost", 9)), ValueError, "is not a numeric"),
        ("send", (b"x", ["127.0.0.1", 99999]), ValueError, "address: port"),
        ("send", (b"x", LOCALHOST, 17), TypeError, "callback: expected a function"),
        ("try_send", (17, LOCALHOST), TypeError, "data: expected a bytes-like object"),
        ("try_send_batch", ([("text", LOCALHOST)],), TypeError, "data: expected a bytes-like"),
        ("try_send_batch", ([(b"x", ("::1", -1))],), ValueError, "address: port"),
        ("recv_start", (17,), TypeError, "callback: expected a function"),
        ("recv_batch_start", (None,), TypeError, "callback: expected a function"),
        ("open", ("sock",), TypeError, "sock: expected a socket or a file descriptor"),
    ],
)
def test_bad_arguments_are_named(loop, verb, arguments, error, message):
    udp = uvbind.UDP(loop)
    udp.bind(LOCALHOST)
    with pytest.raises(error, match=message):
        getattr(udp, verb)(*arguments)
    udp.close()
    loop.run()


def test_receiving_twice_is_refused(ends):
    ends.server.recv_start(ignore)
    with pytest.raises(uvbind.UVError, match="already in progress"):
        ends.server.recv_batch_start(ignore)
    ends.server.recv_stop()
    ends.server.recv_stop()


def test_open_refuses_stream_sockets(loop):
    udp = uvbind.UDP(loop)
    with socket.socket() as tcp, pytest.raises(uvbind.UVError, match="not a datagram socket"):
        udp.open(tcp)
    udp.close()
    loop.run()


def test_a_closed_udp_says_so(ends):
    ends.client.close()
    for verb in (
        lambda: ends.client.send(b"x", ends.address),
        lambda: ends.client.try_send(b"x", ends.address),
        lambda: ends.client.try_send_batch([(b"x", ends.address)]),
        lambda: ends.client.recv_start(ignore),
        lambda: ends.client.getsockname(),
        lambda: ends.client.set_ttl(1),
    ):
        with pytest.raises(uvbind.UVError, match="this UDP is closed"):
            verb()


def test_udp_is_passed_to_another_process(loop, ends):
    pipes = []
    for sock in socket.socketpair():
        pipes.append(uvbind.Pipe(loop, ipc=True))
        pipes[-1].open(sock)
    passed = []

    def on_read(pipe, data, error):
        assert pipe.pending_type() is uvbind.UDP
        passed.append(pipe.accept())
        pipe.read_stop()
        loop.stop()

    pipes[1].read_start(on_read)
    pipes[0].write2(b"x", ends.server)
    loop.run()
    assert passed[0].getsockname() == ends.address
    for handle in (*pipes, *passed):
        handle.close()
