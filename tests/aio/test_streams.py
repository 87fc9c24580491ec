"""Streams, asyncio's functions and ours, on asyncio's loop and on ours: one contract."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import ssl
import sys
import warnings
from types import SimpleNamespace

import pytest
from helpers import MEGABYTES

import uvbind
from uvbind.aio._streams import _Protocol

PYPY = sys.implementation.name == "pypy"
NAMES = ["open_connection", "open_unix_connection", "start_server", "start_unix_server"]
NAMES += ["StreamReader", "StreamWriter"]


@pytest.fixture(params=["asyncio", "uvbind"])
def streams(request):
    """Both sets of functions; each test that asks for them holds for both."""
    module = asyncio if request.param == "asyncio" else uvbind
    found = SimpleNamespace(**{name: getattr(module, name) for name in NAMES})
    found.Protocol = asyncio.StreamReaderProtocol if module is asyncio else _Protocol
    return found


@pytest.fixture(params=[False, True], ids=["plain", "debug"])
def run(request, new_loop):
    """As the other tests' `run`; out of debug mode too, where tasks go on at once."""

    def run(main, timeout=30):
        loop = new_loop()
        unhandled = []
        loop.set_exception_handler(lambda loop, context: unhandled.append(context))
        loop.set_debug(request.param)
        loop.slow_callback_duration = 10.0
        try:
            return loop.run_until_complete(asyncio.wait_for(main(unhandled), timeout))
        finally:
            loop.close()
            assert unhandled == []

    return run


async def connected(streams, **options):
    """A reader and a writer of a connection that ends in a plain non-blocking socket."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    reader, writer = await streams.open_connection(sock=ours, **options)
    assert isinstance(reader, streams.StreamReader) and isinstance(reader, asyncio.StreamReader)
    assert isinstance(writer, streams.StreamWriter) and isinstance(writer, asyncio.StreamWriter)
    return reader, writer, theirs


async def close(writer, theirs=None):
    if theirs is not None:
        theirs.close()
    writer.close()
    assert writer.is_closing()
    await writer.wait_closed()


def send(theirs, data):
    return asyncio.get_running_loop().sock_sendall(theirs, data)


# -- connections


async def echo(reader, writer):
    assert isinstance(reader, asyncio.StreamReader) and isinstance(writer, asyncio.StreamWriter)
    async for line in reader:
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_server_and_its_clients(streams, run, tmp_path, family):
    async def main(unhandled):
        if family == "tcp":
            server = await streams.start_server(echo, "127.0.0.1", 0)
            where, open_connection = server.sockets[0].getsockname(), streams.open_connection
        else:
            server = await streams.start_unix_server(echo, tmp_path / "s")
            where, open_connection = [tmp_path / "s"], streams.open_unix_connection

        async def client(number):
            reader, writer = await open_connection(*where)
            assert writer.get_extra_info("socket").fileno() >= 0
            assert writer.get_extra_info("nothing", 7) == 7
            for line in (b"%d\n" % number, b"\n", b"a" * 1000 + b"\n"):
                writer.write(line)
                assert await reader.readline() == line
            writer.writelines([b"two\n", b"lines\n", b"and a piece"])
            assert writer.can_write_eof()
            writer.write_eof()
            assert await reader.read() == b"two\nlines\nand a piece"
            assert reader.at_eof() and await reader.read() == await reader.readline() == b""
            await close(writer)

        await asyncio.gather(*map(client, range(5)))
        server.close()
        await server.wait_closed()

    run(main)


def test_the_callback_may_be_a_function(streams, run):
    async def main(unhandled):
        accepted = asyncio.get_running_loop().create_future()

        def connected(reader, writer):
            accepted.set_result((reader, writer))

        server = await streams.start_server(connected, "127.0.0.1", 0, limit=10)
        _, writer = await streams.open_connection(*server.sockets[0].getsockname())
        reader, theirs = await accepted
        assert type(reader) is streams.StreamReader and type(theirs) is streams.StreamWriter
        assert "limit=10" in repr(reader)
        writer.write(b"longer than that\n")
        with pytest.raises(ValueError, match="chunk is longer than limit"):
            await reader.readline()
        await close(writer)
        assert await reader.read() == b""
        await close(theirs)
        server.close()
        await server.wait_closed()

    run(main)


def test_what_the_callback_raises_is_told_alike(streams, run):
    async def main(unhandled):
        async def raises(reader, writer):
            await reader.readline()
            raise ZeroDivisionError

        server = await streams.start_server(raises, "127.0.0.1", 0)
        reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
        writer.write(b"go\n")
        if sys.version_info >= (3, 12):  # where asyncio closes the connection then
            assert await reader.read() == b""
            (context,) = unhandled
            assert context["message"] == "Unhandled exception in client_connected_cb"
            assert isinstance(context["exception"], ZeroDivisionError) and context["transport"]
            unhandled.clear()
        await close(writer)
        server.close()
        await server.wait_closed()

    if sys.version_info < (3, 12):
        pytest.skip("nobody asks the task there, which is told of when it is collected")
    run(main)


def test_a_limit_below_one_is_refused(streams, run):
    async def main(unhandled):
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            await streams.open_connection("127.0.0.1", 1, limit=0)

    run(main)


def test_nobody_listens(streams, run):
    async def main(unhandled):
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = closed.getsockname()
        with pytest.raises(ConnectionRefusedError):
            await streams.open_connection(*address)

    run(main)


@pytest.fixture(scope="module")
def contexts():
    """What a server and a client that trusts it need for TLS."""
    trustme = pytest.importorskip("trustme", reason="no trustme to make certificates with")
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    return server, client


def test_tls(streams, run, contexts):
    async def main(unhandled):
        server = await streams.start_server(echo, "127.0.0.1", 0, ssl=contexts[0])
        reader, writer = await streams.open_connection(
            *server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost"
        )
        assert writer.get_extra_info("cipher")
        for size in (1, 10, 50_000):
            writer.write(b"x" * size + b"\n")
            await writer.drain()
            assert await reader.readexactly(size + 1) == b"x" * size + b"\n"
        await close(writer)
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="StreamWriter.start_tls is of Python 3.11")
def test_start_tls(streams, run, contexts):
    async def main(unhandled):
        async def serve(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go on\n")
            await writer.start_tls(contexts[0])
            await echo(reader, writer)

        server = await streams.start_server(serve, "127.0.0.1", 0)
        reader, writer = await streams.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go on\n"
        await writer.start_tls(contexts[1], server_hostname="localhost")
        assert writer.get_extra_info("cipher")
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        await close(writer)
        server.close()
        await server.wait_closed()

    run(main)


# -- flow control


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


# -- reading


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


# -- what is left behind


@pytest.mark.skipif(PYPY, reason="PyPy collects when it likes")
@pytest.mark.skipif(not hasattr(asyncio.StreamWriter, "__del__"), reason="of Python 3.11.5")
def test_a_writer_that_is_dropped_closes_its_connection(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)
        with theirs, pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del reader, writer
        await asyncio.sleep(0)

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


# -- how ours is faster


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


@pytest.mark.skipif(sys.version_info < (3, 11), reason="create_task() takes a context from 3.11 on")
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


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_in_both_modules(name):
    assert getattr(uvbind, name) is getattr(uvbind.aio, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert name in uvbind.aio.__all__
