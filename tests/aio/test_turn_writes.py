"""The writes of one turn of the loop leave together, and nothing else can be told apart by it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import struct
import sys

import pytest
from endings import reset, tcp_pair
from helpers import MEGABYTES, KeepsCalls, in_child, uvbind_alone

from uvbind._callbacks import FAST

DATA_SEGMENTS_IN = 152  # where Linux's struct tcp_info has tcpi_data_segs_in
QUEUED = 64 * 1024  # bytes that a turn may write before some are sent

waits = pytest.mark.skipif(not FAST, reason="writes do not wait for the end of the turn on PyPy")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's tcp_info")


class Kept(KeepsCalls, asyncio.Protocol):
    """A protocol of streams."""


def segments(sock: socket.socket) -> int:
    """Return how many segments with data have come."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGMENTS_IN + 4)
    return int(struct.unpack_from("I", info, DATA_SEGMENTS_IN)[0])


def waiting(sock: socket.socket) -> bytes:
    """Return what has arrived by now."""
    arrived = bytearray()
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while piece := sock.recv(1 << 20):
            arrived += piece
    return bytes(arrived)


@contextlib.asynccontextmanager
async def connected():
    ours, theirs = tcp_pair()
    with theirs:
        transport, protocol = await asyncio.get_running_loop().create_connection(Kept, sock=ours)
        try:
            yield transport, protocol, theirs
        finally:
            transport.abort()
            await protocol.lost


@waits
@on_linux
@uvbind_alone
def test_writes_of_a_turn_leave_with_one_segment(run):
    async def main():
        async with connected() as (transport, _, theirs):
            transport.write(b"head, ")
            transport.writelines([b"a ", b"list, "])
            transport.write(bytearray(b"an array, "))
            transport.write(memoryview(b"and a view"))
            assert waiting(theirs) == b""
            assert transport.get_write_buffer_size() == len(b"head, a list, an array, and a view")
            await asyncio.sleep(0)
            assert waiting(theirs) == b"head, a list, an array, and a view"
            assert transport.get_write_buffer_size() == 0
            assert segments(theirs) == 1
            transport.write(b"the next turn's")
            await asyncio.sleep(0)
            assert segments(theirs) == 2

    run(main)


@on_linux
def test_a_turn_has_sent_all_before_the_next(run):
    """Also the turns that libuv's callbacks begin, with a protocol and a task that it wakes."""

    class Answers(Kept):
        def data_received(self, data):
            self.transport.write(b"1")
            self.came.set()

    async def main():
        ours, theirs = tcp_pair()
        with theirs:
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Answers, sock=ours
            )
            protocol.came = asyncio.Event()
            for _ in range(20):
                protocol.came.clear()
                theirs.sendall(b"?")
                await protocol.came.wait()
                transport.write(b"2")
                await asyncio.sleep(0)
                assert waiting(theirs) == b"12"
            transport.abort()
            await protocol.lost

    run(main)


def at_once(transport):
    transport.set_write_buffer_limits(high=0)
    transport.write(b"now")
    return b"now"


def much(transport):
    transport.write(b"x")
    transport.write(bytes(QUEUED))
    return b"x" + bytes(QUEUED)


def many(transport):
    for _ in range(64):
        transport.write(b"x")
    return b"x" * 64


def ending(verb):
    def write(transport):
        transport.write(b"last")
        getattr(transport, verb)()
        return b"last"

    return pytest.param(write, id=verb)


def large_view(transport):
    transport.write(b"x")
    transport.write(memoryview(bytes(QUEUED + 1)))
    return b"x" + bytes(QUEUED + 1)


def other_pieces(transport):
    transport.write(b"x")
    transport.writelines([b"y", bytearray(b"z")])
    return b"xyz"


ENDINGS = [ending(verb) for verb in ("write_eof", "close", "abort")]


@pytest.mark.parametrize("write", [at_once, much, many, *ENDINGS, large_view, other_pieces])
def test_pieces_that_cannot_wait_are_sent_at_once_and_in_order(run, write):
    async def main():
        async with connected() as (transport, _, theirs):
            expected = write(transport)
            assert waiting(theirs) == expected
            assert transport.get_write_buffer_size() == 0

    run(main)


def test_writes_that_the_socket_does_not_take_keep_their_order(run):
    async def main():
        async with connected() as (transport, _, theirs):
            for piece in (b"first", MEGABYTES, b"between", bytearray(b"array"), MEGABYTES):
                transport.write(piece)
            transport.write_eof()
            expected = b"first" + MEGABYTES + b"betweenarray" + MEGABYTES
            assert transport.get_write_buffer_size() > len(MEGABYTES)
            theirs.setblocking(False)
            received = bytearray()
            while piece := await asyncio.get_running_loop().sock_recv(theirs, 1 << 20):
                received += piece
            assert received == expected

    run(main)


def test_a_write_in_resume_writing_after_close_is_sent(run):
    """A TLS protocol says goodbye so: asyncio closes when nothing waits, after resume_writing()."""
    farewell = b"farewell" * 8000  # less than may wait for the end of the turn

    class Farewell(Kept):
        def resume_writing(self):
            if not self.resumed.is_set():
                self.transport.write(farewell)
            super().resume_writing()

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair()
        with theirs:
            theirs.setblocking(False)
            transport, protocol = await loop.create_connection(Farewell, sock=ours)
            transport.set_write_buffer_limits(high=QUEUED, low=0)
            transport.write(MEGABYTES)
            assert transport.get_write_buffer_size() > 0
            transport.close()
            arrived = bytearray()
            while data := await loop.sock_recv(theirs, 1 << 20):
                arrived += data
            await protocol.lost
            assert arrived == MEGABYTES + farewell

    run(main)


def test_a_file_is_sent_behind_them(run, tmp_path):
    (tmp_path / "file").write_bytes(b"the file")

    async def main():
        async with connected() as (transport, _, theirs):
            transport.write(b"head, ")
            with open(tmp_path / "file", "rb") as file:
                await asyncio.get_running_loop().sendfile(transport, file)
            transport.write(b", tail")
            await asyncio.sleep(0)
            assert waiting(theirs) == b"head, the file, tail"

    run(main)


def test_writes_of_the_last_turn_are_sent(new_loop):
    ours, theirs = tcp_pair()
    loop = new_loop()

    async def main():
        transport, protocol = await loop.create_connection(Kept, sock=ours)
        transport.write(b"last")
        return transport, protocol

    transport, protocol = loop.run_until_complete(main())
    with theirs:
        assert waiting(theirs) == b"last"
        transport.write(b"the loop does not run")
        assert waiting(theirs) == b"the loop does not run"
        transport.abort()
        loop.run_until_complete(protocol.lost)
    loop.close()


def test_a_transport_that_is_forgotten_has_sent_them(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = tcp_pair()
        with theirs:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            transport.pause_reading()
            transport.write(b"last")
            with pytest.warns(ResourceWarning, match="unclosed transport"):
                del transport, _
                await asyncio.sleep(0)
                gc.collect()
            theirs.setblocking(False)
            assert await loop.sock_recv(theirs, 100) == b"last"
            assert await loop.sock_recv(theirs, 100) == b""

    run(main)


def test_a_write_that_fails_at_the_end_of_the_turn_ends_the_connection(run):
    async def main():
        ours, theirs = tcp_pair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Kept, sock=ours)
        transport.pause_reading()
        reset(theirs)
        transport.write(b"x")
        assert isinstance(await protocol.lost, ConnectionResetError)

    run(main)


@waits
@uvbind_alone
def test_an_interrupted_end_of_a_turn_ends_the_connection(new_loop, monkeypatch):
    """The peer would go on with a stream that bytes are missing from."""
    from uvbind.aio._transports import SocketTransport

    unsent, unhandled, raised = SocketTransport._unsent, [], []

    def interrupted(transport, rest):
        if not raised:
            raised.append(rest)
            raise InterruptedError("from a signal handler")
        unsent(transport, rest)

    monkeypatch.setattr(SocketTransport, "_unsent", interrupted)
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: unhandled.append(context["exception"]))

    async def main():
        ours, theirs = tcp_pair()
        with theirs:
            transport, protocol = await loop.create_connection(Kept, sock=ours)
            transport.set_write_buffer_limits(high=1 << 30)
            while not raised:
                transport.write(bytes(QUEUED // 2))
                await asyncio.sleep(0)
            return await protocol.lost

    assert isinstance(loop.run_until_complete(main()), ConnectionAbortedError)
    assert [str(exception) for exception in unhandled] == ["from a signal handler"]
    loop.close()


@on_linux
@uvbind_alone
def test_a_child_does_not_send_what_its_parent_has_queued(run):
    async def main():
        async with connected() as (transport, _, theirs):
            transport.write(b"once")
            assert in_child(lambda: os.write(1, b"child")) is not None
            await asyncio.sleep(0)
            assert waiting(theirs) == b"once"

    run(main)


def test_pause_writing_counts_what_waits(run):
    async def main():
        async with connected() as (transport, protocol, _):
            transport.set_write_buffer_limits(high=10)
            transport.write(MEGABYTES)
            assert protocol.calls == ["pause"]
            assert transport.get_write_buffer_size() > 10

    run(main)
