"""What is ready before the loop looks at its sockets comes before what it finds there."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from endings import readable
from helpers import Filling
from tls_clients import Client

EARLY = b"early"


class Recorder(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.log: list = []
        self.got = asyncio.Event()
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.log.append(data)
        self.got.set()

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Filler(Recorder, Filling):
    """Has buffers of its own filled."""


class Packets(Recorder, asyncio.DatagramProtocol):
    def datagram_received(self, data, addr):
        self.data_received(data)


@pytest.fixture(params=[Recorder, Filler, Packets])
def kind(request):
    return request.param


def pair(kind):
    """Two connected sockets for such a protocol and its peer."""
    if kind is not Packets:
        return socket.socketpair()
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for each in (ours, theirs):
        each.bind(("127.0.0.1", 0))
    ours.connect(theirs.getsockname())
    theirs.connect(ours.getsockname())
    return ours, theirs


async def connected(kind, ours):
    loop = asyncio.get_running_loop()
    if kind is Packets:
        return await loop.create_datagram_endpoint(kind, sock=ours)
    return await loop.create_connection(kind, sock=ours)


def arrives(theirs, sock):
    """Send, and wait until it is there to be found by the next poll."""
    theirs.send(EARLY)
    readable(sock)


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


async def received(protocol):
    await protocol.got.wait()
    return protocol.log


async def nothing_is_received(transport, protocol, verb):
    """Nor was, after a verb that ends the reading; it may go on."""
    await turns()
    assert protocol.log == []
    if verb == "pause_reading":
        transport.resume_reading()
        assert await received(protocol) == [EARLY]
        transport.close()
    assert await protocol.lost is None


def skip_what_does_not_pause(kind, verb):
    base = asyncio.selector_events._SelectorDatagramTransport
    if kind is Packets and getattr(base, verb) is getattr(asyncio.ReadTransport, verb, None):
        pytest.skip("this Python's datagram transports do not pause")


def test_a_call_that_was_asked_for_comes_before_the_data(run, kind):
    async def main():
        ours, theirs = pair(kind)
        with theirs:
            transport, protocol = await connected(kind, ours)
            await turns()  # until it reads
            arrives(theirs, ours)
            asyncio.get_running_loop().call_soon(protocol.log.append, "call")
            await turns()
            assert protocol.log == ["call", EARLY]
            transport.close()
            await protocol.lost

    run(main)


@pytest.mark.parametrize("verb", ["close", "abort", "pause_reading"])
def test_a_call_that_was_asked_for_can_end_the_reading(run, kind, verb):
    skip_what_does_not_pause(kind, verb)

    async def main():
        ours, theirs = pair(kind)
        with theirs:
            transport, protocol = await connected(kind, ours)
            await turns()
            arrives(theirs, ours)
            asyncio.get_running_loop().call_soon(getattr(transport, verb))
            await nothing_is_received(transport, protocol, verb)

    run(main)


def test_a_call_that_was_asked_for_can_change_the_protocol(run, kind):
    async def main():
        ours, theirs = pair(kind)
        with theirs:
            transport, first = await connected(kind, ours)
            await turns()
            arrives(theirs, ours)
            second = kind()
            asyncio.get_running_loop().call_soon(transport.set_protocol, second)
            assert await received(second) == [EARLY] and first.log == []
            transport.close()
            await second.lost

    run(main)


@pytest.mark.parametrize("verb", ["close", "abort", "pause_reading"])
def test_the_reading_can_end_right_after_connecting(run, kind, verb):
    skip_what_does_not_pause(kind, verb)

    async def main():
        ours, theirs = pair(kind)
        with theirs:
            arrives(theirs, ours)
            transport, protocol = await connected(kind, ours)
            getattr(transport, verb)()
            await nothing_is_received(transport, protocol, verb)

    run(main)


def test_the_protocol_can_change_right_after_connecting(run, kind):
    async def main():
        ours, theirs = pair(kind)
        with theirs:
            arrives(theirs, ours)
            transport, first = await connected(kind, ours)
            second = kind()
            transport.set_protocol(second)
            assert await received(second) == [EARLY] and first.log == []
            transport.close()
            await second.lost

    run(main)


def test_the_protocol_can_change_when_a_server_greets_at_once(run):
    class Greeted(Recorder):
        def connection_made(self, transport):
            self.peer, _ = listener.accept()
            arrives(self.peer, transport.get_extra_info("socket"))

    listener = socket.create_server(("127.0.0.1", 0))

    async def main():
        loop = asyncio.get_running_loop()
        transport, first = await loop.create_connection(Greeted, *listener.getsockname())
        second = Recorder()
        transport.set_protocol(second)
        with first.peer:
            assert await received(second) == [EARLY] and first.log == []
            transport.close()
            await second.lost

    with listener:
        run(main)


@pytest.mark.parametrize("factory", [Recorder, Filler])
def test_the_protocol_of_an_accepted_connection_can_change_at_once(run, factory):
    async def main():
        loop = asyncio.get_running_loop()
        accepted: asyncio.Future = loop.create_future()

        class First(factory):
            def connection_made(self, transport):
                readable(transport.get_extra_info("socket"))
                second = factory()
                loop.call_soon(transport.set_protocol, second)
                accepted.set_result((transport, self, second))

        server = await loop.create_server(First, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.send(EARLY)
            transport, first, second = await accepted
            assert await received(second) == [EARLY] and first.log == []
            transport.close()
            await second.lost
        server.close()
        await server.wait_closed()

    run(main)


def test_tls_can_begin_in_a_connection_at_once(run, contexts):
    async def main():
        loop = asyncio.get_running_loop()
        upgraded: asyncio.Future = loop.create_future()

        class Server(Recorder):
            def connection_made(self, transport):
                if not upgraded.done():
                    readable(transport.get_extra_info("socket"))
                    upgraded.set_result(self)
                    self.plain = transport
                    self.upgrade = loop.create_task(self.start())

            async def start(self):
                return await loop.start_tls(self.plain, self, contexts[0], server_side=True)

        server = await loop.create_server(Server, "127.0.0.1", 0)
        client = Client(contexts[1], server.sockets[0].getsockname())
        with client.sock:
            protocol = await upgraded
            await client.call(client.secure.do_handshake)
            await client.call(client.secure.write, b"question")
            transport = await protocol.upgrade
            assert await received(protocol) == [b"question"]
            transport.abort()
            await protocol.lost
        server.close()
        await server.wait_closed()

    run(main)


def test_a_call_that_was_asked_for_comes_before_who_waits_for_a_socket(new_loop):
    loop, log = new_loop(), []  # not in debug mode: who waits there goes on at once

    async def main():
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs:

            async def receive():
                log.append(await loop.sock_recv(ours, 100))

            task = loop.create_task(receive())
            await turns()
            arrives(theirs, ours)
            loop.call_soon(log.append, "call")
            await task
        assert log == ["call", EARLY]

    loop.run_until_complete(asyncio.wait_for(main(), 30))
    loop.close()


@pytest.mark.parametrize("kind", ["stream", "datagrams"])
@pytest.mark.parametrize("debug", [False, True])
def test_data_that_was_there_cancels_a_timer_that_is_due(new_loop, kind, debug):
    """As keep-alive timers want it, when the loop comes late to both."""
    calls = []

    async def main():
        loop = asyncio.get_running_loop()

        class Protocol(asyncio.Protocol):
            def data_received(self, data):
                calls.append("data")
                timer.cancel()

            def datagram_received(self, data, address):
                self.data_received(data)

        if kind == "stream":
            ours, theirs = socket.socketpair()
            transport, _ = await loop.create_connection(Protocol, sock=ours)
            theirs.send(b"x")
        else:
            transport, _ = await loop.create_datagram_endpoint(
                Protocol, local_addr=("127.0.0.1", 0)
            )
            theirs = socket.socket(type=socket.SOCK_DGRAM)
            theirs.sendto(b"x", transport.get_extra_info("sockname"))
        timer = loop.call_later(0.01, calls.append, "timer")
        time.sleep(0.02)  # the loop is busy, and the timer is due
        while not calls:
            await asyncio.sleep(0)
        transport.close()
        theirs.close()
        await asyncio.sleep(0)

    loop = new_loop()
    loop.set_debug(debug)
    loop.run_until_complete(main())
    loop.close()
    assert calls == ["data"]
