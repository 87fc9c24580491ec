"""Transports, protocols and sockets are free after their end, without the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import weakref

import pytest
from endings import reset, tcp_pair
from helpers import MEGABYTES, Filling, uvbind_alone

pytestmark = [
    uvbind_alone,  # older asyncio keeps stream transports in cycles
    pytest.mark.skipif(
        sys.implementation.name != "cpython", reason="PyPy frees nothing but by collecting"
    ),
]


@pytest.fixture(autouse=True)
def without_the_collector(no_collector):
    """Every test here."""


@pytest.fixture(params=[False, True], ids=["", "debug"])
def run(new_loop, request):
    """Run a coroutine function without a frame that keeps what it returns."""

    def run(main):
        loop = new_loop()
        loop.set_debug(request.param)
        loop.slow_callback_duration = 10.0
        try:
            loop.run_until_complete(asyncio.wait_for(main(), 30))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    return run


class Kept(asyncio.Protocol):
    """Does what most protocols do: it keeps its transport, and hears of the end."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()
        self.received = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received.set()

    def datagram_received(self, data, addr):
        self.received.set()

    def error_received(self, exc):
        self.error = exc

    def connection_lost(self, exc):
        self.error = exc
        del self.transport
        self.lost.set()


class Filled(Filling, Kept):
    """Has buffers of its own filled."""


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


def dead(*references):
    return [reference() for reference in references if reference() is not None] == []


async def ended(transport, protocol, end):
    """End a transport and return references to it and its protocol, when it has ended."""
    lost = protocol.lost
    references = weakref.ref(transport), weakref.ref(protocol)
    end(transport)
    del transport, protocol
    await lost.wait()
    return references


async def connected(factory=Kept):
    """A transport that has read and written, its protocol, and the other end."""
    loop = asyncio.get_running_loop()
    ours, theirs = tcp_pair()
    theirs.setblocking(False)
    transport, protocol = await loop.create_connection(factory, sock=ours)
    transport.write(b"to them")
    transport.write(bytearray(b"and more"))
    transport.writelines([b"of", b"it"])
    theirs.send(b"to us")
    await protocol.received.wait()
    return transport, protocol, theirs


def unsent(transport):
    transport.write(MEGABYTES)
    transport.abort()


ENDS = {
    "close": lambda transport, theirs: transport.close(),
    "abort": lambda transport, theirs: transport.abort(),
    "abort with data unsent": lambda transport, theirs: unsent(transport),
    "the peer's end": lambda transport, theirs: theirs.shutdown(socket.SHUT_RDWR),
    "a reset": lambda transport, theirs: reset(theirs),
    "paused": lambda transport, theirs: (transport.pause_reading(), transport.close()),
    "half closed": lambda transport, theirs: (transport.write_eof(), transport.close()),
}


@pytest.mark.parametrize("factory", [Kept, Filled])
@pytest.mark.parametrize("end", ENDS)
def test_a_connection(run, end, factory):
    async def main():
        transport, protocol, theirs = await connected(factory)
        sock = weakref.ref(transport.get_extra_info("socket")._sock)
        with theirs:
            references = await ended(
                *(transport, protocol), lambda transport: ENDS[end](transport, theirs)
            )
            del transport, protocol
            await turns(3)
            assert dead(*references, sock)

    run(main)


def test_the_protocol_of_an_aborted_connection_is_free_in_the_next_turn(run):
    async def main():
        transport, protocol, theirs = await connected()
        with theirs:
            reference = weakref.ref(protocol)
            transport.abort()
            del transport, protocol
            await turns(1)
            assert dead(reference)

    run(main)


def test_both_ends_of_a_server_s_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        served = []

        def factory():
            protocol = Kept()
            served.append(protocol)
            return protocol

        server = await loop.create_server(factory, "127.0.0.1", 0)
        transport, protocol = await loop.create_connection(Kept, *server.sockets[0].getsockname())
        transport.write(b"to the server")
        while not served:
            await asyncio.sleep(0)
        other = served.pop()
        await other.received.wait()
        of_server = weakref.ref(other), weakref.ref(other.transport)
        lost = other.lost
        del other
        of_client = await ended(transport, protocol, lambda transport: transport.close())
        del transport, protocol
        await lost.wait()
        await turns(3)
        assert dead(*of_client, *of_server)
        server.close()
        await server.wait_closed()

    run(main)


def test_streams(run):
    async def main():
        references = []

        async def serve(reader, writer):
            writer.write(await reader.readline())
            await writer.drain()
            references.extend(map(weakref.ref, (reader, writer, writer.transport)))
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        assert await reader.read() == b""
        references.extend(map(weakref.ref, (reader, writer, writer.transport)))
        writer.close()
        await writer.wait_closed()
        del reader, writer
        await turns(5)
        assert len(references) == 6 and dead(*references)
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["IPv4", "unix"])
def test_a_datagram_endpoint(run, family, end, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        here, there = (("127.0.0.1", 0),) * 2
        if family == socket.AF_UNIX:
            here, there = str(tmp_path / "here"), str(tmp_path / "there")
        ours, theirs = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        ours.bind(here)
        theirs.bind(there)
        with theirs:
            transport, protocol = await loop.create_datagram_endpoint(Kept, sock=ours)
            del ours
            transport.sendto(b"to them", theirs.getsockname())
            theirs.sendto(b"to us", transport.get_extra_info("sockname"))
            await protocol.received.wait()
            references = await ended(
                transport, protocol, lambda transport: getattr(transport, end)()
            )
            del transport, protocol
            await turns(3)
            assert dead(*references)

    run(main)


@pytest.mark.parametrize("end", ["close", "abort", "theirs"])
def test_pipes(run, end):
    async def main():
        loop = asyncio.get_running_loop()
        ends = os.pipe()
        reader, of_reader = await loop.connect_read_pipe(Kept, os.fdopen(ends[0], "rb", 0))
        writer, of_writer = await loop.connect_write_pipe(Kept, os.fdopen(ends[1], "wb", 0))
        writer.write(b"data")
        await of_reader.received.wait()
        lost = of_reader.lost
        references = weakref.ref(reader), weakref.ref(of_reader)
        if end == "theirs":
            reader.close()
        del reader, of_reader
        references += await ended(
            *(writer, of_writer),
            lambda transport: end == "theirs" or getattr(transport, end)(),
        )
        del writer, of_writer
        await lost.wait()
        await turns(3)
        assert dead(*references)

    run(main)


def test_a_child_process(run):
    class Watches(asyncio.SubprocessProtocol):
        def __init__(self):
            self.lost = asyncio.Event()

        def connection_lost(self, exc):
            self.lost.set()

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Watches, sys.executable, "-c", "")
        references = await ended(transport, protocol, lambda transport: None)
        transport.close()
        del transport, protocol
        await turns(5)
        assert dead(*references)

    run(main)


def test_nothing_is_left_of_many(run):
    """Not of what has no weak references either."""

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Kept, "127.0.0.1", 0)
        target, _ = await loop.create_datagram_endpoint(Kept, local_addr=("127.0.0.1", 0))

        async def one():
            transport, protocol = await loop.create_connection(
                Kept, *server.sockets[0].getsockname()
            )
            transport.write(b"x")
            (await ended(transport, protocol, lambda transport: transport.close()))
            transport, protocol = await loop.create_datagram_endpoint(
                Kept, remote_addr=target.get_extra_info("sockname")
            )
            transport.sendto(b"x")
            (await ended(transport, protocol, lambda transport: transport.close()))
            await turns(5)

        for _ in range(5):
            await one()
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(100):
            await one()
        assert len(gc.get_objects()) - before < 100  # less than one for each
        target.close()
        server.close()
        await server.wait_closed()

    run(main)
