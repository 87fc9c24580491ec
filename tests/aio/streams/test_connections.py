"""Streams are opened, accepted, made TLS and closed: asyncio's functions and ours, one contract."""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings

import pytest
from streaming import NAMES, close, connected

import uvbind

PYPY = sys.implementation.name == "pypy"


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


@pytest.mark.skipif(PYPY, reason="PyPy collects when it likes")
@pytest.mark.skipif(not hasattr(asyncio.StreamWriter, "__del__"), reason="of Python 3.11.5")
def test_a_writer_that_is_dropped_closes_its_connection(streams, run):
    async def main(unhandled):
        reader, writer, theirs = await connected(streams)
        with theirs, pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
            del reader, writer
        await asyncio.sleep(0)

    run(main)


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


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_in_both_modules(name):
    assert getattr(uvbind, name) is getattr(uvbind.aio, name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert name in uvbind.aio.__all__
