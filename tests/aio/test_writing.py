"""Writing to streams, pipes and datagram endpoints: every byte, as it was at the call."""

from __future__ import annotations

import array
import asyncio
import contextlib
import ctypes
import random
import socket
import sys
from asyncio import selector_events

import pytest
from helpers import KeepsCalls, uvbind_alone

import uvbind

SIZE = 1 << 21  # bytes: more than any socket takes at once
NOISE = random.Random(1).randbytes(SIZE)

# writelines() of Python 3.15's asyncio appends piece by piece: those before a wrong one stay in its
# buffer, and nobody sends them.
APPENDS = "append" in selector_events._SelectorSocketTransport.writelines.__code__.co_names
SKIPS = APPENDS or sys.version_info >= (3, 14, 10)


def asyncio_appends() -> bool:
    return APPENDS and not isinstance(asyncio.get_running_loop(), uvbind.EventLoop)


def numbers() -> memoryview:
    return memoryview(array.array("I", NOISE))


def big_endian() -> memoryview:
    return memoryview((ctypes.c_uint32.__ctype_be__ * (SIZE // 4)).from_buffer_copy(NOISE))


class Kept(KeepsCalls, asyncio.Protocol):
    """A protocol of streams."""


@contextlib.asynccontextmanager
async def over(ours, theirs, make):
    """A transport, its protocol, and a function that returns all that arrives at a socket."""
    loop = asyncio.get_running_loop()
    theirs.setblocking(False)
    transport, protocol = await make(loop, ours)

    async def received(size=None):
        data = bytearray()
        while size is None or len(data) < size:
            piece = await loop.sock_recv(theirs, 1 << 20)
            if not piece:
                break
            data += piece
        return bytes(data)

    with theirs:
        try:
            yield transport, protocol, received
        finally:
            if not protocol.lost.done():
                transport.abort()
            await protocol.lost


def over_socket(factory=Kept):
    ours, theirs = socket.socketpair()
    return over(ours, theirs, lambda loop, sock: loop.create_connection(factory, sock=sock))


def over_pipe(factory=Kept):
    """asyncio's pipe transport, which takes sockets too."""
    ours, theirs = socket.socketpair()
    return over(ours, theirs, lambda loop, sock: loop.connect_write_pipe(factory, sock))


# Name of a kind of view, and how to make one of SIZE bytes or more whose tobytes() is to arrive.
VIEWS = {
    "bytes": lambda: memoryview(NOISE),
    "mutable bytes": lambda: memoryview(bytearray(NOISE)),
    "characters": lambda: memoryview(NOISE).cast("c"),
    "numbers": numbers,
    "numbers of the other byte order": big_endian,
    "two dimensions": lambda: memoryview(NOISE).cast("B", (1 << 11, 1 << 10)),
    "numbers in two dimensions": lambda: numbers().cast("B").cast("I", (1 << 10, 1 << 9)),
    "every second byte": lambda: memoryview(NOISE * 2)[::2],
    "every second number": lambda: memoryview(array.array("I", NOISE * 2))[::2],
    "backwards": lambda: memoryview(NOISE)[::-1],
}
NOTHING = {
    "bytes": lambda: b"",
    "numbers": lambda: memoryview(array.array("I")),
    "no rows": lambda: memoryview((ctypes.c_int * 4 * 0)()),
    "empty rows": lambda: memoryview((ctypes.c_int * 0 * 4)()),
}
ENDS = pytest.mark.parametrize("ends", [over_socket, over_pipe], ids=["socket", "pipe"])


@uvbind_alone
@ENDS
@pytest.mark.parametrize("verb", ["write", "writelines"])
@pytest.mark.parametrize("kind", VIEWS)
def test_views_of_every_kind_arrive_whole(run, kind, verb, ends):
    async def main():
        async with ends() as (transport, _, received):
            view = VIEWS[kind]()
            if verb == "write":
                transport.write(view)
                transport.write(b"end")
            else:
                transport.writelines([b"", view, view, b"end"])
            transport.close()
            times = 1 if verb == "write" else 2
            assert await received() == view.tobytes() * times + b"end"

    run(main)


@uvbind_alone
@ENDS
@pytest.mark.parametrize("kind", NOTHING)
def test_views_of_nothing_write_nothing(run, kind, ends):
    async def main():
        async with ends() as (transport, _, received):
            transport.write(b"some")
            transport.write(NOTHING[kind]())
            transport.writelines([NOTHING[kind](), b"thing"])
            transport.writelines([NOTHING[kind]()])
            transport.writelines([])
            transport.close()
            assert await received() == b"something"

    run(main)


@uvbind_alone
def test_a_single_number_is_written_as_its_bytes(run):
    async def main():
        async with over_socket() as (transport, _, received):
            transport.write(memoryview(ctypes.c_uint32(0x61616161)))
            transport.close()
            assert await received() == b"aaaa"

    run(main)


@uvbind_alone
@ENDS
@pytest.mark.parametrize("verb", ["write", "writelines"])
@pytest.mark.parametrize("waits", [False, True], ids=["first", "behind others"])
def test_a_buffer_that_changes_after_the_call(run, waits, verb, ends):
    async def main():
        async with ends() as (transport, _, received):
            before = NOISE if waits else b""
            transport.write(before)
            buffer = bytearray(NOISE)
            if verb == "write":
                transport.write(buffer)
            else:
                with memoryview(buffer) as view:
                    transport.writelines([buffer, view])
            buffer[:] = bytes(SIZE)
            buffer.clear()  # which would raise BufferError if the transport had a view of it
            transport.close()
            assert await received() == before + NOISE * (1 if verb == "write" else 2)

    run(main)


def test_what_is_no_buffer_is_refused_and_nothing_is_lost(run):
    async def main():
        async with over_socket() as (transport, _, received):
            transport.write(b"one")
            for wrong in ("text", None, 5, [b"list"]):
                with pytest.raises(TypeError):
                    transport.write(wrong)
            ours = isinstance(asyncio.get_running_loop(), uvbind.EventLoop)
            # asyncio of Python 3.14.10 skips a wrong one that is false.
            more = [[None]] if ours or not SKIPS else []
            more += [] if asyncio_appends() else [[b"bytes", "text"]]
            for wrong in (["text"], 5, *more):
                with pytest.raises(TypeError):
                    transport.writelines(wrong)
            transport.write(b"two")
            transport.close()
            assert await received() == b"onetwo"

    run(main)


@ENDS
def test_writelines_takes_what_can_be_iterated_once(run, ends):
    async def main():
        async with ends() as (transport, _, received):
            transport.writelines(str(number).encode() for number in range(3))
            transport.writelines(iter([b"a", bytearray(b"b"), memoryview(b"c")]))
            transport.writelines({b"key": 1})
            transport.close()
            assert await received() == b"012abckey"

    run(main)


def test_writelines_of_an_iterable_that_raises_writes_nothing(run):
    async def main():
        if asyncio_appends():
            pytest.skip("this Python's asyncio keeps the pieces before the exception")

        def pieces():
            yield b"never"
            raise ZeroDivisionError

        async with over_socket() as (transport, _, received):
            with pytest.raises(ZeroDivisionError):
                transport.writelines(pieces())
            transport.write(b"else")
            transport.close()
            assert await received() == b"else"

    run(main)


@ENDS
def test_writelines_of_more_pieces_than_a_system_call_takes(run, ends):
    async def main():
        async with ends() as (transport, _, received):
            pieces = [str(number).encode() for number in range(5000)]
            transport.writelines(pieces)
            transport.close()
            assert await received() == b"".join(pieces)

    run(main)


@uvbind_alone  # asyncio of 3.12.0 to 3.12.8 and 3.13.0 to 3.13.1 pauses nobody
@ENDS
def test_writelines_pauses_and_resumes_the_protocol(run, ends):
    async def main():
        async with ends() as (transport, protocol, received):
            transport.writelines([NOISE, NOISE])
            assert protocol.calls == ["pause"]
            assert transport.get_write_buffer_size() > transport.get_write_buffer_limits()[1]
            transport.writelines([b"more"])
            assert protocol.calls == ["pause"]
            reading = asyncio.ensure_future(received())
            await protocol.resumed.wait()
            assert protocol.calls == ["pause", "resume"]
            transport.close()
            assert await reading == NOISE * 2 + b"more"

    run(main)


def test_writes_after_the_end_are_dropped(run, caplog):
    async def main():
        async with over_socket() as (transport, protocol, _):
            transport.close()
            for _ in range(2):
                transport.write(b"data")
                transport.write(bytearray(b"data"))
                transport.write(memoryview(array.array("I", [1])))
            await protocol.lost
            for _ in range(6):
                transport.write(b"data")
            return transport.is_closing()

    assert run(main)
    assert "socket.send() raised exception." in caplog.text


@uvbind_alone  # asyncio before 3.14 raises AttributeError
def test_writelines_after_the_end_is_dropped(run, caplog):
    async def main():
        async with over_socket() as (transport, protocol, _):
            transport.close()
            transport.writelines([b"some", b"data"])
            await protocol.lost
            for _ in range(6):
                transport.writelines([b"some", b"data"])
            transport.writelines([])

    run(main)
    assert "socket.send() raised exception." in caplog.text


def test_nothing_is_written_after_write_eof(run):
    async def main():
        async with over_socket() as (transport, protocol, received):
            transport.write(b"data")
            transport.write_eof()
            for data in (b"x", b"", bytearray(b"x"), memoryview(b"x")):
                with pytest.raises(RuntimeError, match="after write_eof"):
                    transport.write(data)
                with pytest.raises(RuntimeError, match="after write_eof"):
                    transport.writelines([data])
            assert await received() == b"data"
            transport.close()
            await protocol.lost

    run(main)


class ClosesWhenResumed(Kept):
    verb = "close"

    def resume_writing(self):
        super().resume_writing()
        getattr(self.transport, self.verb)()


class AbortsWhenResumed(ClosesWhenResumed):
    verb = "abort"


@uvbind_alone  # in asyncio connection_lost() is called and then AttributeError reported
@ENDS
@pytest.mark.parametrize("factory", [ClosesWhenResumed, AbortsWhenResumed])
def test_a_protocol_may_end_its_transport_in_resume_writing(run, factory, ends):
    async def main():
        async with ends(factory) as (transport, protocol, received):
            transport.write(NOISE)
            assert await received(SIZE) == NOISE
            assert await protocol.lost is None
            assert protocol.calls == ["pause", "resume", "lost"]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert protocol.calls == ["pause", "resume", "lost"]

    run(main)


@uvbind_alone
def test_a_closing_pipe_that_is_aborted_is_lost_once(run):
    async def main():
        async with over_pipe() as (transport, protocol, _):
            transport.close()
            transport.abort()
            assert await protocol.lost is None
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert protocol.calls == ["lost"]

    run(main)


@uvbind_alone
@pytest.mark.parametrize("kind", [*VIEWS, *(f"none: {name}" for name in NOTHING)])
def test_sock_sendall_sends_views_of_every_kind(run, kind):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            view = VIEWS[kind]() if kind in VIEWS else NOTHING[kind.partition(": ")[2]]()
            whole = bytes(view) if isinstance(view, bytes) else view.tobytes()
            sending = asyncio.ensure_future(loop.sock_sendall(ours, view))
            received = bytearray()
            while len(received) < len(whole):
                received += await loop.sock_recv(theirs, 1 << 20)
            await sending
            assert received == whole

    run(main)


@uvbind_alone
def test_sock_sendall_is_not_misled_by_a_partial_send_of_as_many_bytes_as_items(run):
    class Partial(socket.socket):
        """Its first send takes as many bytes as the view has items."""

        first = True

        def send(self, data, *flags):
            if self.first:
                self.first = False
                data = memoryview(data).cast("B")[: 1 << 12]
            return super().send(data, *flags)

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with theirs, Partial(fileno=ours.detach()) as sock:
            sock.setblocking(False)
            theirs.setblocking(False)
            view = memoryview(array.array("I", NOISE[: 1 << 14]))
            assert len(view) == 1 << 12
            await loop.sock_sendall(sock, view)  # which the socket has room for
            assert theirs.recv(1 << 20) == view.tobytes()

    run(main)


@uvbind_alone  # asyncio raises AttributeError
@ENDS
def test_after_an_end_that_was_waited_for_every_method_still_works(run, ends):
    async def main():
        async with ends() as (transport, protocol, received):
            transport.write(NOISE)
            transport.close()
            assert await received() == NOISE
            assert await protocol.lost is None
            transport.write(b"x")
            transport.write(bytearray(b"x"))
            transport.writelines([b"x"])
            transport.close()
            transport.abort()
            transport.write_eof()
            assert transport.is_closing() and transport.get_write_buffer_size() == 0
            await asyncio.sleep(0)
            assert protocol.calls == ["pause", "resume", "lost"]

    run(main)
