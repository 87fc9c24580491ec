"""The scenarios of connections and transports, each interrupted after its `yield`."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from interrupted_asyncio import MUCH, about
from interrupted_asyncio_world import World
from interrupting import Steps

from uvbind.aio._transports import SocketTransport


@about(SocketTransport)
def connection_created(world: World) -> Steps:
    loop, listener = world.loop, world.listener()

    async def connect() -> None:
        address = listener.getsockname()
        transport, _ = await loop.create_connection(world.protocol, *address)
        transport.close()

    yield
    world.run(connect())


@about(SocketTransport.abort)
def transport_aborted(world: World) -> Steps:
    transport, protocol, _ = world.connected()
    transport.write(MUCH)

    async def abort() -> None:
        transport.abort()
        await protocol.lost

    yield
    world.run(abort())


@about(SocketTransport.set_protocol)
def transport_paused_and_resumed(world: World) -> Steps:
    transport, protocol, theirs = world.connected()
    other = world.protocol()
    world.protocols.clear()  # they are replaced, and hear of no end

    async def play() -> None:
        transport.pause_reading()
        theirs.send(b"data")
        transport.resume_reading()
        await protocol.got
        transport.set_protocol(other)
        theirs.send(b"data")
        await other.got

    world.later.append(lambda: resume(world, transport, theirs))
    yield
    world.run(play())


def resume(world: World, transport: Any, theirs: socket.socket) -> None:
    """The program tries again."""
    if not transport.is_reading() and not transport.is_closing():
        transport.resume_reading()
    send(theirs)


def send(sock: socket.socket) -> None:
    """Once more, as what came may have been lost on its way to the protocol."""
    with contextlib.suppress(OSError):  # the connection may be over
        sock.send(b"data")


@about()
def transport_half_closed(world: World) -> Steps:
    transport, _, theirs = world.connected()

    async def play() -> None:
        transport.write_eof()
        assert await world.loop.sock_recv(theirs, 10) == b""

    yield
    world.run(play())
