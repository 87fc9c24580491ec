"""recv_stop() in the middle of what one system call has received: nothing of it is lost."""

from __future__ import annotations

import socket

import pytest
from helpers import Ends, Oops

import uvbind

NUMBERS = [b"%d" % number for number in range(10)]


@pytest.fixture
def full(loop):
    """Ten datagrams wait in the kernel; the receiver uses recvmmsg."""
    ends = Ends(loop, recvmmsg=True)
    assert ends.client.try_send_batch([(data, ends.address) for data in NUMBERS]) == 10
    yield ends
    ends.close()


def run_until_idle(loop):
    for _ in range(3):
        loop.run(uvbind.RunMode.NOWAIT)


def test_one_at_a_time(full, loop):
    received = []

    def on_datagram(udp, data, address, flags, error):
        received.append((data, address, flags, error))
        udp.recv_stop()

    for count in range(1, 11):
        full.server.recv_start(on_datagram)
        assert full.server.is_active()
        run_until_idle(loop)
        assert len(received) == count
        assert not full.server.is_active()
    sender = full.client.getsockname()[1]
    assert received == [(data, ("127.0.0.1", sender), 0, None) for data in NUMBERS]


def test_stopped_and_started_in_one_callback(full, loop):
    received = []

    def on_datagram(udp, data, *about):
        received.append(data)
        udp.recv_stop()
        udp.recv_start(on_datagram)

    full.server.recv_start(on_datagram)
    run_until_idle(loop)
    assert received == NUMBERS


def test_what_was_kept_comes_before_what_arrives_later(full, loop):
    received = []
    full.server.recv_start(lambda udp, data, *about: (received.append(data), udp.recv_stop()))
    run_until_idle(loop)
    full.client.send(b"later", full.address)
    full.server.recv_start(lambda udp, data, *about: received.append(data))
    with pytest.raises(uvbind.UVError) as caught:
        full.server.recv_start(print)
    assert caught.value.name == "EALREADY"
    run_until_idle(loop)
    assert received == [*NUMBERS, b"later"]


def test_what_was_kept_comes_as_a_batch(full, loop):
    received, batches = [], []
    full.server.recv_start(lambda udp, data, *about: (received.append(data), udp.recv_stop()))
    run_until_idle(loop)
    full.server.recv_batch_start(lambda udp, datagrams, error: batches.append((datagrams, error)))
    run_until_idle(loop)
    sender = ("127.0.0.1", full.client.getsockname()[1])
    assert batches == [([(data, sender, 0) for data in NUMBERS[1:]], None)]


def test_stopped_before_what_was_kept_has_come(full, loop):
    received = []
    full.server.recv_start(lambda udp, data, *about: (received.append(data), udp.recv_stop()))
    run_until_idle(loop)
    full.server.recv_start(lambda udp, data, *about: received.append(data))
    full.server.recv_stop()
    run_until_idle(loop)
    assert received == NUMBERS[:1]
    full.server.recv_start(lambda udp, data, *about: received.append(data))
    run_until_idle(loop)
    assert received == NUMBERS


def test_an_exception_does_not_lose_the_others(full, loop):
    received = []
    full.server.recv_start(lambda udp, data, *about: (received.append(data), udp.recv_stop()))
    run_until_idle(loop)

    def on_datagram(udp, data, *about):
        received.append(data)
        if len(received) == 3:
            raise Oops

    full.server.recv_start(on_datagram)
    with pytest.raises(Oops):
        run_until_idle(loop)
    run_until_idle(loop)
    assert received == NUMBERS


@pytest.mark.parametrize("when", ["in the batch", "while kept", "before they come", "as they come"])
def test_closed_nothing_comes_any_more(full, loop, when):
    received = []

    def on_datagram(udp, data, *about):
        received.append(data)
        udp.recv_stop()
        if when == "in the batch" or (when == "as they come" and len(received) == 2):
            udp.close()

    full.server.recv_start(on_datagram)
    run_until_idle(loop)
    if when == "while kept":
        full.server.close()
    elif when == "before they come":
        full.server.recv_start(on_datagram)
        full.server.close()
    elif when == "as they come":
        full.server.recv_start(on_datagram)
    run_until_idle(loop)
    assert received == NUMBERS[: 2 if when == "as they come" else 1]
    assert full.server.is_closing()


@pytest.mark.parametrize("recvmmsg", [False, True])
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_recv_start_binds_a_socket_that_was_made_early(loop, family, recvmmsg):
    udp = uvbind.UDP(loop, getattr(socket, family), recvmmsg=recvmmsg)
    received = []
    udp.recv_start(lambda udp, data, *about: (received.append(data), loop.stop()))
    port = udp.getsockname()[1]
    assert port != 0
    sender = uvbind.UDP(loop)
    sender.send(b"x", ("127.0.0.1" if family == "AF_INET" else "::1", port))
    loop.run()
    assert received == [b"x"]
    for each in (udp, sender):
        each.close()
    loop.run()
