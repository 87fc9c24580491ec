"""UDP: sending, receiving, batches, options, and what it does with bad input."""

from __future__ import annotations

import errno
import socket
import sys

import pytest
from helpers import ignore

import uvbind

LOCALHOST = ("127.0.0.1", 0)


class Ends:
    """Two UDP handles: `server` is bound, `client` sends to `address`."""

    def __init__(self, loop: uvbind.Loop, host: str = "127.0.0.1", recvmmsg: bool = False):
        self.loop = loop
        self.server = uvbind.UDP(loop, recvmmsg=recvmmsg)
        self.server.bind((host, 0))
        self.address = self.server.getsockname()
        self.client = uvbind.UDP(loop)
        self.received: list = []

    def receive(self, count: int) -> list:
        """Run until `count` datagrams have arrived, one callback each."""

        def on_datagram(udp, data, address, flags, error):
            self.received.append((data, address, flags, error))
            if len(self.received) >= count:
                udp.recv_stop()
                self.loop.stop()

        self.server.recv_start(on_datagram)
        self.loop.run()
        return self.received

    def receive_batches(self, count: int) -> list:
        """Run until `count` datagrams have arrived, in batches."""

        def on_batch(udp, datagrams, error):
            assert error is None
            self.received.append(datagrams)
            if sum(map(len, self.received)) >= count:
                udp.recv_stop()
                self.loop.stop()

        self.server.recv_batch_start(on_batch)
        self.loop.run()
        return self.received

    def close(self) -> None:
        self.server.close()
        self.client.close()
        self.loop.run()


@pytest.fixture(params=[False, True], ids=["recvmsg", "recvmmsg"])
def ends(loop, request):
    ends = Ends(loop, recvmmsg=request.param)
    yield ends
    ends.close()


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


def test_reuseaddr_lets_two_bind(loop):
    first, second = uvbind.UDP(loop), uvbind.UDP(loop)
    first.bind(LOCALHOST, reuseaddr=True)
    second.bind(first.getsockname(), reuseaddr=True)
    third = uvbind.UDP(loop)
    with pytest.raises(uvbind.UVError, match="address already in use"):
        third.bind(first.getsockname())
    for udp in (first, second, third):
        udp.close()
    loop.run()


def test_ipv6only_leaves_ipv4_to_others(loop):
    ipv6, ipv4 = uvbind.UDP(loop), uvbind.UDP(loop)
    ipv6.bind(("::", 0), ipv6only=True)
    ipv4.bind(("127.0.0.1", ipv6.getsockname()[1]))
    with pytest.raises(uvbind.UVError, match="invalid argument"):
        uvbind.UDP.bind(ipv4, LOCALHOST, ipv6only=True)
    for udp in (ipv6, ipv4):
        udp.close()
    loop.run()


def test_multicast_reaches_who_has_joined(loop):
    receiver, sender = uvbind.UDP(loop), uvbind.UDP(loop)
    receiver.bind(("0.0.0.0", 0), reuseaddr=True)
    group, port = "239.255.0.77", receiver.getsockname()[1]
    receiver.set_membership(group, "127.0.0.1")
    sender.bind(("127.0.0.1", 0))
    sender.set_multicast_interface("127.0.0.1")
    sender.set_multicast_loop(True)
    sender.set_multicast_ttl(1)
    received = []
    receiver.recv_start(lambda udp, data, *about: (received.append(data), udp.recv_stop()))
    sender.send(b"to the group", (group, port))
    loop.run()
    assert received == [b"to the group"]
    with pytest.raises(uvbind.UVError, match="address already in use"):
        receiver.set_membership(group, "127.0.0.1")
    receiver.set_membership(group, "127.0.0.1", uvbind.Membership.LEAVE_GROUP)
    receiver.set_source_membership(group, "127.0.0.1", "127.0.0.1")
    receiver.set_source_membership(group, "127.0.0.1", "127.0.0.1", uvbind.Membership.LEAVE_GROUP)
    for udp in (receiver, sender):
        udp.close()
    loop.run()


def test_options_reach_the_socket(loop):
    udp = uvbind.UDP(loop, socket.AF_INET)
    with pytest.raises(PermissionError):
        udp.try_send(b"x", ("255.255.255.255", 9))
    udp.set_broadcast(True)
    udp.set_ttl(17)
    udp.set_multicast_ttl(18)
    udp.set_multicast_loop(False)
    with socket.socket(fileno=udp.fileno()) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TTL) == 17
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 18
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        sock.detach()
    udp.send_buffer_size = 50_000
    assert udp.send_buffer_size >= 50_000
    udp.close()
    loop.run()


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
        ("set_ttl", (0,), ValueError, "ttl: expected an int from 1 to 255"),
        ("set_multicast_ttl", (256,), ValueError, "ttl: expected an int from 1 to 255"),
        ("set_membership", (17,), TypeError, "group: expected an address as a str"),
        ("set_membership", ("239.0.0.1\0",), ValueError, "group: '239.0.0.1"),
        ("set_membership", ("not a group",), uvbind.UVError, "group: 'not a group'"),
        ("set_membership", ("127.0.0.1",), uvbind.UVError, "group: '127.0.0.1'"),
        ("set_membership", ("239.0.0.1", "nowhere"), uvbind.UVError, "group: '239.0.0.1'"),
        ("set_multicast_interface", ("nowhere",), uvbind.UVError, "interface: 'nowhere'"),
        ("set_multicast_interface", (17,), TypeError, "interface: expected an address"),
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
