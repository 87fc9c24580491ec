"""What `sock_*` methods take, return and raise."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import pytest
from helpers import MEGABYTES
from plain_sockets import begun, new_pair, received

import uvbind


@pytest.mark.parametrize("size", [100, 1 << 16, 1 << 20])
def test_receiving(run, size):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            theirs.send(b"now")
            assert await loop.sock_recv(ours, size) == b"now"
            later = await begun(loop.sock_recv(ours, size))
            theirs.send(b"later")
            assert await later == b"later"
            buffer = bytearray(10)
            into = await begun(loop.sock_recv_into(ours, buffer))
            theirs.send(b"into")
            assert await into == 4 and buffer[:4] == b"into"
            end = await begun(loop.sock_recv(ours, size))
            theirs.close()
            assert await end == b""

    run(main)


def test_sizes_of_other_types(run):
    class Size:
        def __index__(self):
            return 3

        def __gt__(self, other):
            return other < 3

    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            theirs.send(b"data")
            assert await loop.sock_recv(ours, Size()) == b"dat"
            with pytest.raises(TypeError):
                await loop.sock_recv(ours, 1.5)

    run(main)


def test_megabytes_both_ways_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            results = await asyncio.gather(
                loop.sock_sendall(ours, MEGABYTES),
                loop.sock_sendall(theirs, bytearray(MEGABYTES)),
                received(ours, len(MEGABYTES)),
                received(theirs, len(MEGABYTES)),
            )
            assert results == [None, None, MEGABYTES, MEGABYTES]

    run(main)


def test_a_view_of_numbers_is_sent_whole():
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            sending = await begun(loop.sock_sendall(ours, memoryview(MEGABYTES).cast("I")))
            assert await received(theirs, len(MEGABYTES)) == MEGABYTES
            await sending

    uvbind.run(main())  # asyncio takes numbers for bytes


def test_a_buffer_may_be_resized_once_it_is_sent():
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, theirs):
            buffer = bytearray(MEGABYTES)
            sending = await begun(loop.sock_sendall(ours, buffer))
            assert await received(theirs, len(MEGABYTES)) == MEGABYTES
            await sending
            buffer.clear()  # which would raise BufferError if a view of it were left

    uvbind.run(main())  # on PyPy asyncio leaves one


def test_datagrams(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as ours:
            ours.setblocking(False)
            ours.bind(("127.0.0.1", 0))
            address, buffer = ours.getsockname(), bytearray(10)
            first = await begun(loop.sock_recvfrom(ours, 10))
            assert await loop.sock_sendto(ours, b"first", address) == 5
            assert await first == (b"first", address)
            second = await begun(loop.sock_recvfrom_into(ours, buffer))
            await loop.sock_sendto(ours, b"second", address)
            assert await second == (6, address) and buffer[:6] == b"second"

    run(main)


def test_connecting_and_accepting(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            server.setblocking(False)
            client.setblocking(False)
            accepting = await begun(loop.sock_accept(server))
            await loop.sock_connect(client, ("localhost", server.getsockname()[1]))
            accepted, address = await accepting
            with accepted:
                assert accepted.gettimeout() == 0 and address == client.getsockname()
            assert await loop.sock_recv(client, 10) == b""

    run(main)


def test_connecting_to_nobody(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket() as unused, socket.socket() as client:
            unused.bind(("127.0.0.1", 0))
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, unused.getsockname())

    run(main)


def test_what_is_refused(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as blocking:
            for call in (
                loop.sock_recv(blocking, 1),
                loop.sock_recv_into(blocking, bytearray(1)),
                loop.sock_sendall(blocking, b"x"),
                loop.sock_accept(blocking),
                loop.sock_connect(blocking, ("127.0.0.1", 1)),
            ):
                with pytest.raises(ValueError, match="must be non-blocking"):
                    await call
        context = ssl.create_default_context()
        with new_pair() as (ours, _):
            wrapped = context.wrap_socket(ours, server_hostname="x", do_handshake_on_connect=False)
            with wrapped, pytest.raises(TypeError, match="SSLSocket"):
                await loop.sock_recv(wrapped, 1)
        with new_pair() as (ours, _):
            transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
            for call in (loop.add_reader, loop.add_writer):
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call(transport.get_extra_info("socket"), print)
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(ours, 1)
            transport.close()
            await asyncio.sleep(0)

    run(main)


def test_errors_come_from_the_socket(run):
    async def main():
        loop = asyncio.get_running_loop()
        with new_pair() as (ours, _):
            with pytest.raises(ValueError, match="negative"):
                await loop.sock_recv(ours, -1)
            ours.close()
            with pytest.raises(OSError, match="Bad file descriptor"):
                await loop.sock_recv(ours, 1)

    run(main)


def test_many_are_ready_at_once(run):
    async def main():
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(new_pair()) for _ in range(300)]
            tasks = [await begun(loop.sock_recv(ours, 10)) for ours, _ in pairs]
            for number, (_, theirs) in enumerate(pairs):
                theirs.send(b"%d" % number)
            assert await asyncio.gather(*tasks) == [b"%d" % number for number in range(300)]

    run(main)
