"""Errors of connections and datagrams: the system's classes, numbers and texts, as in asyncio."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest
from endings import hung_up, reset, tcp_pair
from helpers import MEGABYTES, Filling


class Kept(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost: asyncio.Future = asyncio.get_running_loop().create_future()
        self.errors: asyncio.Queue = asyncio.Queue()

    def data_received(self, data):
        pass

    def error_received(self, exc):
        self.errors.put_nowait(exc)

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Filled(Filling, Kept):
    """Has buffers of its own filled."""


def check(error, kind, number, text=None):
    """An error that Python would make of this number."""
    assert type(error) is kind
    assert error.errno == number
    text = text or os.strerror(number)
    assert error.strerror == text
    assert str(error) == f"[Errno {number}] {text}"
    assert error.args == (number, text)


@pytest.mark.parametrize("factory", [Kept, Filled])
def test_of_a_read(run, factory):
    async def main():
        ours, theirs = tcp_pair()
        _, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
        reset(theirs)
        check(await protocol.lost, ConnectionResetError, errno.ECONNRESET)

    run(main)


WRITES = {
    "bytes": lambda transport: transport.write(b"data"),
    "a bytearray": lambda transport: transport.write(bytearray(b"data")),
    "a view": lambda transport: transport.write(memoryview(b"data")),
    "pieces": lambda transport: transport.writelines([b"da", b"ta"]),
}


@pytest.mark.parametrize("write", WRITES)
def test_of_a_write(run, write):
    async def main():
        ours, theirs = tcp_pair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Kept, sock=ours)
        transport.pause_reading()
        reset(theirs)
        hung_up(transport.get_extra_info("socket"))
        WRITES[write](transport)
        check(await protocol.lost, ConnectionResetError, errno.ECONNRESET)

    run(main)


@pytest.mark.parametrize("write", WRITES)
def test_of_a_write_to_a_unix_socket_that_is_closed(run, write):
    async def main():
        ours, theirs = socket.socketpair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Kept, sock=ours)
        transport.pause_reading()
        theirs.close()
        WRITES[write](transport)
        check(await protocol.lost, BrokenPipeError, errno.EPIPE)

    run(main)


def test_of_a_write_that_waited(run):
    async def main():
        ours, theirs = socket.socketpair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Kept, sock=ours)
        transport.pause_reading()
        transport.write(MEGABYTES)
        theirs.close()
        error = await protocol.lost
        # Linux tells of unread data that the other side has thrown away.
        kinds = {ConnectionResetError: errno.ECONNRESET, BrokenPipeError: errno.EPIPE}
        check(error, type(error), kinds[type(error)])

    run(main)


def test_of_connecting_where_nobody_listens(run, tmp_path):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            address = closed.getsockname()
        with pytest.raises(ConnectionRefusedError) as raised:
            await loop.create_connection(Kept, *address)
        check(
            *(raised.value, ConnectionRefusedError, errno.ECONNREFUSED),
            f"Connect call failed {address}",
        )
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as raised:
                await loop.sock_connect(sock, address)
            check(
                *(raised.value, ConnectionRefusedError, errno.ECONNREFUSED),
                f"Connect call failed {address}",
            )
        with pytest.raises(FileNotFoundError) as raised:
            await loop.create_unix_connection(Kept, str(tmp_path / "nothing"))
        check(raised.value, FileNotFoundError, errno.ENOENT)
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(tmp_path / "bound"))
            with pytest.raises(ConnectionRefusedError) as raised:
                await loop.create_unix_connection(Kept, str(tmp_path / "bound"))
            check(raised.value, ConnectionRefusedError, errno.ECONNREFUSED)

    run(main)


def test_of_datagrams(run):
    async def main():
        loop = asyncio.get_running_loop()
        with socket.socket(type=socket.SOCK_DGRAM) as closed:
            closed.bind(("127.0.0.1", 0))
            address = closed.getsockname()
        transport, protocol = await loop.create_datagram_endpoint(Kept, remote_addr=address)
        transport.sendto(b"to nobody")
        check(await protocol.errors.get(), ConnectionRefusedError, errno.ECONNREFUSED)
        transport.sendto(bytes(70_000))
        check(await protocol.errors.get(), OSError, errno.EMSGSIZE)
        transport.close()
        await protocol.lost

    run(main)
