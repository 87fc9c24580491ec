"""How our streams are faster: a task goes on in the transport's call, and nothing is copied."""

from __future__ import annotations

import asyncio
import contextvars

import uvbind
from uvbind.aio._streams import _Protocol


class Paper(asyncio.Transport):
    """A transport for what no real one does: calling from where it likes."""

    def is_closing(self):
        return False


def fed(read):
    """A protocol of ours out of debug mode, and what a task reads with a method of its reader."""
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    reader = uvbind.StreamReader(loop=loop)
    protocol = _Protocol(reader, loop=loop)
    protocol.connection_made(Paper())
    return protocol, asyncio.ensure_future(read(reader))


def test_a_task_goes_on_in_the_call_of_the_transport(new_loop):
    async def main():
        protocol, task = fed(lambda reader: reader.readline())
        await asyncio.sleep(0)
        seen = []

        def call():
            protocol.data_received(b"half ")
            seen.append(task.done())
            protocol.data_received(b"a line\n")
            seen.append(task.done())

        asyncio.get_running_loop().call_soon(call)
        assert await task == b"half a line\n" and seen == [False, True]

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()


def test_what_is_read_is_what_the_transport_delivered():
    async def main():
        for read in (
            lambda reader: reader.read(100),
            lambda reader: reader.readline(),
            lambda reader: reader.readuntil(b"e\n"),
            lambda reader: reader.readexactly(5),
        ):
            protocol, task = fed(read)
            await asyncio.sleep(0)
            line = bytes([ord("l"), ord("i"), ord("n"), ord("e"), ord("\n")])
            asyncio.get_running_loop().call_soon(protocol.data_received, line)
            assert await task is line

    uvbind.run(main())


def test_within_a_task_the_task_that_waits_has_its_turn(new_loop):
    async def main():
        protocol, task = fed(lambda reader: reader.readline())
        await asyncio.sleep(0)
        protocol.data_received(b"line\n")
        assert not task.done()
        assert await task == b"line\n"

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()


def test_within_the_context_of_the_task_it_has_its_turn(new_loop):
    async def main():
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        reader = uvbind.StreamReader(loop=loop)
        protocol = _Protocol(reader, loop=loop)
        protocol.connection_made(Paper())
        task = loop.create_task(reader.readline(), context=context)
        await asyncio.sleep(0)
        loop.call_soon(protocol.data_received, b"line\n", context=context)
        assert await task == b"line\n"

    loop = new_loop()
    loop.run_until_complete(main())
    loop.close()


def test_a_loop_that_does_not_run_runs_no_task(new_loop):
    async def main():
        return fed(lambda reader: reader.readline())

    loop = new_loop()
    protocol, task = loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0))
    protocol.data_received(b"line\n")
    assert not task.done()
    assert loop.run_until_complete(task) == b"line\n"
    loop.close()


def test_a_reader_that_is_gone_gets_nothing():
    async def main():
        loop = asyncio.get_running_loop()
        protocol = _Protocol(uvbind.StreamReader(loop=loop), loop=loop)
        protocol._stream_reader_wr = None  # as after connection_lost()
        protocol.data_received(b"to nobody")

    uvbind.run(main())
