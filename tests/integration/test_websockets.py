"""websockets, client and server on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from helpers import MEGABYTES

pytest.importorskip("websockets")
import websockets
from websockets.asyncio.client import connect, unix_connect
from websockets.asyncio.server import broadcast, serve, unix_serve


async def echo(connection):
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def serving(handler=echo, **options):
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{'wss' if options.get('ssl') else 'ws'}://{host}:{port}/"


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_of_all_sizes(run, certificate, secure, compression):
    async def main():
        options = {"compression": compression, "max_size": None}
        tls = ({"ssl": certificate.server}, {"ssl": certificate.client}) if secure else ({}, {})
        async with (
            serving(**options, **tls[0]) as url,
            connect(url, **options, **tls[1]) as client,
        ):
            for message in ("", "text", bytes(range(256)), "ä" * 100_000, MEGABYTES):
                await client.send(message)
                assert await client.recv() == message
            await client.send(iter([MEGABYTES[:1000], MEGABYTES[1000:2000]]))  # in fragments
            assert await client.recv() == MEGABYTES[:2000]
            await (await client.ping())
        assert client.close_code == 1000

    run(main)


def test_many_clients_and_a_broadcast(run):
    async def main():
        connected, everybody = set(), asyncio.Event()

        async def handler(connection):
            await connection.send(await connection.recv())
            connected.add(connection)
            if len(connected) == 200:
                everybody.set()
            await connection.wait_closed()

        async with serving(handler) as url:

            async def client(number):
                async with connect(url) as connection:
                    await connection.send(str(number))
                    return [await connection.recv(), await connection.recv()]

            clients = asyncio.gather(*map(client, range(200)))
            await everybody.wait()
            broadcast(connected, "to all")
            assert await clients == [[str(number), "to all"] for number in range(200)]

    run(main)


def test_a_slow_reader_holds_the_writer_back(run):
    async def main():
        sent = 0

        async def handler(connection):
            nonlocal sent
            for _ in range(100):
                await connection.send(bytes(1_000_000))
                sent += 1

        async with serving(handler, compression=None) as url, connect(url) as client:
            # Otherwise the system may take tens of megabytes for who does not read.
            sock = client.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            while sent == 0:
                await asyncio.sleep(0)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert sent < 50
            for _ in range(100):
                assert len(await client.recv()) == 1_000_000

    run(main)


def test_cancelled_waiting_loses_no_message(run):
    async def main():
        async with serving() as url, connect(url) as client:
            for number in range(100):
                waiting = asyncio.create_task(client.recv())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await client.send(str(number))
                assert await client.recv() == str(number)

    run(main)


def test_either_side_closes(run, tmp_path):
    async def main():
        async def handler(connection):
            if await connection.recv() == "leave":
                await connection.close(4000, "as you wish")
            await connection.wait_closed()

        path = str(tmp_path / "s")
        async with unix_serve(handler, path) as server:
            left, dropped, kept = [await unix_connect(path) for _ in range(3)]
            await left.send("leave")
            with pytest.raises(websockets.ConnectionClosed) as info:
                await left.recv()
            assert (info.value.rcvd.code, info.value.rcvd.reason) == (4000, "as you wish")
            dropped.transport.abort()
            await dropped.wait_closed()
            assert dropped.close_code == 1006
            server.close()
            with pytest.raises(websockets.ConnectionClosedOK):
                await kept.recv()
            assert kept.close_code == 1001

    run(main)
