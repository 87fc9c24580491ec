"""Sockets of classes of the program's: what their methods do is done."""

from __future__ import annotations

import asyncio
import socket
from unittest import mock

import pytest
from helpers import uvbind_alone


class Upper(socket.socket):
    """Changes what it sends and receives, and keeps which methods were called."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.called: set[str] = set()

    def recv(self, size, *flags):
        self.called.add("recv")
        return super().recv(size, *flags).upper()

    def recvfrom(self, size, *flags):
        self.called.add("recvfrom")
        data, address = super().recvfrom(size, *flags)
        return data.upper(), address

    def send(self, data, *flags):
        self.called.add("send")
        return super().send(bytes(data).upper(), *flags)

    def sendmsg(self, buffers, *arguments):
        self.called.add("sendmsg")
        return super().sendmsg([b"".join(buffers).upper()], *arguments)

    def sendto(self, data, *arguments):
        self.called.add("sendto")
        return super().sendto(bytes(data).upper(), *arguments)


class Plain(socket.socket):
    """Adds nothing that a transport would call."""

    name = "plain"


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Listening(socket.socket):
    """Accepts connections of the program's class."""

    def accept(self):
        connection, address = super().accept()
        return Upper(fileno=connection.detach()), address


def pair(kind):
    one, other = socket.socketpair()
    other.setblocking(False)
    return kind(fileno=one.detach()), other


@pytest.mark.parametrize("ending", ["close", "abort", "peer"])
@pytest.mark.parametrize("kind", [Upper, Plain])
def test_a_connection_over_it(run, kind, ending):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair(kind)
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            await loop.sock_sendall(theirs, b"ping\n")
            assert await reader.readline() == (b"PING\n" if kind is Upper else b"ping\n")
            writer.write(b"pong")
            writer.writelines([b"and ", b"more"])
            expected = b"PONGAND MORE" if kind is Upper else b"pongand more"
            received = b""
            while len(received) < len(expected):
                received += await loop.sock_recv(theirs, 100)
            assert received == expected
            if kind is Upper:
                assert ours.called >= {"recv", "send"}
            if ending == "peer":
                theirs.close()
                assert await reader.read() == b""
            if ending == "abort":
                writer.transport.abort()
            writer.close()
            await writer.wait_closed()
            assert ours.fileno() == -1

    run(main)


def test_connections_of_its_class_that_a_listening_socket_accepts(run):
    async def main():
        loop = asyncio.get_running_loop()
        sock = Listening()
        sock.bind(("127.0.0.1", 0))
        server = await loop.create_server(Echo, sock=sock)
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"echo\n")
        assert await reader.readline() == b"ECHO\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_tls_over_it(run, contexts):
    class Counting(socket.socket):
        received = 0

        def recv(self, size, *flags):
            data = super().recv(size, *flags)
            type(self).received += len(data)
            return data

        def recv_into(self, buffer, *arguments):
            size = super().recv_into(buffer, *arguments)
            type(self).received += size
            return size

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0, ssl=contexts[0])
        sock = Counting()
        sock.setblocking(False)
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=contexts[1], server_hostname="localhost"
        )
        writer.write(b"echo\n")
        assert await reader.readline() == b"echo\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        assert Counting.received > len(b"echo\n")

    run(main)


def test_a_datagram_endpoint_over_it(run):
    class Queue(asyncio.DatagramProtocol):
        def __init__(self):
            self.received = asyncio.Queue()

        def datagram_received(self, data, addr):
            self.received.put_nowait(data)

    async def main():
        loop = asyncio.get_running_loop()
        ours = Upper(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind(("127.0.0.1", 0))
        transport, protocol = await loop.create_datagram_endpoint(Queue, sock=ours)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
            theirs.bind(("127.0.0.1", 0))
            theirs.setblocking(False)
            theirs.sendto(b"ping", ours.getsockname())
            assert await protocol.received.get() == b"PING"
            transport.sendto(b"pong", theirs.getsockname())
            assert await loop.sock_recv(theirs, 100) == b"PONG"
            assert ours.called == {"recvfrom", "sendto"}
        transport.close()
        await asyncio.sleep(0)

    run(main)


@uvbind_alone  # asyncio before 3.12 makes one
def test_a_socket_that_a_transport_has_gets_no_second_one(run):
    async def main():
        loop = asyncio.get_running_loop()
        for kind in (Upper, Plain, socket.socket):
            ours, theirs = pair(kind)
            with theirs:
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
                with pytest.raises(RuntimeError, match="is used by transport"):
                    await loop.create_connection(asyncio.Protocol, sock=ours)
                transport.write(b"still there")
                await asyncio.sleep(0)  # the write leaves at the end of the turn
                assert theirs.recv(100).lower() == b"still there"
                transport.close()
                await asyncio.sleep(0)

    run(main)


def test_connections_while_the_class_of_sockets_is_replaced(run):
    """As unittest.mock.patch does. Nobody makes a socket then, but lent ones are served."""

    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = pair(socket.socket)
        with theirs, mock.patch("socket.socket", lambda *arguments, **options: None):
            reader, writer = await asyncio.open_connection(sock=ours)
            await loop.sock_sendall(theirs, b"ping\n")
            assert await reader.readline() == b"ping\n"
            writer.write(b"pong")
            assert await loop.sock_recv(theirs, 100) == b"pong"
            writer.close()
            await writer.wait_closed()
            assert ours.fileno() == -1

    run(main)


def test_a_datagram_endpoint_while_the_class_of_sockets_is_replaced(run):
    async def main():
        loop = asyncio.get_running_loop()
        ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with theirs:
            theirs.bind(("127.0.0.1", 0))
            theirs.setblocking(False)
            ours.bind(("127.0.0.1", 0))
            with mock.patch("socket.socket", mock.MagicMock()):
                transport, _ = await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, sock=ours
                )
                transport.sendto(b"ping", theirs.getsockname())
                assert await loop.sock_recv(theirs, 100) == b"ping"
                transport.close()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert ours.fileno() == -1

    run(main)
