"""Sockets of transports that are open when their loop is closed: they are open still."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import warnings

import pytest

import uvbind

needs_counting = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="PyPy collects when it likes"
)


def run_and_close(new_loop, main):
    loop = new_loop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


def dropped(transports):
    """Forget transports, each of which warns and closes its socket."""
    count = len(transports)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        transports.clear()
        gc.collect()  # which may come upon the socket first, and then that warns as well
    texts = [str(warning.message) for warning in warned]
    assert sum(text.startswith("unclosed transport") for text in texts) == count, texts


@needs_counting
@pytest.mark.parametrize("paused", [False, True], ids=["reading", "paused"])
@pytest.mark.parametrize("unsent", [False, True], ids=["", "with data unsent"])
def test_a_lent_stream_socket_goes_on(new_loop, paused, unsent):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    kept = []

    async def main(loop):
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        kept.append(transport)
        transport.write(b"one")
        if paused:
            transport.pause_reading()
        if unsent:
            transport.write(bytes(1 << 22))

    with theirs, ours:
        run_and_close(new_loop, main)
        assert theirs.recv(3) == b"one"
        ours.setblocking(True)
        if not unsent:
            ours.sendall(b"two")
            assert theirs.recv(100) == b"two"
        theirs.sendall(b"three")
        assert ours.recv(100) == b"three"
        dropped(kept)
        assert ours.fileno() == -1


@needs_counting
def test_a_lent_datagram_socket_goes_on(new_loop):
    kept = []
    ours, theirs = (socket.socket(type=socket.SOCK_DGRAM) for _ in range(2))
    for each in (ours, theirs):
        each.bind(("127.0.0.1", 0))

    async def main(loop):
        transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=ours)
        kept.append(transport)
        transport.sendto(b"one", theirs.getsockname())

    with theirs, ours:
        run_and_close(new_loop, main)
        for each in (ours, theirs):
            each.settimeout(10)
        assert theirs.recv(100) == b"one"
        ours.sendto(b"two", theirs.getsockname())
        assert theirs.recv(100) == b"two"
        theirs.sendto(b"three", ours.getsockname())
        assert ours.recv(100) == b"three"
        dropped(kept)
        assert ours.fileno() == -1


@needs_counting
def test_it_may_be_lent_to_the_next_loop(new_loop):
    kept = []
    ours, theirs = socket.socketpair()

    async def first(loop):
        kept.append(await loop.create_connection(asyncio.Protocol, sock=ours))

    async def second(loop):
        reader, writer = await asyncio.open_connection(sock=ours)
        writer.write(b"again\n")
        await loop.sock_sendall(theirs, b"answer\n")
        assert await reader.readline() == b"answer\n"
        writer.close()
        await writer.wait_closed()

    with theirs:
        theirs.setblocking(False)
        run_and_close(new_loop, first)
        run_and_close(new_loop, second)
        assert theirs.recv(100) == b"again\n"
        assert ours.fileno() == -1
        dropped(kept)


@needs_counting
def test_what_nobody_lent_is_closed_when_its_transport_is_forgotten(new_loop):
    kept, descriptors = [], []

    async def main(loop):
        made = loop.create_future()

        class Served(asyncio.Protocol):
            def connection_made(self, transport):
                made.set_result(transport)

        server = await loop.create_server(Served, "127.0.0.1", 0)
        client, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        kept.extend((client, await made))
        descriptors.extend(each.get_extra_info("socket").fileno() for each in kept)
        server.close()

    run_and_close(new_loop, main)
    for fd in descriptors:
        os.fstat(fd)
    dropped(kept)
    for fd in descriptors:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_a_socket_that_the_program_has_closed_is_closed_with_the_loop(new_loop):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)

    async def main(loop):
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        sock = transport.get_extra_info("socket")._sock
        transport.close()
        assert sock is ours

    with theirs:
        run_and_close(new_loop, lambda loop: main(loop))
        ours.close()
        assert theirs.recv(1) == b""


@needs_counting
def test_a_transport_that_nobody_kept_closes_its_socket_with_the_loop(new_loop):
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)

    class Keeps(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

    async def main(loop):
        await loop.create_connection(Keeps, sock=ours)

    with theirs, pytest.warns(ResourceWarning, match="unclosed transport"):
        run_and_close(new_loop, main)
        gc.collect()
        assert ours.fileno() == -1
        assert theirs.recv(1) == b""


@needs_counting
def test_a_transport_that_nobody_kept_needs_no_garbage_collector(no_collector):
    """asyncio's own does, as it keeps methods of its own."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)

    async def main(loop):
        await loop.create_connection(asyncio.Protocol, sock=ours)
        await asyncio.sleep(0)

    with theirs, pytest.warns(ResourceWarning, match="unclosed transport"):
        run_and_close(uvbind.new_event_loop, main)
        assert theirs.recv(1) == b""
