"""What a task reads of a stream: cancelled, at once with another, in its context, and described."""

from __future__ import annotations

import asyncio
import contextvars
import sys

import pytest
from streaming import close, connected, send


def test_a_read_that_is_cancelled_loses_nothing(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)
        for number in range(50):
            line = asyncio.ensure_future(reader.readline())
            await asyncio.sleep(0)
            await send(theirs, b"%d" % number)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(line), 0.001)
            line.cancel()
            await send(theirs, b".\n")
            with pytest.raises(asyncio.CancelledError):
                await line
            assert await reader.readline() == b"%d.\n" % number
        await close(writer, theirs)

    run(main)


def test_two_tasks_cannot_wait_at_once(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)
        line = asyncio.ensure_future(reader.readline())
        await asyncio.sleep(0)
        for read, name in [
            (reader.read(1), "read"),
            (reader.readexactly(1), "readexactly"),
            (reader.readline(), "readuntil"),
            (reader.readuntil(b"."), "readuntil"),
        ]:
            with pytest.raises(RuntimeError, match=rf"{name}\(\) called while another coroutine"):
                await read
        await send(theirs, b"line\n")
        assert await line == b"line\n"
        await close(writer, theirs)

    run(main)


def test_several_separators(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)
        await send(theirs, b"one.two;three")
        assert await reader.readuntil((b".", b";")) == b"one."
        assert await reader.readuntil((b";", b".")) == b"two;"
        assert await reader.readexactly(5) == b"three"
        await close(writer, theirs)

    if sys.version_info < (3, 13):
        pytest.skip("readuntil() takes several from Python 3.13 on")
    run(main)


def test_a_task_keeps_its_context(streams, run):
    variable = contextvars.ContextVar("variable", default="none")

    async def main(unhandled):
        async def look(value):
            variable.set(value)
            line = await reader.readline()
            return line, variable.get(), asyncio.current_task()

        reader, writer, theirs = await connected(streams)
        for value in (b"1\n", b"2\n"):
            task = asyncio.ensure_future(look(value))
            await asyncio.sleep(0)
            await send(theirs, value)
            assert await task == (value, value, task)
        assert variable.get() == "none"
        await close(writer, theirs)

    run(main)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_comes_out_of_run(streams, new_loop, exception):
    async def main():
        reader, writer, theirs = await connected(streams)
        with theirs:
            await send(theirs, b"x\n")
            try:
                await reader.readline()
                raise exception
            finally:
                writer.close()

    loop = new_loop()
    with pytest.raises(exception):
        loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()


def test_what_uses_asyncios_buffer_may(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)
        buffer = reader._buffer
        assert buffer == b""
        await send(theirs, b"one\ntwo\nthree\n")
        assert await reader.readline() == b"one\n"
        assert buffer == reader._buffer == b"two\nthree\n"
        del buffer[:4]
        waiting = asyncio.ensure_future(reader.readexactly(10))
        await asyncio.sleep(0)
        await send(theirs, b"four")
        assert await waiting == b"three\nfour" and buffer == b""
        more = asyncio.ensure_future(reader._wait_for_data("test"))
        await asyncio.sleep(0)
        await send(theirs, b"five\n")
        await more
        assert reader._buffer is buffer and buffer == b"five\n"
        buffer.clear()
        await send(theirs, b"six\n")
        assert await reader.readuntil(b"\n") == b"six\n"
        await close(writer, theirs)

    run(main)


def test_descriptions(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)
        await send(theirs, b"four")
        await reader.readexactly(1)
        for _ in range(2):
            assert repr(reader).startswith("<StreamReader 3 bytes transport=<")
        assert repr(writer).startswith("<StreamWriter transport=<")
        assert await reader.read(10) == b"our"
        await close(writer, theirs)

    run(main)
