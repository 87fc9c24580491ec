"""Debug mode: what takes long is told."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

LONG = 0.05


class Slow(asyncio.Protocol):
    """Takes long in one of its methods."""

    def __init__(self, method: str, done: asyncio.Future[None]) -> None:
        self.method, self.done = method, done

    def connection_made(self, transport):
        self._take("connection_made")

    def data_received(self, data):
        self._take("data_received")

    def eof_received(self):
        self._take("eof_received")

    def datagram_received(self, data, address):
        self._take("datagram_received")

    def _take(self, method: str) -> None:
        if method == self.method:
            time.sleep(LONG)
            asyncio.get_running_loop().call_soon(self.done.set_result, None)


@pytest.fixture
def took_long(new_loop, caplog):
    """Run a coroutine function in debug mode, and tell whether there was a warning."""

    def took_long(main) -> bool:
        loop = new_loop()
        try:
            loop.set_debug(True)
            loop.slow_callback_duration = LONG / 2
            loop.run_until_complete(main())
        finally:
            loop.close()
        return any("Executing" in text and "took" in text for text in caplog.messages)

    return took_long


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received"])
@pytest.mark.parametrize("server", [False, True])
def test_slow_protocols_of_connections(took_long, method, server):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        ours, theirs = socket.socketpair()
        if server:
            ours.close()
            theirs.close()
            listening = await loop.create_server(lambda: Slow(method, done), "127.0.0.1", 0)
            theirs = socket.create_connection(listening.sockets[0].getsockname())
        else:
            await loop.create_connection(lambda: Slow(method, done), sock=ours)
        theirs.send(b"x")
        theirs.close()
        await done
        if server:
            listening.close()
        for _ in range(10):  # until the connection is closed
            await asyncio.sleep(0)

    assert took_long(main)


def test_slow_protocols_of_datagrams(took_long):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Slow("datagram_received", done), local_addr=("127.0.0.1", 0)
        )
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        await done
        transport.close()
        await asyncio.sleep(0)

    assert took_long(main)


def test_slow_tasks_at_sockets(took_long):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            loop.call_soon(theirs.send, b"x")
            await loop.sock_recv(ours, 1)
            time.sleep(LONG)
            await asyncio.sleep(0)

    assert took_long(main)
