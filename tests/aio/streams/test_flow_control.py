"""Streams neither lose nor pile up what is faster than its receiver."""

from __future__ import annotations

import asyncio
import socket

import pytest
from helpers import MEGABYTES
from streaming import close, connected, send


def test_megabytes_each_way_with_every_method(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)

        async def write():
            for start in range(0, len(MEGABYTES), 100_000):
                writer.write(MEGABYTES[start : start + 100_000])
                await writer.drain()
            writer.write_eof()

        async def back():
            loop = asyncio.get_running_loop()
            while data := await loop.sock_recv(theirs, 1 << 16):
                await loop.sock_sendall(theirs, data)
            theirs.shutdown(socket.SHUT_WR)

        tasks = [asyncio.ensure_future(write()), asyncio.ensure_future(back())]
        parts = [await reader.readexactly(3), await reader.readexactly(1_000_000)]
        for _ in range(50):
            parts += [await reader.readuntil(b"\xff\0"), await reader.readline()]
            parts += [await reader.read(10), await reader.readexactly(1000)]
            parts.append(await reader.read(100_000))
        parts.append(await reader.read())
        assert b"".join(parts) == MEGABYTES
        await asyncio.gather(*tasks)
        await close(writer, theirs)

    run(main)


def test_a_reader_that_nobody_reads_pauses_its_transport(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams, limit=1000)
        sending = asyncio.ensure_future(send(theirs, MEGABYTES))
        while writer.transport.is_reading():
            await asyncio.sleep(0.001)
        assert not sending.done() and "paused" in repr(reader)
        assert await reader.readexactly(len(MEGABYTES) - 1) == MEGABYTES[:-1]
        await sending
        assert await reader.read(10) == MEGABYTES[-1:] and writer.transport.is_reading()
        await close(writer, theirs)

    run(main)


def test_a_task_that_takes_less_than_comes_pauses_the_transport(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams, limit=1000)
        waiting = asyncio.ensure_future(reader.readexactly(1))
        await asyncio.sleep(0)
        sending = asyncio.ensure_future(send(theirs, MEGABYTES))
        assert await waiting == MEGABYTES[:1]
        while writer.transport.is_reading():
            await asyncio.sleep(0.001)
        assert await reader.readexactly(len(MEGABYTES) - 1) == MEGABYTES[1:]
        await sending
        await close(writer, theirs)

    run(main)


def test_drain_waits_until_there_is_room(streams, run):
    async def main(unhandled):
        _, writer, theirs = await connected(streams)
        loop = asyncio.get_running_loop()
        writer.write(b"little")
        await writer.drain()
        writer.write(MEGABYTES)
        draining = asyncio.ensure_future(writer.drain())
        await asyncio.sleep(0.001)
        assert not draining.done()
        left = len(b"little" + MEGABYTES)
        while left:
            left -= len(await loop.sock_recv(theirs, 1 << 20))
        await draining
        await close(writer, theirs)

    run(main)


def test_drain_tells_that_the_connection_is_gone(streams, run):
    async def main(unhandled):
        _, writer, theirs = await connected(streams)
        theirs.close()
        with pytest.raises(ConnectionError):
            for _ in range(1000):  # a loop that writes and drains gets to hear of it
                writer.write(b"x")
                await writer.drain()
        writer.close()
        with pytest.raises(ConnectionError):
            await writer.wait_closed()

    run(main)
