"""Streams whose other end was quicker: what was asked for before comes before what it sent."""

from __future__ import annotations

import asyncio
import socket

import pytest
from endings import ENDINGS, about_to_end, on_linux, readable
from streaming import close, connected
from tls_clients import Client

LINE = b"a line\n"


async def turns(count=5):
    for _ in range(count):
        await asyncio.sleep(0)


async def waiting(streams, read, log):
    """A connection whose reader a task waits for, which logs what it gets."""
    reader, writer, theirs = await connected(streams)

    async def wait():
        log.append(await read(reader))

    task = asyncio.ensure_future(wait())
    await turns()
    theirs.send(LINE)
    readable(writer.get_extra_info("socket"))
    return writer, theirs, task


def test_a_call_that_was_asked_for_comes_before_who_reads(streams, run):
    async def main(unhandled):
        log: list = []
        writer, theirs, task = await waiting(streams, lambda reader: reader.readline(), log)
        asyncio.get_running_loop().call_soon(log.append, "call")
        await task
        assert log == ["call", LINE]
        await close(writer, theirs)

    run(main)


@pytest.mark.parametrize("verb", ["close", "abort"])
def test_a_call_that_was_asked_for_can_end_the_connection(streams, run, verb):
    async def main(unhandled):
        log: list = []
        writer, theirs, task = await waiting(streams, lambda reader: reader.read(), log)
        asyncio.get_running_loop().call_soon(getattr(writer.transport, verb))
        await task
        assert log == [b""]
        await close(writer, theirs)

    run(main)


def test_the_protocol_can_change_right_after_connecting(streams, run):
    class Other(asyncio.Protocol):
        def __init__(self) -> None:
            self.received: asyncio.Future = asyncio.get_running_loop().create_future()

        def data_received(self, data):
            self.received.set_result(data)

    async def main(unhandled):
        ours, theirs = socket.socketpair()
        theirs.send(LINE)
        reader, writer = await streams.open_connection(sock=ours)
        streams_own, other = writer.transport.get_protocol(), Other()
        writer.transport.set_protocol(other)
        assert await other.received == LINE and not reader._buffer
        writer.transport.set_protocol(streams_own)
        await close(writer, theirs)

    run(main)


def test_tls_can_begin_in_a_handler_at_once(streams, run, contexts):
    async def main(unhandled):
        served: asyncio.Future = asyncio.get_running_loop().create_future()

        async def serve(reader, writer):
            readable(writer.get_extra_info("socket"))
            await writer.start_tls(contexts[0])
            line = await reader.readline()
            writer.transport.abort()
            served.set_result(line)

        server = await streams.start_server(serve, "127.0.0.1", 0)
        client = Client(contexts[1], server.sockets[0].getsockname())
        with client.sock:
            await client.call(client.secure.do_handshake)
            await client.call(client.secure.write, LINE)
            assert await served == LINE
        server.close()
        await server.wait_closed()

    run(main)


@on_linux
@pytest.mark.parametrize("ending", [e for e in ENDINGS.values() if e.is_reset])
def test_what_is_cut_by_a_reset_is_not_taken_for_all(streams, run, ending):
    async def main(unhandled):
        with about_to_end(ending) as (ours, finish):
            reader, writer = await streams.open_connection(sock=ours)
            writer.write(ending.asks)
            await asyncio.sleep(0)  # the write leaves at the end of the turn
            finish()
            assert await reader.readexactly(len(ending.received)) == ending.received
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()

    run(main)
