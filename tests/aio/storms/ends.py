"""Ends of connections: they check what arrives, and hold their descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Any

from tags import HEADER, Checker, WrongBytes, frame, guard, release

if TYPE_CHECKING:
    from world import World

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Connection(asyncio.Protocol):
    """An end of a connection: checks what arrives, and holds its descriptor."""

    transport: Any = None
    echoes = False

    def __init__(self, world: World, tag: int | None = None) -> None:
        self.world = world
        self.checker = Checker(tag)
        self.made = asyncio.Event()
        self.lost = asyncio.Event()
        self.guarded: int | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.sock = transport.get_extra_info("socket")
        self.world.connections.add(self)
        if transport.get_extra_info("sslcontext") is None:
            # Under TLS it is the transport below that knows when it is closed.
            self.guarded = self.sock.fileno()
            guard(self.guarded)
        self.made.set()

    def let_go(self) -> None:
        """The descriptor may be closed from here on."""
        if self.guarded is not None:
            release(self.guarded)
            self.guarded = None

    def data_received(self, data: bytes) -> None:
        try:
            self.checker.feed(data)
        except WrongBytes as error:
            self.world.fault(f"{type(self).__name__}: {error}")
            self.transport.abort()
        else:
            if self.echoes:
                self.answer(data)

    def answer(self, data: bytes) -> None:
        self.transport.write(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.sock!r} over {self.transport!r}>"

    def connection_lost(self, exc: Exception | None) -> None:
        self.let_go()
        self.world.connections.discard(self)
        self.lost.set()


class Echo(Connection):
    """Sends back what it gets."""

    echoes = True


class Rude(Echo):
    """Ends the connection at a time and in a way of its own."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.after(self.world.random.choice([0, 0, 1, 2, 4, 8, 30, None]))

    def after(self, turns: int | None) -> None:
        if turns is None or self.lost.is_set():
            return  # the other end will do it
        if turns:
            asyncio.get_running_loop().call_soon(self.after, turns - 1)
            return
        with contextlib.suppress(OSError):  # the other end may have been faster
            self.end(self.world.random.randrange(4))

    def end(self, way: int) -> None:
        if way == 0:
            self.transport.abort()
        elif way == 1 and self.transport.can_write_eof():
            self.echoes = False
            self.transport.write_eof()
        else:
            if way == 2 and self.sock.family != socket.AF_UNIX:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.transport.close()


class Datagrams(asyncio.DatagramProtocol):
    """An end of datagrams: all that comes has to have its tag."""

    def __init__(self, world: World, tag: int) -> None:
        self.world, self.tag = world, tag
        self.made, self.came, self.lost = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.sock = transport.get_extra_info("socket")
        self.fd = self.sock.fileno()
        guard(self.fd)
        self.made.set()

    def datagram_received(self, data: bytes, address: Any) -> None:
        tag, number, size = HEADER.unpack_from(data)
        if tag != self.tag or data != frame(tag, number, size):
            self.world.fault(f"a datagram of somebody else: {data[:20]!r}")
        self.came.set()

    def connection_lost(self, exc: Exception | None) -> None:
        release(self.fd)
        self.lost.set()


class PipeEnd(asyncio.Protocol):
    """An end of a pipe."""

    def __init__(self, world: World, tag: int) -> None:
        self.world, self.checker = world, Checker(tag)
        self.made, self.lost = asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.fd = transport.get_extra_info("pipe").fileno()
        guard(self.fd)
        self.made.set()

    def data_received(self, data: bytes) -> None:
        try:
            self.checker.feed(data)
        except WrongBytes as error:
            self.world.fault(f"a pipe: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        release(self.fd)
        self.lost.set()
