"""Where asyncio's own loop is the measure: what a program may do, and what it then gets."""

from __future__ import annotations

import asyncio
import gc
import socket

import pytest

NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


@pytest.mark.parametrize(
    "address",
    [("localhost", 80), ("127.0.0.1", "http"), ("127.0.0.1",), ("::1", 80, 1 << 20), None],
)
def test_getnameinfo_refuses_what_socket_refuses(run, address):
    def refused() -> type[BaseException]:
        with pytest.raises(Exception) as caught:
            socket.getnameinfo(address, NUMERIC)
        return caught.type

    async def main():
        with pytest.raises(refused()):
            await asyncio.get_running_loop().getnameinfo(address, NUMERIC)

    run(main)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("localhost", -1),
        ("localhost", 65536),
        ("localhost", 1.5),
        ("127.0.0.1", -1),
        ("127.0.0.1", 65536),
        ("127.0.0.1", 1.5),
        ("::1", 1 << 40),
        (None, -1),
        (1.5, 80),
        ("a\0b", 80),
    ],
)
def test_getaddrinfo_gives_what_socket_gives(run, host, port):
    def answer() -> object:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:
            return type(error), str(error)

    async def main():
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except Exception as error:
            found = type(error), str(error)
        assert found == answer()

    run(main)


class Socket(socket.socket):
    """A program's own kind of socket."""

    closed = 0

    def close(self) -> None:
        self.closed += 1
        super().close()


def socket_pair(kind: type[socket.socket]) -> tuple[socket.socket, socket.socket]:
    one, other = socket.socketpair()
    return kind(fileno=one.detach()), other


def test_a_socket_that_a_transport_has_is_closed_by_its_own_close(run):
    async def main():
        one, other = socket_pair(Socket)
        with other:
            _, writer = await asyncio.open_connection(sock=one)
            writer.close()
            await writer.wait_closed()
            assert one.closed and one.fileno() == -1

    run(main)


def test_closing_the_socket_of_a_transport_reaches_no_other_descriptor(new_loop):
    """A mistake, and asyncio's transport fails; but what is opened next must not suffer for it."""
    loop = new_loop()
    loop.set_exception_handler(lambda loop, context: None)

    async def main():
        one, other = socket_pair(socket.socket)
        with other:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
            one.close()
            stranger, peer = socket.socketpair()  # where one was, if that is free now
            with stranger, peer:
                transport.write(b"data")
                transport.abort()
                del transport
                await asyncio.sleep(0.001)
                gc.collect()
                stranger.send(b"own")
                assert peer.recv(100) == b"own"

    loop.run_until_complete(main())
    loop.close()


@pytest.mark.parametrize("default", [None, 5.0])
def test_the_socket_of_an_accepted_connection_does_not_block(run, default):
    async def main():
        made = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.set_result(transport)

        server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()):
            transport = await made
            sock = transport.get_extra_info("socket")
            assert sock.gettimeout() == 0 and sock.type == socket.SOCK_STREAM
            transport.abort()
            await asyncio.sleep(0)
        server.close()

    socket.setdefaulttimeout(default)
    try:
        run(main)
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize("where", ["factory", "connection_made"])
def test_a_server_that_its_first_connection_closes(run, where):
    async def main():
        loop = asyncio.get_running_loop()
        lost = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                if where == "connection_made":
                    server.close()

            def connection_lost(self, exc):
                lost.set_result(exc)

        def factory():
            if where == "factory":
                loop.call_soon(server.close)
            return Protocol()

        server = await loop.create_server(factory, "127.0.0.1", 0)
        socket.create_connection(server.sockets[0].getsockname()).close()
        assert await lost is None

    run(main)


def test_listening_sockets_of_the_programs_accept_themselves(run):
    class Listening(socket.socket):
        accepted = 0

        def accept(self):
            type(self).accepted += 1
            return super().accept()

    async def main():
        loop = asyncio.get_running_loop()
        made = loop.create_future()
        sock = Listening()
        sock.bind(("127.0.0.1", 0))

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.set_result(transport)

        server = await loop.create_server(Protocol, sock=sock)
        with socket.create_connection(sock.getsockname()):
            (await made).abort()
            await asyncio.sleep(0)
        server.close()
        assert Listening.accepted

    run(main)
