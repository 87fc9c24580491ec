"""Datagrams in batches, both ways."""

from __future__ import annotations

import socket

import pytest
from helpers import LOCALHOST, Ends

import uvbind


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 40, 41, 100])
def test_batches_hold_every_datagram_once_and_in_order(ends, count):
    numbers = [b"%d" % number for number in range(count)]
    sent = ends.client.try_send_batch([(data, ends.address) for data in numbers])
    assert sent == count
    batches = ends.receive_batches(count)
    assert [data for batch in batches for data, _, _ in batch] == numbers
    assert all(0 < len(batch) <= 32 for batch in batches)
    assert {flags for batch in batches for *_, flags in batch} == {0}
    host = {address[0] for batch in batches for _, address, _ in batch}
    assert host == {"127.0.0.1"}


def test_a_batch_comes_back_as_a_batch(loop):
    ends = Ends(loop, recvmmsg=True)

    def echo(udp, datagrams, error):
        answers = [(data + b"!", address) for data, address, _ in datagrams]
        assert udp.try_send_batch(answers) == len(answers)

    ends.server.recv_batch_start(echo)
    answers = []

    def on_answer(udp, data, address, flags, error):
        answers.append(data)
        if len(answers) == 50:
            loop.stop()

    ends.client.try_send_batch([(b"%d" % number, ends.address) for number in range(50)])
    ends.client.recv_start(on_answer)
    loop.run()
    assert answers == [b"%d!" % number for number in range(50)]
    ends.close()


def test_try_send_batch_says_how_many_and_can_go_on_from_there(loop):
    pair = socket.socketpair(type=socket.SOCK_DGRAM)  # unlike UDP on loopback it fills up
    sender, receiver = uvbind.UDP(loop), uvbind.UDP(loop)
    sender.open(pair[0])
    receiver.open(pair[1])
    queue = [(b"%d" % number, None) for number in range(3000)]
    received = []

    def on_batch(udp, datagrams, error):
        received.extend(data for data, _, _ in datagrams)
        del queue[: sender.try_send_batch(queue)]
        if len(received) == 3000:
            loop.stop()

    first = sender.try_send_batch(queue)
    assert 0 < first < 3000
    assert sender.try_send_batch(queue[first:]) == 0
    del queue[:first]
    receiver.recv_batch_start(on_batch)
    loop.run()
    assert received == [b"%d" % number for number in range(3000)]
    sender.close()
    receiver.close()
    loop.run()


@pytest.mark.parametrize("as_is", [True, False], ids=["list", "iterator"])
def test_each_datagram_of_a_batch_goes_to_its_own_address(loop, as_is):
    first, second = Ends(loop), Ends(loop)
    sender = uvbind.UDP(loop)
    places = [first, first, second, first, second] * 9
    batch = [(b"%d" % number, ends.address) for number, ends in enumerate(places)]
    assert sender.try_send_batch(batch if as_is else iter(batch)) == 45
    for ends in (first, second):
        expected = [data for data, address in batch if address == ends.address]
        assert [data for data, *_ in ends.receive(len(expected))] == expected
        ends.close()
    sender.close()
    loop.run()


def test_a_batch_that_is_taken_apart_while_it_is_sent(ends):
    class Host(str):
        def __eq__(self, other):
            return str.__eq__(self, other)

        def __hash__(self):
            batch.clear()
            return str.__hash__(self)

    host, port = ends.address
    ends.client.bind(LOCALHOST)
    batch = [(bytes([number]) * 1000, (Host(host), port)) for number in range(3)]
    sent = ends.client.try_send_batch(batch)
    received = [data for data, *_ in ends.receive(sent)]
    assert received == [bytes([number]) * 1000 for number in range(sent)] != []


def test_a_flaw_in_the_middle_of_a_batch_ends_it_there(ends):
    good = (b"x", ends.address)
    for flaw in (("text", ends.address), (b"x",), (b"x", "nowhere"), None):
        batch = [good] * 25 + [flaw] + [good]
        assert ends.client.try_send_batch(batch) == 25
        with pytest.raises((TypeError, ValueError)):
            ends.client.try_send_batch(batch[25:])
    assert len(ends.receive(100)) == 100


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets")
@pytest.mark.parametrize("recvmmsg", [False, True])
def test_senders_of_others_are_not_taken_for_those_of_a_unix_socket(loop, recvmmsg):
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    received = []
    with peer, socket.socket(type=socket.SOCK_DGRAM) as sender:
        internet, unix = (uvbind.UDP(loop, recvmmsg=recvmmsg) for _ in range(2))
        internet.bind(("127.0.0.1", 0))
        unix.open(ours)
        internet.recv_start(lambda *about: received.append(about))
        unix.recv_start(lambda *about: received.append(about))
        for number in range(1, 11):
            sender.sendto(b"internet", internet.getsockname())
            while len(received) < 2 * number - 1:
                loop.run(uvbind.RunMode.ONCE)
            peer.send(b"unix")
            while len(received) < 2 * number:
                loop.run(uvbind.RunMode.ONCE)
        internet.close()
        unix.close()
        loop.run()
    assert {address for udp, data, address, *_ in received if udp is unix} == {None}


@pytest.fixture
def two(loop):
    """Two bound handles, and what the second receives."""
    first, second, received = uvbind.UDP(loop), uvbind.UDP(loop), []
    for udp in (first, second):
        udp.bind(LOCALHOST)
    second.recv_start(lambda udp, data, *about: received.append(data))
    yield first, second, received
    for udp in (first, second):
        udp.close()
    loop.run()


def run_some_turns(loop):
    for _ in range(3):
        loop.run(uvbind.RunMode.NOWAIT)


@pytest.mark.parametrize("as_what", [list, tuple], ids=["fast", "slow"])
def test_a_connected_handle_sends_to_its_peer_only(loop, two, as_what):
    peer, third, received = two
    udp = uvbind.UDP(loop)
    udp.connect(peer.getsockname())
    elsewhere = (b"to somebody else", third.getsockname())
    with pytest.raises(uvbind.UVError) as caught:
        udp.try_send_batch(as_what([elsewhere, (b"to the peer", None)]))
    assert caught.value.name == "EISCONN"
    assert udp.try_send_batch(as_what([(b"to the peer", None), elsewhere])) == 1
    run_some_turns(loop)
    assert received == []
    udp.disconnect()
    assert udp.try_send_batch(as_what([elsewhere])) == 1
    run_some_turns(loop)
    assert received == [b"to somebody else"]
    udp.close()


@pytest.mark.parametrize("as_what", [list, tuple], ids=["fast", "slow"])
@pytest.mark.parametrize("how", ["no socket yet", "bound", "opened"])
def test_one_that_is_not_connected_needs_addresses(loop, two, as_what, how):
    _, second, received = two
    udp = uvbind.UDP(loop)
    if how == "bound":
        udp.bind(LOCALHOST)
    elif how == "opened":
        udp.open(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with pytest.raises(uvbind.UVError) as caught:
        udp.try_send_batch(as_what([(b"x", None)]))
    assert caught.value.name == "EDESTADDRREQ"
    assert udp.try_send_batch(as_what([(b"x", second.getsockname()), (b"y", None)])) == 1
    run_some_turns(loop)
    assert received == [b"x"]
    udp.close()


def test_a_connected_socket_that_was_taken_over(loop, two):
    peer, third, received = two
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(third.getsockname())
    udp = uvbind.UDP(loop)
    udp.open(sock)
    with pytest.raises(uvbind.UVError) as caught:
        udp.try_send_batch([(b"x", peer.getsockname())])
    assert caught.value.name == "EISCONN"
    assert udp.try_send_batch([(b"x", None)]) == 1
    run_some_turns(loop)
    assert received == [b"x"]
    udp.close()
