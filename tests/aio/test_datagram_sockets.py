"""Datagram endpoints: addresses, the kinds of sockets, and what the kernel does not take, on
asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
import sys

import pytest
from endpoints import Echo, close, endpoint
from namespaces import linked

PYPY = sys.implementation.name == "pypy"
LOOPS = ["asyncio", "uvbind"]


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
    names: list = [str(tmp_path / "s")]
    if sys.platform == "linux":
        names.append(b"\0abstract of uvbind\0" + os.urandom(8))

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
        left.run("sh", "-c", "echo 5000 > /proc/sys/net/ipv6/neigh/left/mcast_solicit")
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
        assert receiver.wait(60) == 0
    assert sender.wait(60) == 0
