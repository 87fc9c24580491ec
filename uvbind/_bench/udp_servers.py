"""The UDP servers: ``python -m uvbind._bench.udp_servers NAME ANSWERS``.

A server answers every datagram with so many copies of it: with none it is a sink, which counts
what it receives, with one an echo, with many a source. What the kernel does not take is lost.
"""

from __future__ import annotations

import asyncio
import importlib
import selectors
import socket
import sys
from typing import Any, cast

from uvbind._bench.servers import HOST, announce


class Sink(asyncio.DatagramProtocol):
    """What the loops for asyncio run; the others inherit what they do not replace."""

    received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.received += 1


class Echo(Sink):
    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data, address)


class Source(Sink):
    def __init__(self, answers: int) -> None:
        self.answers = range(answers)

    def datagram_received(self, data: bytes, address: Any) -> None:
        sendto = self.transport.sendto
        for _ in self.answers:
            sendto(data, address)


def serve_protocol(module: str, answers: int) -> None:
    """Serve with the loop for asyncio that a module has: asyncio, uvbind.aio, uvloop or rloop."""
    protocol = Source(answers) if answers > 1 else Echo() if answers else Sink()
    loop: asyncio.AbstractEventLoop = importlib.import_module(module).new_event_loop()
    transport, _ = loop.run_until_complete(
        loop.create_datagram_endpoint(lambda: protocol, local_addr=(HOST, 0))
    )
    announce(transport.get_extra_info("sockname")[1], lambda: protocol.received)
    loop.run_forever()


def serve_uvbind(answers: int) -> None:
    """Serve with batches both ways."""
    import uvbind

    received = 0

    def count(udp: uvbind.UDP, datagrams: list[Any], error: uvbind.UVError | None) -> None:
        nonlocal received
        received += len(datagrams)

    def answer(udp: uvbind.UDP, datagrams: list[Any], error: uvbind.UVError | None) -> None:
        udp.try_send_batch([(data, address) for data, address, flags in datagrams] * answers)

    loop = uvbind.Loop()
    udp = uvbind.UDP(loop, recvmmsg=True)
    udp.bind((HOST, 0))
    udp.recv_batch_start(answer if answers else count)
    announce(udp.getsockname()[1], lambda: received)
    loop.run()


def serve_selectors(answers: int) -> None:
    """Serve with a plain socket that is read until there is nothing more."""
    received = 0
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(sock, selectors.EVENT_READ)
    announce(sock.getsockname()[1], lambda: received)
    copies = range(answers)
    while True:
        selector.select()
        try:
            while True:
                data, address = sock.recvfrom(65536)
                received += 1
                for _ in copies:
                    sock.sendto(data, address)
        except BlockingIOError:
            pass


def serve(name: str, answers: int) -> None:
    if name == "uvbind":
        serve_uvbind(answers)
    elif name == "selectors":
        serve_selectors(answers)
    else:
        serve_protocol(name, answers)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
