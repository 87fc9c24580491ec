"""Stream transports: what protocols see of a connection, on asyncio's loop and on ours."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys

import pytest
from helpers import MEGABYTES

import uvbind

PYPY = sys.implementation.name == "pypy"


class Recorder(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.calls: list[str] = []
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.got = asyncio.Event()
        self.keep_open = False

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.received += data
        self.got.set()

    def eof_received(self):
        self.calls.append("eof")
        self.ended.set()
        return self.keep_open

    def pause_writing(self):
        self.calls.append("pause")

    def resume_writing(self):
        self.calls.append("resume")

    def connection_lost(self, exc):
        assert self.transport.get_extra_info("socket").fileno() != -1
        self.calls.append("lost")
        self.lost.set_result(exc)


class Filler(Recorder, asyncio.BufferedProtocol):
    """Has a buffer of its own filled."""

    def get_buffer(self, hint):
        self.buffer = bytearray(1000)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data_received(bytes(self.buffer[:nbytes]))


async def connected(factory=Recorder, keep_open=False):
    """A protocol whose connection ends in a plain non-blocking socket."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(factory, sock=ours)
    protocol.keep_open = keep_open
    return transport, protocol, theirs


@pytest.mark.parametrize("factory", [Recorder, Filler])
def test_what_arrives_and_the_end(run, factory):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await connected(factory)
        with theirs:
            await loop.sock_sendall(theirs, MEGABYTES)
            theirs.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.received == MEGABYTES
            assert protocol.calls == ["made", "eof", "lost"]
            assert transport.is_closing() and transport.get_extra_info("socket").fileno() == -1

    run(main)


def test_writes_arrive_in_their_order_before_the_end(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await connected()
        with theirs:
            transport.write(b"")
            transport.write(MEGABYTES)
            transport.write(bytearray(b"abc"))
            transport.writelines([b"d", memoryview(b"ef")])
            assert protocol.calls == ["made", "pause"] and transport.get_write_buffer_size() > 0
            transport.close()
            received = bytearray()
            while chunk := await loop.sock_recv(theirs, 1 << 20):
                received += chunk
            assert received == MEGABYTES + b"abcdef"
            assert await protocol.lost is None
            assert protocol.calls == ["made", "pause", "resume", "lost"]

    run(main)


def test_data_received_may_stop_the_loop(new_loop):
    class Stops(Recorder):
        def data_received(self, data):
            asyncio.get_running_loop().stop()

    loop = new_loop()
    transport, protocol, theirs = loop.run_until_complete(connected(Stops))
    with theirs:
        theirs.send(b"x")
        loop.run_forever()
        transport.close()
        loop.run_until_complete(protocol.lost)
    loop.close()


def test_flow_control(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await connected()
        with theirs:
            transport.set_write_buffer_limits(high=10, low=5)
            transport.write(MEGABYTES)
            assert protocol.calls == ["made", "pause"]
            left = len(MEGABYTES)
            while left:
                left -= len(await loop.sock_recv(theirs, 1 << 20))
            while "resume" not in protocol.calls:
                await asyncio.sleep(0)
            assert transport.get_write_buffer_size() == 0
            transport.close()
            await protocol.lost

    run(main)


def test_reading_can_pause(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await connected()
        with theirs:
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            await loop.sock_sendall(theirs, b"later")
            await asyncio.sleep(0.01)
            assert not protocol.received
            transport.resume_reading()
            await protocol.got.wait()
            assert protocol.received == b"later"
            transport.close()
            await protocol.lost

    run(main)


def test_half_close_both_ways(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, protocol, theirs = await connected(keep_open=True)
        with theirs:
            theirs.shutdown(socket.SHUT_WR)
            await protocol.ended.wait()
            transport.write(MEGABYTES)
            assert transport.can_write_eof()
            transport.write_eof()
            with pytest.raises(RuntimeError):
                transport.write(b"more")
            received = bytearray()
            while chunk := await loop.sock_recv(theirs, 1 << 20):
                received += chunk
            assert received == MEGABYTES and not transport.is_closing()
            transport.close()
            assert await protocol.lost is None

    run(main)


def test_abort_drops_what_is_not_sent(run):
    async def main():
        transport, protocol, theirs = await connected()
        with theirs:
            transport.write(MEGABYTES)
            transport.abort()
            transport.abort()
            transport.close()
            assert await protocol.lost is None
            transport.write(b"to nobody")

    run(main)


def test_a_protocol_that_raises_loses_its_connection(new_loop):
    contexts = []

    class Raises(Recorder):
        def data_received(self, data):
            raise ZeroDivisionError

    async def main():
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: contexts.append(context)
        )
        _, protocol, theirs = await connected(Raises)
        with theirs:
            await asyncio.get_running_loop().sock_sendall(theirs, b"x")
            assert isinstance(await protocol.lost, ZeroDivisionError)

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()
    (context,) = contexts
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"] == "Fatal error: protocol.data_received() call failed."


def test_a_connection_that_is_reset(run):
    async def main():
        loop = asyncio.get_running_loop()
        server = socket.create_server(("127.0.0.1", 0))
        with server:
            _, protocol = await loop.create_connection(Recorder, *server.getsockname())
            peer, _ = server.accept()
            linger = b"\x01\0\0\0\0\0\0\0"
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            peer.close()
            assert isinstance(await protocol.lost, ConnectionResetError)

    run(main)


def test_the_protocol_can_be_changed(run):
    async def main():
        loop = asyncio.get_running_loop()
        transport, first, theirs = await connected()
        with theirs:
            for factory, data in ((Filler, b"two"), (Recorder, b"three"), (Filler, b"four")):
                protocol = factory()
                protocol.transport = transport
                transport.set_protocol(protocol)
                assert transport.get_protocol() is protocol
                await loop.sock_sendall(theirs, data)
                await protocol.got.wait()
                assert protocol.received == data
            assert not first.received
            transport.close()
            await protocol.lost

    run(main)


def test_the_context_of_a_protocol(run):
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Looks(Recorder):
        def data_received(self, data):
            seen.append(variable.get())
            super().data_received(data)

    async def main():
        variable.set("ours")
        transport, protocol, theirs = await connected(Looks)
        variable.set("later")
        with theirs:
            await asyncio.get_running_loop().sock_sendall(theirs, b"x")
            await protocol.got.wait()
            transport.close()
            await protocol.lost

    run(main)
    assert seen == ["ours"]


def test_what_is_known_of_a_connection(run):
    async def main():
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()
        server = await loop.create_server(
            lambda: accepted.set_result(Recorder()) or accepted.result(), "127.0.0.1", 0
        )
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(Recorder, *address)
        sock = transport.get_extra_info("socket")
        assert transport.get_extra_info("peername") == address == sock.getpeername()
        assert transport.get_extra_info("sockname") == sock.getsockname()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info("nothing", 7) == 7
        fd = sock.fileno()
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(fd, print)
        transport.close()
        await protocol.lost
        with pytest.raises(OSError):
            os.fstat(fd)
        await (await accepted).lost
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)

    run(main)


def test_streams_over_a_unix_socket(run, tmp_path):
    async def main():
        async def serve(reader, writer):
            writer.write(await reader.read())
            await writer.drain()
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "s")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(MEGABYTES)
        writer.write_eof()
        assert await reader.read() == MEGABYTES
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_a_transport_has_all_that_asyncio_s_has():
    async def main():
        ours, theirs = socket.socketpair()
        with theirs:
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            attributes = vars(transport).keys()
            transport.close()
            await asyncio.sleep(0)
        return attributes

    asyncios = asyncio.SelectorEventLoop()
    try:
        assert asyncios.run_until_complete(main()) <= uvbind.run(main())
    finally:
        asyncios.close()
