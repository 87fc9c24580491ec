"""Datagrams of any content, sent and received in every way, arrive as they were sent.

What is under way at a time stays below what the kernel holds for a socket, so nothing is lost.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from helpers import start_guard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uvbind import UDP, Loop, RunMode, UVError
from uvbind._address import pack, unpack

Sent = list[Any]
Received = list[tuple[bytes, Any, int]]

LARGEST = 65_507  # over IPv4
ROOM = 65_536  # what libuv receives of a datagram
UNDER_WAY = 100_000  # bytes

# -- what is sent

NOISE = random.Random(0).randbytes(70_000)
SIZES = st.integers(0, 64) | st.sampled_from([1199, 1200, 1472, 8192, 65506, LARGEST])
KINDS = [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))]


def within_bounds(datagrams: Sent) -> Sent:
    """As many of them as may be under way together."""
    kept, total = [], 0
    for datagram in datagrams:
        total += len(datagram)
        if total > UNDER_WAY:
            break
        kept.append(datagram)
    return kept


def datagram(size: int, start: int, kind: Callable[[bytes], Any]) -> Any:
    return kind(NOISE[start : start + size])


datagrams = st.lists(
    st.builds(datagram, SIZES, st.integers(0, 255), st.sampled_from(KINDS)), max_size=100
).map(within_bounds)

# -- the ways of sending: each returns when all have been handed over


def send(udp: UDP, sent: Sent, address: Any) -> None:
    for data in sent:
        udp.send(data, address)


def send_with_callback(udp: UDP, sent: Sent, address: Any) -> None:
    done: list[UVError | None] = []
    for data in sent:
        udp.send(data, address, lambda udp, error: done.append(error))
    while len(done) < len(sent):
        udp.loop.run(RunMode.ONCE)
    assert done == [None] * len(sent)


def try_send(udp: UDP, sent: Sent, address: Any) -> None:
    for data in sent:
        assert udp.try_send(data, address) == len(data)


def try_send_batch(udp: UDP, sent: Sent, address: Any) -> None:
    assert udp.try_send_batch([(data, address) for data in sent]) == len(sent)


def try_send_iterator(udp: UDP, sent: Sent, address: Any) -> None:
    assert udp.try_send_batch((data, address) for data in sent) == len(sent)


WAYS = [send, send_with_callback, try_send, try_send_batch, try_send_iterator]


# -- receiving


@contextmanager
def guarded_loop() -> Iterator[Loop]:
    with Loop() as loop:
        start_guard(loop)
        yield loop


def start(udp: UDP, batches: bool) -> Received:
    """Start receiving into the list that this returns."""
    received: Received = []

    def on_datagram(udp: UDP, data: Any, address: Any, flags: int, error: Any) -> None:
        assert error is None
        received.append((data, address, flags))

    def on_batch(udp: UDP, datagrams: Received, error: UVError | None) -> None:
        assert error is None and 0 < len(datagrams) <= 32
        received.extend(datagrams)

    if batches:
        udp.recv_batch_start(on_batch)
    else:
        udp.recv_start(on_datagram)
    return received


def run_until(loop: Loop, received: Received, count: int) -> None:
    """Run until so many have arrived, and a turn more for what should not."""
    while len(received) < count:
        loop.run(RunMode.ONCE)
    loop.run(RunMode.NOWAIT)


def bound(loop: Loop, host: str, recvmmsg: bool = False) -> UDP:
    udp = UDP(loop, recvmmsg=recvmmsg)
    udp.bind((host, 0))
    udp.recv_buffer_size = 2**20  # the kernel gives what it may
    return udp


@pytest.mark.parametrize("batches", [False, True], ids=["single", "batches"])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@settings(max_examples=25)
@given(
    sent=datagrams,
    host=st.sampled_from(["127.0.0.1", "::1"]),
    recvmmsg=st.booleans(),
    connected=st.booleans(),
)
@example(sent=[], host="127.0.0.1", recvmmsg=True, connected=False)
@example(sent=[b""] * 100, host="::1", recvmmsg=True, connected=True)
@example(sent=[NOISE[:LARGEST], b"", b"x"], host="127.0.0.1", recvmmsg=False, connected=False)
def test_datagrams_arrive_equal_and_in_order(way, batches, sent, host, recvmmsg, connected):
    with guarded_loop() as loop:
        server, client = bound(loop, host, recvmmsg), bound(loop, host)
        address = server.getsockname()
        if connected:
            client.connect(address)
        received = start(server, batches)
        way(client, sent, None if connected else address)
        run_until(loop, received, len(sent))
        sender = client.getsockname()
    assert received == [(bytes(data), sender, 0) for data in sent]


@given(sent=datagrams, recvmmsg=st.booleans(), batches=st.booleans())
@settings(max_examples=25)
def test_an_echo_brings_all_of_it_back(sent, recvmmsg, batches):
    with guarded_loop() as loop:
        server, client = bound(loop, "::1", recvmmsg), bound(loop, "::1", not recvmmsg)

        def echo(udp: UDP, datagrams: Received, error: UVError | None) -> None:
            answers = [(data, address) for data, address, _ in datagrams]
            assert udp.try_send_batch(answers) == len(answers)

        server.recv_batch_start(echo)
        received = start(client, batches)
        assert client.try_send_batch([(data, server.getsockname()) for data in sent]) == len(sent)
        run_until(loop, received, len(sent))
        sender = server.getsockname()
    assert received == [(bytes(data), sender, 0) for data in sent]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="UDP has no datagrams as long as these")
@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(ROOM - 2, ROOM + 2) | st.integers(0, len(NOISE)), max_size=3),
    recvmmsg=st.booleans(),
    batches=st.booleans(),
)
@example(sizes=[ROOM, ROOM + 1], recvmmsg=True, batches=True)
@example(sizes=[ROOM, ROOM + 1], recvmmsg=False, batches=False)
def test_what_is_longer_than_the_room_for_it_is_cut_off_and_flagged(sizes, recvmmsg, batches):
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with peer, guarded_loop() as loop:
        udp = UDP(loop, recvmmsg=recvmmsg)
        udp.open(ours)
        received = start(udp, batches)
        for number, size in enumerate(sizes, 1):
            peer.send(NOISE[:size])
            run_until(loop, received, number)
    # In two parts, for a difference between long bytes says nothing.
    assert [(len(data), address, flags) for data, address, flags in received] == [
        (min(size, ROOM), None, UDP.PARTIAL if size > ROOM else 0) for size in sizes
    ]
    for data, _, _ in received:
        assert first_difference(data, NOISE) is None


def first_difference(data: bytes, expected: bytes) -> tuple[int, bytes] | None:
    """Return where `data` is not as expected, and what is there."""
    if expected.startswith(data):
        return None
    place = next(place for place, byte in enumerate(data) if byte != expected[place])
    return place, data[place : place + 64]


# -- addresses

ports = st.integers(0, 65535)
ipv4 = st.tuples(st.ip_addresses(v=4).map(str), ports)
ipv6 = st.tuples(
    st.ip_addresses(v=6).map(lambda ip: ip.exploded) | st.ip_addresses(v=6).map(str),
    ports,
    st.integers(0, 0xFFFFF),
    st.integers(0, 0xFFFFFFFF),
)


def normal(host: str) -> Any:
    return ipaddress.ip_address(host)


@given(ipv4 | ipv6)
@example(("::ffff:1.2.3.4", 1, 0, 0))
@example(("0:0:1::", 65535, 0xFFFFF, 0xFFFFFFFF))
def test_any_address_comes_back(address):
    host, *rest = unpack(pack(address))
    assert (normal(host), *rest) == (normal(address[0]), *address[1:])
    assert unpack(pack((host, *rest))) == (host, *rest)


@given(ipv6)
def test_an_ipv6_address_may_go_without_its_last_two(address):
    assert unpack(pack(address[:2])) == unpack(pack((*address[:2], 0, 0)))


def is_ours(number: int) -> str:
    return f"127.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


loopback = st.integers(1, 2**24 - 2).map(is_ours)


@pytest.mark.skipif(sys.platform != "linux", reason="all of 127.0.0.0/8 is Linux's")
@settings(max_examples=25)
@given(
    hosts=st.lists(loopback, min_size=1, max_size=80),
    dual=st.booleans(),
    recvmmsg=st.booleans(),
    batches=st.booleans(),
)
def test_each_datagram_tells_its_sender(hosts, dual, recvmmsg, batches):
    with guarded_loop() as loop:
        server = bound(loop, "::" if dual else "0.0.0.0", recvmmsg)
        address = ("127.0.0.1", server.getsockname()[1])
        clients = [UDP(loop) for _ in hosts]
        for client, host in zip(clients, hosts):
            client.bind((host, 0))
            assert client.getsockname()[0] == host
        received = start(server, batches)
        for _ in range(2):  # the second time they are known
            for number, client in enumerate(clients):
                client.send(b"%d" % number, address)
        run_until(loop, received, 2 * len(hosts))
        senders = [client.getsockname() for client in clients] * 2
    if dual:
        senders = [(f"::ffff:{host}", port, 0, 0) for host, port in senders]
    assert [sender for _, sender, _ in received] == senders
    assert [int(data) for data, _, _ in received] == [*range(len(hosts))] * 2
