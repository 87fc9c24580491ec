"""BufferedProtocol: reads land in the protocol's own buffer, whatever it does with that."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest
from helpers import MEGABYTES


class Buffered(asyncio.BufferedProtocol):
    """Fills what `make` gives it, anew for every read, and keeps what it is told."""

    def __init__(self, make=lambda: bytearray(1000)) -> None:
        self.make = make
        self.received = bytearray()
        self.got = asyncio.Event()
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, sizehint):
        assert sizehint == -1
        self.buffer = self.make()
        return self.buffer

    def buffer_updated(self, nbytes):
        with memoryview(self.buffer) as view, view[:nbytes] as part:  # PyPy keeps them a while
            self.received += part
        self.got.set()

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def connected(factory):
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    return transport, protocol, theirs


@pytest.fixture
def lost(new_loop):
    """Run a connection of a protocol until it is lost; returns why, and what was reported."""

    def run(factory, data=b"x"):
        reported = []

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: reported.append(context))
            _, protocol, theirs = await connected(factory)
            with theirs:
                await loop.sock_sendall(theirs, data)
                return await protocol.lost

        loop = new_loop()
        try:
            error = loop.run_until_complete(asyncio.wait_for(main(), 30))
        finally:
            loop.close()
        return error, [context["message"] for context in reported]

    return run


@pytest.mark.parametrize("size", [1, 7, 1000, 300_000])
def test_one_buffer_for_every_read(run, size):
    one = memoryview(bytearray(size))
    data = MEGABYTES[: 100 * size]

    async def main():
        loop = asyncio.get_running_loop()
        _, protocol, theirs = await connected(lambda: Buffered(lambda: one))
        with theirs:
            await loop.sock_sendall(theirs, data)
            theirs.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.received == data

    run(main)


def test_the_bytes_are_in_the_buffer_itself(run):
    room = bytearray(b"-" * 10)

    async def main():
        transport, protocol, theirs = await connected(
            lambda: Buffered(lambda: memoryview(room)[3:])
        )
        with theirs:
            await asyncio.get_running_loop().sock_sendall(theirs, b"four")
            await protocol.got.wait()
            transport.close()
            await protocol.lost

    run(main)
    assert room == b"---four---"


def test_a_buffer_may_be_resized_once_it_is_filled(run):
    class Resizes(Buffered):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.buffer.clear()

    async def main():
        loop = asyncio.get_running_loop()
        _, protocol, theirs = await connected(Resizes)
        with theirs:
            await loop.sock_sendall(theirs, MEGABYTES)
            theirs.shutdown(socket.SHUT_WR)
            await protocol.lost
            assert protocol.received == MEGABYTES
            protocol.buffer.append(1)

    run(main)


def test_a_view_may_be_released_once_it_is_filled(run):
    class Releases(Buffered):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.buffer.release()

    async def main():
        loop = asyncio.get_running_loop()
        _, protocol, theirs = await connected(lambda: Releases(lambda: memoryview(bytearray(999))))
        with theirs:
            await loop.sock_sendall(theirs, MEGABYTES)
            theirs.shutdown(socket.SHUT_WR)
            await protocol.lost
            assert protocol.received == MEGABYTES

    run(main)


@pytest.mark.parametrize("end", ["close", "abort", "pause_reading"])
@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
def test_the_reading_may_end_in_the_middle_of_it(run, method, end):
    class Ends(Buffered):
        def get_buffer(self, sizehint):
            if method == "get_buffer":
                getattr(self.transport, end)()
                self.got.set()
            return super().get_buffer(sizehint)

        def buffer_updated(self, nbytes):
            getattr(self.transport, end)()
            super().buffer_updated(nbytes)

    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await connected(Ends)
        with theirs:
            await loop.sock_sendall(theirs, bytes(5000))
            await protocol.got.wait()
            await asyncio.sleep(0.01)
            assert len(protocol.received) <= 1000
            transport.close()
            assert await protocol.lost is None

    run(main)


def test_another_protocol_may_take_over_in_the_middle_of_it(run):
    class Hands(Buffered):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.set_protocol(self.next)

    class Takes(asyncio.Protocol):
        def __init__(self):
            self.received = bytearray()
            self.lost = asyncio.Event()

        def data_received(self, data):
            self.received += data

        def connection_lost(self, exc):
            self.lost.set()

    async def main():
        loop = asyncio.get_running_loop()
        _, protocol, theirs = await connected(Hands)
        with theirs:
            protocol.next = Takes()
            await loop.sock_sendall(theirs, MEGABYTES[:5000])
            theirs.shutdown(socket.SHUT_WR)
            await protocol.next.lost.wait()
            assert len(protocol.received) == 1000
            assert protocol.received + protocol.next.received == MEGABYTES[:5000]

    run(main)


def raise_(error):
    raise error


@pytest.mark.parametrize(
    "make, kind, message",
    [
        (
            lambda: raise_(ZeroDivisionError()),
            ZeroDivisionError,
            "protocol.get_buffer() call failed",
        ),
        (lambda: bytearray(), RuntimeError, "protocol.get_buffer() call failed"),
        (lambda: None, TypeError, "protocol.get_buffer() call failed"),
        (lambda: b"read-only", (TypeError, BufferError), "read error on socket transport"),
        (lambda: "text", TypeError, "read error on socket transport"),
    ],
)
def test_a_buffer_that_cannot_be_filled_ends_the_connection(lost, make, kind, message):
    error, reported = lost(lambda: Buffered(make))
    assert isinstance(error, kind)
    assert len(reported) == 1 and message in reported[0]


def test_a_protocol_that_raises_ends_the_connection(lost):
    class Raises(Buffered):
        def buffer_updated(self, nbytes):
            raise ZeroDivisionError

    error, reported = lost(Raises)
    assert isinstance(error, ZeroDivisionError)
    assert reported == ["Fatal error: protocol.buffer_updated() call failed."]


class FreshMemory:
    """A buffer whose memory is another one each time that it is asked for."""

    def __len__(self):
        return 1 << 21

    def __buffer__(self, flags):
        return memoryview(bytearray(len(self)))


class Counts(Buffered):
    def buffer_updated(self, nbytes):
        self.received += bytes(nbytes)


@pytest.mark.skipif(
    sys.version_info < (3, 12) or sys.implementation.name != "cpython",
    reason="no classes of Python's are buffers",
)
@pytest.mark.parametrize("make", [FreshMemory, lambda: memoryview(FreshMemory())])
def test_a_read_lands_in_memory_that_is_kept(lost, make):
    """Memory of that size is unmapped when it is free, and the kernel would refuse to fill it."""
    sizes = []

    class Protocol(Counts):
        def connection_lost(self, exc):
            sizes.append(len(self.received))
            super().connection_lost(exc)

        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            self.transport.close()

    assert lost(lambda: Protocol(make)) == (None, [])
    assert sizes == [1]
