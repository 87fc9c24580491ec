"""Datagram endpoints: what protocols see of them, on asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import json
import os
import socket
import struct
import sys

import pytest
from namespaces import linked

import uvbind

PYPY = sys.implementation.name == "pypy"
HOSTS = ["127.0.0.1", "::1"]
LOOPS = ["asyncio", "uvbind"]


class Recorder(asyncio.DatagramProtocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received: list = []
        self.errors: list = []
        self.calls: list[str] = []
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()
        self._news = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.received.append((data, addr))
        self._news.set()

    def error_received(self, exc):
        self.errors.append(exc)
        self._news.set()

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

    async def until(self, condition):
        """Wait for what is heard to fulfil the condition."""
        while not condition(self):
            self._news.clear()
            await self._news.wait()

    async def got(self, count):
        """Return the data of so many datagrams."""
        await self.until(lambda protocol: len(protocol.received) >= count)
        return [data for data, _ in self.received]


class Echo(Recorder):
    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


async def endpoint(factory=Recorder, **options):
    if not options:
        options = {"local_addr": ("127.0.0.1", 0)}
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        factory, **options
    )
    assert protocol.calls == ["made"] and protocol.transport is transport
    return transport, protocol, transport.get_extra_info("sockname")


async def close(*transports):
    for transport in transports:
        protocol = transport.get_protocol()
        transport.close()
        assert transport.is_closing()
        assert await protocol.lost is None
        assert protocol.calls[-1] == "lost"


@pytest.mark.parametrize("host", HOSTS)
def test_questions_and_answers(run, host):
    async def main():
        server, asked, address = await endpoint(Echo, local_addr=(host, 0))
        client, answers, ours = await endpoint(local_addr=(host, 0))
        data = [b"%d" % number for number in range(100)]
        for each in data:
            client.sendto(each, address)
        await answers.got(100)
        assert asked.received == [(each, ours) for each in data]
        assert answers.received == [(each, address) for each in data]
        assert not answers.errors and not asked.errors
        await close(server, client)

    run(main)


@pytest.mark.parametrize("host", HOSTS)
def test_a_connected_endpoint(run, host):
    async def main():
        server, _, address = await endpoint(Echo, local_addr=(host, 0))
        other, _, _ = await endpoint(local_addr=(host, 0))
        client, answers, ours = await endpoint(remote_addr=address[:2])
        assert client.get_extra_info("peername") == address
        assert server.get_extra_info("peername") is None
        other.sendto(b"from a stranger", ours)
        client.sendto(b"one")
        client.sendto(b"two", address)
        client.sendto(b"three", None)
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.sendto(b"x", other.get_extra_info("sockname"))
        await answers.got(3)
        assert answers.received == [(each, address) for each in (b"one", b"two", b"three")]
        await close(server, other, client)

    run(main)


def test_a_socket_of_ones_own(run):
    async def main():
        server, _, address = await endpoint(Echo)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(address)
        client, answers, ours = await endpoint(sock=sock)
        seen = client.get_extra_info("socket")
        assert seen.fileno() == sock.fileno() and seen.getsockname() == ours
        assert client.get_extra_info("peername") == address
        assert client.get_extra_info("nothing", 7) == 7
        client.sendto(b"no address")
        client.sendto(b"one that is not looked at", ("127.0.0.2", 9))
        await answers.got(2)
        await close(server, client)
        assert sock.fileno() == seen.fileno() == -1

    run(main)


def test_empty_datagrams(run):
    async def main():
        transport, protocol, address = await endpoint()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for data in (b"", b"x", b""):
                sock.sendto(data, address)
        assert await protocol.got(3) == [b"", b"x", b""]
        for empty in (b"", bytearray(), memoryview(b"")):
            transport.sendto(empty, address)
        transport.sendto(b"end", address)
        sent = 3 if sys.version_info >= (3, 13) else 0
        assert (await protocol.got(4 + sent))[3:] == [b""] * sent + [b"end"]
        await close(transport)

    run(main)


@pytest.mark.parametrize("host, size", [("127.0.0.1", 65507), ("::1", 65527)])
def test_the_largest_datagrams(run, host, size):
    async def main():
        transport, protocol, address = await endpoint(Echo, local_addr=(host, 0))
        client, answers, _ = await endpoint(remote_addr=address[:2])
        data = os.urandom(size)
        client.sendto(data)
        assert await answers.got(1) == [data]
        client.sendto(bytes(size + 1))
        transport.sendto(bytearray(70_000), address)
        assert [error.errno for error in answers.errors + protocol.errors] == [errno.EMSGSIZE] * 2
        await close(transport, client)

    run(main)


def test_what_can_be_sent(run):
    async def main():
        transport, protocol, address = await endpoint()
        data = memoryview(b"abc")[1:]
        for each in (b"bytes", bytearray(b"bytearray"), data):
            transport.sendto(each, address)
        assert await protocol.got(3) == [b"bytes", b"bytearray", b"bc"]
        for wrong in ("text", None, 7, [b"x"]):
            with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
                transport.sendto(wrong, address)
        await close(transport)

    run(main)


def test_names_are_looked_up_for_a_socket_as_it_does(run):
    async def main():
        transport, protocol, address = await endpoint()
        for host in ("localhost", "127.1", "127.0.0.1"):
            transport.sendto(host.encode(), (host, address[1]))
        assert await protocol.got(3) == [b"localhost", b"127.1", b"127.0.0.1"]
        transport.sendto(b"x", ("::1", address[1]))
        transport.sendto(b"x", ("name.invalid", address[1]))
        assert [type(error) for error in protocol.errors] == [socket.gaierror] * 2
        transport.sendto(b"x", ("127.0.0.1", 0))
        assert protocol.errors[-1].errno == errno.EINVAL
        await close(transport)
        with pytest.raises(socket.gaierror):
            await endpoint(local_addr=("name.invalid", 0))

    run(main)


def test_the_addresses_of_an_ipv6_socket(run):
    async def main():
        transport, protocol, (_, port, _, _) = await endpoint(local_addr=("::1", 0))
        addresses = [("::1", port), ("::1", port, 0), ("::1", port, 0, 0), ("0::1", port)]
        for address in addresses:
            transport.sendto(b"x", address)
        transport.sendto(b"x", ("::1", port, 0, 1))  # as the loopback interface is everywhere
        await protocol.got(5)
        assert {addr for _, addr in protocol.received} == {("::1", port, 0, 0)}
        transport.sendto(b"x", ("127.0.0.1", port))
        assert type(protocol.errors[-1]) is (OSError if PYPY else socket.gaierror)
        await close(transport)

        any_host, protocol, (_, port, _, _) = await endpoint(local_addr=("::", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.sendto(b"x", ("127.0.0.1", port))
            await protocol.got(1)
            mapped = ("::ffff:127.0.0.1", sock.getsockname()[1], 0, 0)
            assert protocol.received == [(b"x", mapped)]
            any_host.sendto(b"y", mapped)
            sock.settimeout(10)
            assert sock.recv(10) == b"y"
        await close(any_host)

    run(main)


WRONG = (TypeError, ValueError) if PYPY else TypeError


@pytest.mark.parametrize(
    "address, error",
    [
        (None, WRONG),
        ("127.0.0.1", WRONG),
        (("127.0.0.1",), WRONG),
        (("127.0.0.1", "53"), WRONG),
        (("127.0.0.1", 53.0), WRONG),
        (("127.0.0.1", 53, 0, 0), WRONG),
        (("127.0.0.1", 65536), OverflowError),
        (("127.0.0.1", [53]), WRONG),
        ((), WRONG),
    ],
)
def test_an_address_that_is_none(new_loop, address, error):
    contexts = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: contexts.append(context)
        )
        transport, protocol, ours = await endpoint()
        transport.sendto(b"first", ours)  # what equals it, is not always the same
        transport.sendto(b"x", address)
        assert transport.is_closing()
        assert isinstance(await protocol.lost, error)

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()
    (context,) = contexts
    assert isinstance(context["exception"], error)
    assert context["message"] == "Fatal write error on datagram transport"


def test_nobody_there(run):
    async def main():
        other, _, address = await endpoint()
        client, protocol, _ = await endpoint(remote_addr=address)
        await close(other)
        client.sendto(b"to nobody")
        await protocol.until(lambda protocol: protocol.errors)
        client.sendto(b"again")
        # The answer is there, and the next to use the socket gets it: that one is not sent.
        client.sendto(b"not sent")
        errors = protocol.errors
        assert [type(error) for error in errors] == [ConnectionRefusedError] * 2
        refused = os.strerror(errno.ECONNREFUSED)
        assert [error.args for error in errors] == [(errno.ECONNREFUSED, refused)] * 2
        again, received, _ = await endpoint(local_addr=address)
        client.sendto(b"somebody")
        assert await received.got(1) == [b"somebody"]
        await close(client, again)

    run(main)


def test_a_protocol_that_raises_goes_on(new_loop):
    contexts = []

    class Raises(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                raise ZeroDivisionError

        def error_received(self, exc):
            super().error_received(exc)
            raise LookupError

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: contexts.append(context)
        )
        transport, protocol, address = await endpoint(Raises)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
        assert await protocol.got(5) == [b"0", b"1", b"2", b"3", b"4"]
        await close(transport)

        other, _, address = await endpoint()
        client, protocol, _ = await endpoint(Raises, remote_addr=address)
        await close(other)
        client.sendto(b"to nobody")
        await protocol.until(lambda protocol: protocol.errors)
        client.sendto(b"again")
        with pytest.raises(LookupError):
            client.sendto(b"not sent")
        await close(client)

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError, LookupError]
    assert all(context["message"].startswith("Exception in callback") for context in contexts)


@pytest.mark.parametrize("verb", ["close", "abort"])
def test_nothing_is_received_after_closing(run, verb):
    class Closes(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            getattr(self.transport, verb)()

    async def main():
        transport, protocol, address = await endpoint(Closes)
        fd = transport.get_extra_info("socket").fileno()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
        assert await protocol.lost is None
        await asyncio.sleep(0)
        assert protocol.received == [(b"0", sock_address(protocol))]
        assert protocol.calls == ["made", "lost"]
        with pytest.raises(OSError):
            os.fstat(fd)
        again, _, same = await endpoint(local_addr=address)
        assert same == address
        await close(again)

    def sock_address(protocol):
        return protocol.received[0][1]

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="datagrams pause since Python 3.11")
def test_reading_can_pause(run):
    class Pauses(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                self.transport.pause_reading()
            elif data == b"3":  # twice in a turn
                self.transport.pause_reading()
                self.transport.resume_reading()

    async def main():
        transport, protocol, address = await endpoint(Pauses)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
            await protocol.got(2)
            assert not transport.is_reading()
            for number in range(5, 8):
                sock.sendto(b"%d" % number, address)
            await asyncio.sleep(0.01)
            assert len(protocol.received) == 2
            transport.resume_reading()
            transport.pause_reading()
            transport.resume_reading()
            assert await protocol.got(8) == [b"%d" % number for number in range(8)]
            transport.pause_reading()
        await close(transport)

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="datagrams pause since Python 3.11")
def test_reading_can_pause_at_once(run):
    class Hesitates(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            for _ in range(2):
                transport.pause_reading()
                transport.resume_reading()

    async def main():
        transport, protocol, address = await endpoint(Hesitates)
        transport.sendto(b"x", address)
        assert await protocol.got(1) == [b"x"]
        await close(transport)

    run(main)


def test_what_ends_the_loop_loses_no_datagram(new_loop):
    class Ends(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"1":
                raise KeyboardInterrupt

    loop = new_loop()
    transport, protocol, address = loop.run_until_complete(endpoint(Ends))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(5):
            sock.sendto(b"%d" % number, address)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert len(protocol.received) == 2
    loop.run_until_complete(protocol.got(5))
    assert [data for data, _ in protocol.received] == [b"0", b"1", b"2", b"3", b"4"]
    loop.run_until_complete(close(transport))
    loop.close()


def test_the_protocol_can_be_changed(run):
    async def main():
        transport, first, address = await endpoint()

        class Hands(Recorder):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                transport.set_protocol(first)

        second = Hands()
        second.transport = transport
        transport.set_protocol(second)
        assert transport.get_protocol() is second
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(5):
                sock.sendto(b"%d" % number, address)
        assert await first.got(4) == [b"1", b"2", b"3", b"4"]
        assert await second.got(1) == [b"0"]
        replaced = []
        first.datagram_received = lambda data, addr: replaced.append(data) or first._news.set()
        transport.sendto(b"x", address)
        await first.until(lambda protocol: replaced)
        assert replaced == [b"x"]
        await close(transport)

    run(main)


def test_the_context_of_a_protocol(run):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Looks(Recorder):
        def datagram_received(self, data, addr):
            seen.append(variable.get())
            variable.set("set by the protocol")
            super().datagram_received(data, addr)

    async def main():
        variable.set("ours")
        transport, protocol, address = await endpoint(Looks)
        variable.set("later")
        for count in (1, 2):
            transport.sendto(b"x", address)
            await protocol.got(count)
        assert variable.get() == "later"
        await close(transport)

    run(main)
    assert seen == ["ours", "set by the protocol"]


def test_sending_after_the_end(run, caplog):
    async def main():
        transport, _, address = await endpoint()
        client, _, _ = await endpoint(remote_addr=address)
        client.close()
        for _ in range(10):
            client.sendto(b"x")
        client.close()
        client.abort()
        await client.get_protocol().lost
        transport.close()
        transport.sendto(b"x", address)  # the socket is open, and takes it
        await transport.get_protocol().lost

    run(main)
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert {record.message for record in warnings} == {"socket.send() raised exception."}


def test_a_port_is_shared_when_asked_only(run):
    async def main():
        transport, _, address = await endpoint(local_addr=("127.0.0.1", 0), reuse_port=True)
        again, _, same = await endpoint(local_addr=address, reuse_port=True)
        assert same == address
        await close(transport, again)

        transport, _, address = await endpoint()
        for option in (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                if option is not None:
                    sock.setsockopt(socket.SOL_SOCKET, option, 1)
                with pytest.raises(OSError) as caught:
                    sock.bind(address)
                assert caught.value.errno == errno.EADDRINUSE
        await close(transport)

        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        transport, _, _ = await endpoint(sock=sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == 1
        await close(transport)

    run(main)


def test_broadcasts(run):
    everybody = "127.255.255.255"

    async def main():
        receiver, received, (_, port) = await endpoint(local_addr=("0.0.0.0", 0))
        modest, _, _ = await endpoint()
        modest.sendto(b"x", (everybody, port))
        assert isinstance(modest.get_protocol().errors[0], PermissionError)
        # This one is not connected: anybody may answer.
        sender, answers, _ = await endpoint(remote_addr=(everybody, port), allow_broadcast=True)
        assert sender.get_extra_info("peername") is None
        sender.sendto(b"one")
        sender.sendto(b"two", (everybody, port))
        with pytest.raises(ValueError):
            sender.sendto(b"x", ("127.0.0.1", port))
        assert await received.got(2) == [b"one", b"two"]
        _, address = received.received[0]
        receiver.sendto(b"answer", ("127.0.0.1", address[1]))
        assert await answers.got(1) == [b"answer"]
        await close(receiver, modest, sender)

    run(main)


def test_multicast_is_the_sockets_business(run):
    group, local = socket.inet_aton("239.1.2.3"), socket.inet_aton("127.0.0.1")

    async def main():
        receiver, received, (_, port) = await endpoint(local_addr=("0.0.0.0", 0))
        receiver.get_extra_info("socket").setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + local
        )
        sender, _, _ = await endpoint()
        sender.get_extra_info("socket").setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, local)
        sender.sendto(b"x", ("239.1.2.3", port))
        assert await received.got(1) == [b"x"]
        await close(receiver, sender)

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="there are no unix sockets")
def test_unix_sockets(run, tmp_path):
    names = [str(tmp_path / "s"), *([b"\0abstract of uvbind\0"] if sys.platform == "linux" else [])]

    async def main():
        server, asked, name = await endpoint(Echo, family=socket.AF_UNIX, local_addr=names[0])
        assert name == names[0]
        for ours in names:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sock.bind(ours if ours != names[0] else ours + "2")
            sock.connect(name)
            client, answers, bound = await endpoint(sock=sock)
            client.sendto(b"x")
            assert await answers.got(1) == [b"x"]
            assert asked.received[-1] == (b"x", bound)
            assert answers.received == [(b"x", name)]
            await close(client)
        await close(server)

        left, right = socket.socketpair(type=socket.SOCK_DGRAM)
        with right:
            right.setblocking(False)
            transport, protocol, _ = await endpoint(sock=left)
            right.send(b"from nobody")
            await protocol.got(1)
            assert protocol.received == [(b"from nobody", None)]
            await close(transport)

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="netlink is Linux's")
def test_netlink(run):
    async def main():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
        transport, protocol, _ = await endpoint(sock=sock)
        get_links, request_dump = 18, 0x301
        ask = struct.pack("=IHHIIxxxxxxxxxxxxxxxx", 32, get_links, request_dump, 7, 0)
        transport.sendto(ask, (0, 0))
        await protocol.got(1)
        data, address = protocol.received[0]
        assert address == (0, 0) and struct.unpack_from("=IHHI", data)[3] == 7
        await close(transport)

    run(main)


WAITING = """
import asyncio, socket, sys
import uvbind

class Protocol(asyncio.DatagramProtocol):
    def __init__(self):
        self.calls = []
        self.lost = asyncio.get_running_loop().create_future()
    def pause_writing(self):
        self.calls.append("pause")
    def resume_writing(self):
        self.calls.append("resume")
    def error_received(self, exc):
        self.calls.append(exc)
    def connection_lost(self, exc):
        self.calls.append("lost")
        self.lost.set_result(exc)

async def main(port):
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport, protocol = await loop.create_datagram_endpoint(Protocol, sock=sock)
    transport.set_write_buffer_limits(high=10_000, low=5_000)
    address = "fe80::3", int(port), 0, int(sys.argv[4])
    sent = 0
    if sys.argv[3] == "many":
        sent = 50
        transport.sendto_many([(b"%03d" % n + bytes(997), address) for n in range(sent)])
    while not protocol.calls:
        transport.sendto(b"%03d" % sent + bytes(997), address)
        sent += 1
    header = 8 if sys.version_info >= (3, 13) else 0
    waits = transport.get_write_buffer_size()
    assert waits > 10_000 and waits % (1000 + header) == 0, waits
    assert waits // (1000 + header) < sent  # some the kernel has taken
    if sys.argv[3] == "abort":
        transport.abort()
        assert await protocol.lost is None
        assert protocol.calls == ["pause", "lost"], protocol.calls
        return
    transport.close()
    transport.sendto(b"more", address)  # goes the way of the others
    print(sent, flush=True)
    assert await protocol.lost is None
    assert protocol.calls == ["pause", "resume", "lost"], protocol.calls

loop = {"asyncio": asyncio.new_event_loop, "uvbind": uvbind.new_event_loop}[sys.argv[1]]()
loop.run_until_complete(main(sys.argv[2]))
loop.close()
"""
RECEIVING = """
import socket
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    sock.bind(("::", 0))
    sock.settimeout(30)
    print(sock.getsockname()[1], flush=True)
    sent = [b"%03d" % number + bytes(997) for number in range(int(input()))] + [b"more"]
    assert sorted(sock.recv(2000) for _ in sent) == sent  # the kernel has a queue per processor
"""


@pytest.fixture
def network():
    """Whoever sends to fe80::3 from the left one waits until somebody has that address."""
    with linked() as (left, right):
        left.run("sh", "-c", "echo 1000 > /proc/sys/net/ipv6/neigh/left/mcast_solicit")
        left.run("sh", "-c", "echo 20 > /proc/sys/net/ipv6/neigh/left/retrans_time_ms")
        yield left, right


@pytest.mark.parametrize(
    "kind, end",
    [(kind, end) for kind in LOOPS for end in ("close", "abort")] + [("uvbind", "many")],
)
def test_what_the_kernel_does_not_take_waits(network, kind, end):
    left, right = network
    receiver = right.start_python(RECEIVING)
    port = receiver.stdout.readline().strip()
    (link,) = json.loads(left.run("ip", "-j", "link", "show", "dev", "left"))
    sender = left.start_python(WAITING, kind, port, end, str(link["ifindex"]))
    if end != "abort":
        receiver.stdin.write(sender.stdout.readline())
        receiver.stdin.flush()
        right.ip("address add fe80::3/64 dev right nodad")
        assert receiver.wait(30) == 0
    assert sender.wait(30) == 0


def test_an_endpoint_left_open_is_closed_with_the_loop(new_loop):
    if PYPY:
        pytest.skip("PyPy collects when it likes")
    loop = new_loop()
    transport, _, address = loop.run_until_complete(endpoint())
    fd = transport.get_extra_info("socket").fileno()
    loop.close()
    if type(loop).__module__.startswith("uvbind"):
        with pytest.raises(OSError):
            os.fstat(fd)
    transport.sendto(b"to nobody", address)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        transport.__del__()
    transport._sock = None


# -- what only our loop has


class Batches(Recorder):
    """Gets all that was received at once."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def datagram_received(self, data, addr):
        raise AssertionError

    def datagrams_received(self, datagrams):
        self.batches.append(datagrams)
        self.received += datagrams
        self._news.set()


class EchoesBatches(Batches):
    def datagrams_received(self, datagrams):
        super().datagrams_received(datagrams)
        self.transport.sendto_many(datagrams)


ONLY_OURS = pytest.mark.parametrize("new_loop", [uvbind.new_event_loop], ids=["uvbind"])


@ONLY_OURS
@pytest.mark.parametrize("host", HOSTS)
def test_batches(run, host):
    async def main():
        server, asked, address = await endpoint(EchoesBatches, local_addr=(host, 0))
        client, answers, ours = await endpoint(remote_addr=address[:2])
        data = [b"%d" % number for number in range(100)]
        client.sendto_many([(each, None) for each in data[:50]])
        client.sendto_many((each, address) for each in data[50:])
        assert await answers.got(100) == data
        assert asked.received == [(each, ours) for each in data]
        assert answers.received == [(each, address) for each in data]
        assert 5 <= len(asked.batches) < 100
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.sendto_many([(b"x", None), (b"x", ours)])
        server.sendto_many([])
        await close(server, client)

    run(main)


@ONLY_OURS
def test_a_batch_of_all_kinds(run):
    async def main():
        transport, protocol, address = await endpoint(Batches)
        name = "localhost", address[1]
        datagrams = [
            (b"1", address),
            (b"", address),
            (bytearray(b"2"), address),
            (memoryview(b"3"), address),
            (b"4", name),
            (b"5", address),
        ]
        transport.sendto_many(datagrams)
        expected = [bytes(data) for data, _ in datagrams]
        if sys.version_info < (3, 13):
            expected.remove(b"")  # as sendto() does there
        assert await protocol.got(len(expected)) == expected
        with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
            transport.sendto_many([(b"6", address), ("text", address)])
        assert (await protocol.got(len(expected) + 1))[-1] == b"6"
        await close(transport)

    run(main)


@ONLY_OURS
def test_a_batch_to_nobody(run):
    async def main():
        transport, _, address = await endpoint()
        client, protocol, _ = await endpoint(remote_addr=address)
        await close(transport)
        client.sendto(b"to nobody")
        await protocol.until(lambda protocol: protocol.errors)
        client.sendto(b"again")
        client.sendto_many([(b"not sent", None)])
        assert [type(error) for error in protocol.errors] == [ConnectionRefusedError] * 2
        transport, received, _ = await endpoint(Batches, local_addr=address)
        client.sendto_many(
            [(bytes(70_000), None), (b"1", None), (bytes(70_000), None), (b"2", None)]
        )
        assert await received.got(2) == [b"1", b"2"]
        assert [error.errno for error in protocol.errors[2:]] == [errno.EMSGSIZE] * 2
        client.close()
        client.sendto_many([(b"x", None)])
        await protocol.lost
        await close(transport)

    run(main)


@ONLY_OURS
def test_batches_that_are_refused(new_loop):
    contexts = []

    class Raises(Batches):
        def datagrams_received(self, datagrams):
            super().datagrams_received(datagrams)
            raise {b"1": ZeroDivisionError, b"2": KeyboardInterrupt}[datagrams[0][0]]

    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: contexts.append(context))
    transport, protocol, address = loop.run_until_complete(endpoint(Raises))
    transport.sendto_many([(b"1", address), (b"and more", address)])
    loop.run_until_complete(protocol.got(2))
    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]
    transport.sendto_many([(b"2", address)])
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(close(transport))
    loop.close()


@ONLY_OURS
def test_batches_begin_with_a_new_protocol(run):
    class Hands(Recorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.set_protocol(self.next)

    async def main():
        transport, first, address = await endpoint(Hands)
        first.next = Batches()
        transport.sendto_many([(b"%d" % number, address) for number in range(5)])
        assert await first.next.got(4) == [b"1", b"2", b"3", b"4"]
        assert await first.got(1) == [b"0"]
        await close(transport)

    run(main)


@ONLY_OURS
def test_a_socket_has_one_endpoint(run):
    async def main():
        transport, _, _ = await endpoint()
        sock = transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            await endpoint(sock=transport._sock)
        with pytest.raises(RuntimeError, match="is used by transport"):
            asyncio.get_running_loop().add_reader(sock.fileno(), print)
        with socket.socket(fileno=os.dup(sock.fileno())) as other:
            second, _, _ = await endpoint(sock=other)
            await close(second)
        await close(transport)

    run(main)
