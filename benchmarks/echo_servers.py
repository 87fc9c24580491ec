"""The servers that instructions.py counts: each sends back what it receives.

python benchmarks/echo_servers.py CONTENDER SERVER [CERTIFICATE]
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from settling import settle

import uvbind
from uvbind._bench import tcp_servers, udp_servers
from uvbind._bench.servers import HOST, announce

BACKLOG = 511
READ_SIZE = 64 * 1024

Loop = asyncio.AbstractEventLoop
# Starts to serve, and returns the port.
Start = Callable[[Loop, list[str]], Coroutine[Any, Any, int]]


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """Reads into a buffer of its own, and writes a view of it."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(READ_SIZE))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, size: int) -> None:
        self.transport.write(self.view[:size])


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(READ_SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()


async def start_protocol(loop: Loop, arguments: list[str]) -> int:
    return port_of(await loop.create_server(Echo, HOST, 0, backlog=BACKLOG))


async def start_buffered(loop: Loop, arguments: list[str]) -> int:
    return port_of(await loop.create_server(BufferedEcho, HOST, 0, backlog=BACKLOG))


async def start_tls(loop: Loop, arguments: list[str]) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments[0])
    return port_of(await loop.create_server(Echo, HOST, 0, backlog=BACKLOG, ssl=context))


async def start_streams(loop: Loop, arguments: list[str]) -> int:
    return port_of(await asyncio.start_server(echo_stream, HOST, 0, backlog=BACKLOG))


async def start_own_streams(loop: Loop, arguments: list[str]) -> int:
    return port_of(await uvbind.start_server(echo_stream, HOST, 0, backlog=BACKLOG))


async def start_sockets(loop: Loop, arguments: list[str]) -> int:
    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    listener.setblocking(False)
    tasks = set()

    async def echo(client: socket.socket) -> None:
        with client:
            while data := await loop.sock_recv(client, READ_SIZE):
                await loop.sock_sendall(client, data)

    async def accept() -> None:
        while True:
            client, _ = await loop.sock_accept(listener)
            tasks.add(loop.create_task(echo(client)))

    tasks.add(loop.create_task(accept()))
    return int(listener.getsockname()[1])


class Source(asyncio.DatagramProtocol):
    """Answers each datagram with copies of it, to the address that its socket is connected to."""

    def __init__(self, answers: int) -> None:
        self.answers = range(answers)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.sendto = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, address: Any) -> None:
        for _ in self.answers:
            self.sendto(data)


async def start_connected(loop: Loop, arguments: list[str]) -> int:
    answers, port = map(int, arguments)
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Source(answers), remote_addr=(HOST, port)
    )
    servers.append(transport)
    return int(transport.get_extra_info("sockname")[1])


def port_of(server: asyncio.AbstractServer) -> int:
    servers.append(server)
    return int(cast(asyncio.Server, server).sockets[0].getsockname()[1])


servers: list[object] = []  # alive as long as the process
SERVERS: dict[str, Start] = {
    "protocol": start_protocol,
    "buffered": start_buffered,
    "tls": start_tls,
    "streams": start_streams,
    "own-streams": start_own_streams,
    "sockets": start_sockets,
    "udp-connected": start_connected,
}


def main() -> None:
    contender, server, *arguments = sys.argv[1:]
    loop_module = importlib.import_module(contender)
    settle()
    if server == "udp":
        udp_servers.serve(contender, int(arguments[0]))
    elif contender == "uvbind":
        tcp_servers.serve_uvbind()
    else:
        loop: Loop = loop_module.new_event_loop()
        asyncio.set_event_loop(loop)
        announce(loop.run_until_complete(SERVERS[server](loop, arguments)))
        loop.run_forever()


if __name__ == "__main__":
    main()
